"""When replayed requests begin, and what the cache holds for each of them by then.

Requests overlap: one that takes long is still under way when the next ones begin. So an answer enters
the simulated cache at the moment at which its request ended, and an identical request that begins
before that waits for it, as in live traffic.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

from cascade.asks import Answers, Lookup
from cascade.types import Entry, Hit, Outcome, Request

REMEMBERED = 2**18
"""Stored answers whose quality is remembered, the newest: a million distinct ones would take 150 MB."""


class Clock:
    """Seconds since 1970 as replay sets them; what a simulated cache is opened with."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The simulated time."""
        return self.now


class Nothing:
    """A cache that never holds anything."""

    def key(self, request: Request) -> str:
        """Nobody asks for it, since nothing is cacheable."""
        return ""

    def cacheable(self, request: Request) -> bool:
        """Never."""
        return False

    def lookup(self, request: Request) -> Hit | None:
        """Never found."""
        return None

    def keep(self, request: Request, entry: Entry) -> str | None:
        """Never stored."""
        return None

    def close(self) -> None:
        """Nothing to give back."""


class Landing(NamedTuple):
    """An answer on its way into the cache: ``at`` which time, under which key, how good it is."""

    at: float
    turn: int
    key: str
    request: Request
    entry: Entry
    quality: float | None


class Traffic:
    """The times at which requests begin, and the cache that they share.

    A request begins at its recorded time, else ``spacing`` seconds after the one before. The cache's
    time never goes back: a request recorded as earlier than the one before it finds what that one found.
    """

    def __init__(self, cache: Answers | None, clock: Clock | None, spacing: float) -> None:
        self.cache = cache
        self._clock = clock or Clock()
        self._spacing = spacing
        self._begun: float | None = None
        self._landings: list[Landing] = []
        self._flying: dict[str, Landing] = {}
        self._quality: dict[str, float | None] = {}
        self._turn = 0

    def begin(self, outcome: Outcome) -> float:
        """When the request began, in seconds since 1970."""
        at = outcome.decision.at if outcome.decision is not None else self._next()
        self._begun = at
        return at

    def lookup(self, ask: Lookup, at: float) -> tuple[Hit | None, float]:
        """What the cache holds for this request at a time, and the seconds that it waits for an identical one."""
        assert self.cache is not None
        self._land(at)
        hit = self.cache.lookup(ask.request)
        flying = self._flying.get(self._key(ask.request)) if hit is None and self._flying else None
        if flying is None:
            return hit, 0.0
        wait = max(flying.at - self._clock.now, 0.0)
        if ask.patience is not None and wait > ask.patience:
            return None, ask.patience
        entry = flying.entry
        hit = Hit(
            key=flying.key,
            draft=entry.draft,
            kind="exact",
            slice=entry.slice,
            confidence=entry.confidence,
            certificate=entry.certificate,
            shared=True,
        )
        return hit, wait

    def keep(self, request: Request, entry: Entry, at: float, quality: float | None) -> None:
        """Store an answer from this time on."""
        key = self._key(request)
        if not key:
            return
        self._turn += 1
        landing = Landing(at, self._turn, key, request, entry, quality)
        self._flying[key] = landing
        heappush(self._landings, landing)

    def quality(self, hit: Hit) -> float | None:
        """How good the answer to the identical question is; None for one that is only near: nobody judged it."""
        if hit.kind != "exact":
            return None
        flying = self._flying.get(hit.key) if hit.shared else None
        return flying.quality if flying is not None else self._quality.get(hit.key)

    def _next(self) -> float:
        return 0.0 if self._begun is None else self._begun + self._spacing

    def _land(self, now: float) -> None:
        """Put into the cache what has ended by now, each at its time."""
        while self._landings and self._landings[0].at <= now:
            landing = heappop(self._landings)
            self._clock.now = max(self._clock.now, landing.at)
            if self._flying.get(landing.key) is landing:
                del self._flying[landing.key]
            if self.cache is not None and self.cache.keep(landing.request, landing.entry) is not None:
                self._remember(landing)
        self._clock.now = max(self._clock.now, now)

    def _remember(self, landing: Landing) -> None:
        self._quality.pop(landing.key, None)  # so that the renewed one counts as new
        self._quality[landing.key] = landing.quality
        if len(self._quality) > REMEMBERED:
            del self._quality[next(iter(self._quality))]

    def _key(self, request: Request) -> str:
        """The request's key, or nothing where its answer is never stored."""
        if self.cache is None:
            return ""
        try:
            return self.cache.key(request) if self.cache.cacheable(request) else ""
        except Exception:  # parameters without a canonical form: the cache misses, as it does in service
            return ""
