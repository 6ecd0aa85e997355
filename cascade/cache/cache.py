"""The cache that the flow's ``Lookup`` and ``Keep`` speak to."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from cascade.cache.identity import Identity
from cascade.cache.placing import Placed, Placing
from cascade.cache.stored import CacheStats, Row, Stored, pack, unpack
from cascade.errors import ConfigError
from cascade.types import Entry, Hit, Request

if TYPE_CHECKING:
    from cascade.embedding import Embedder

LEAST_BYTES = 2**17
"""Below, the tables themselves leave no room for answers."""

ATTEMPTS = 16
"""Most entries that one look-up finds gone or too old before it is a miss."""


class Cache:
    """Stored answers, found by identity and, with an ``embedder``, by similarity.

    ``identity`` names the policy and its tier ladder. The rows live in ``folder/answers`` (0700),
    shared by processes, or in memory where ``folder`` is None; a small front in memory comes on top, as
    do the vectors once more. ``size_limit`` is in bytes, ``ttl`` in seconds of ``clock``. In excess of
    the limit the answer least worth keeping goes first, by dollars a hit saves, use and age.
    ``metadata`` names the metadata that can change an answer (None: all); ``tags`` names metadata whose
    values label an entry as well (``product=widget``), beside ``slice=``, ``tenant=`` and ``model=``.
    Requests above ``max_temperature`` (``default_temperature`` where they name none), with n > 1, with
    tools unless ``tools_cacheable``, or that ``withheld`` says yes to, are neither stored nor answered.

    Whatever breaks is a miss, counted in ``faults``: ``key`` (the request has no canonical form),
    ``encode`` (nor has the answer), ``withheld`` (the hook raised), ``oversize``, ``open``, ``read`` and
    ``write`` (the database), ``discarded`` (it was garbage, and is begun anew), ``busy`` (other threads
    took too long), ``refused`` and ``decode`` (rows that this package did not write), ``embed``, ``serves``.

    Threads may share it. A forked child may go on using it; in memory it begins with an empty one.
    What another process stores is found at once by identity, and within a second by similarity; what
    it removes or replaces is not answered for longer than a second. Raises ``ConfigError`` for
    arguments that make no sense, and for nothing else.
    """

    def __init__(  # noqa: PLR0913  one argument for each line of a policy's cache table
        self,
        *,
        identity: str,
        folder: Path | None,
        ttl: float | None,
        size_limit: int,
        max_temperature: float,
        default_temperature: float = 1.0,
        tools_cacheable: bool = False,
        metadata: Collection[str] | None = None,
        embedder: Embedder | None = None,
        tags: Collection[str] = (),
        withheld: Callable[[Request], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        from cascade.cache.shared import Shared  # with it comes SQLite

        _refuse_nonsense(size_limit, ttl)
        self.faults: Counter[str] = Counter()
        self._identity = Identity(identity, None if metadata is None else {*metadata, *tags})
        self._ttl = math.inf if ttl is None else ttl
        self._max_temperature = max_temperature
        self._default_temperature = default_temperature
        self._tools_cacheable = tools_cacheable
        self._tags = tuple(tags)
        self._withheld = withheld
        self._clock = clock
        self._placing = None if embedder is None else Placing(self._identity, embedder, self.faults)
        self._shared = Shared(None if folder is None else folder / "answers", size_limit, embedder, self.faults)
        self._shared.follow(self._oldest())  # now rather than in the first request

    def key(self, request: Request) -> str:
        """Digest of everything that can change the answer, 64 hexadecimal digits.

        Raises TypeError, ValueError, OverflowError or RecursionError where the request holds
        something without a canonical form.
        """
        return self._identity.key(request)

    def context(self, request: Request, embedder: str) -> str:
        """The same of all but the text of the last user turn, for one embedder's vectors. Raises as ``key`` does."""
        return self._identity.context(request, embedder)

    def cacheable(self, request: Request) -> bool:
        """Whether answers to this request may be kept, and served again."""
        params = request.params
        temperature = params.get("temperature")
        if temperature is None:
            temperature = self._default_temperature
        if not (isinstance(temperature, (int, float)) and temperature <= self._max_temperature):
            return False
        if params.get("n") not in (None, 1):
            return False
        if (params.get("tools") or params.get("functions")) and not self._tools_cacheable:
            return False
        return not self._is_withheld(request)

    def lookup(self, request: Request) -> Hit | None:
        """The stored answer to this request, or the nearest proven one of its context. Never raises.

        Whether a semantic hit may be served is not decided here.
        """
        key = self._key_if_cacheable(request)
        if key is None:
            return None
        self._shared.follow(self._oldest())
        row = self._shared.in_front(key)
        stored = None if row is None else self._fresh(key, row)
        if stored is None and (row := self._shared.find(key)) is not None:  # others may have renewed it
            stored = self._fresh(key, row)
        hit = self._similar(request) if stored is None else self._hit(key, stored, kind="exact")
        if hit is not None:
            self._shared.count(hit.key)
        return hit

    def stored(self, key: str) -> Stored | None:
        """What is stored under a key, fresh or not. Never raises."""
        row = self._shared.find(key)
        try:
            return None if row is None else unpack(row)
        except Exception:
            self.faults["decode"] += 1
            return None

    def keep(self, request: Request, entry: Entry) -> str | None:
        """Store the answer to this request, without the provider's own object. Never raises.

        Returns the key under which it is, or None where it was not stored.

        The last tier's answer, which has no certificate, is found by similarity from then on; another
        one only after an audit that it has stood (``audited``).
        """
        key = self._key_if_cacheable(request)
        row = None if key is None else self._row(key, request, entry)
        if row is None:
            return None
        if self._shared.put(row, self._oldest()) is False:
            self.faults["oversize"] += 1  # keeping it would drop everything else
            return None
        return key

    def audited(self, key: str, acceptable: bool) -> None:
        """Note a judge's word on the answer under a key: one more audit stood, or it is retracted."""
        if acceptable:
            self._shared.prove(key)
        else:
            self.retract(key)

    def retract(
        self, key: str, serves: Callable[[Hit], bool] | None = None, request: Request | None = None
    ) -> list[str]:
        """Remove a wrong entry and its neighbourhood; returns the keys removed. Never raises.

        With it go the entries of its context that give the same answer, since a poisoned one spreads
        by being stored again. ``request`` is what was answered wrongly and ``serves`` the gate: then
        every entry goes that would have been served for it in the first one's place.
        """
        context = self._shared.run("read", lambda answers: answers.context(key))
        echoes = self._shared.run("read", lambda answers: answers.echoes(key)) or []
        removed = self._shared.remove(list(dict.fromkeys([key, *echoes]))) or []
        placed = None if request is None or self._placing is None else self._placing.of(request)
        if serves is None or placed is None or context is None:
            return removed
        # The entry's own context: a recorded request may name the slice that its caller left open.
        while (hit := self._near(placed._replace(context=context))) is not None and self._agrees(serves, hit):
            more = self._shared.remove([hit.key])
            if more is None:  # the database fails: it would be found again and again
                break
            removed += more
        return removed

    def invalidate(self, tag: str) -> int:
        """Remove every entry that has the tag (``tenant=acme``); returns how many went. Never raises."""
        gone = 0
        while keys := self._shared.run("read", lambda answers: answers.tagged(tag)):
            removed = self._shared.remove(keys)
            if removed is None:
                break
            gone += len(removed)
        return gone

    def stats(self) -> CacheStats:
        """What it holds and has done; zeros where the database cannot be read. Never raises."""
        self._shared.flush()
        totals = self._shared.run("read", lambda answers: answers.totals()) or (0, 0, 0, 0, None)
        entries, semantic, size, hits, oldest = totals
        age = 0.0 if oldest is None else max(0.0, self._clock() - oldest)
        faults = dict(self.faults)
        return CacheStats(entries=entries, semantic=semantic, bytes=size, hits=hits, oldest=age, faults=faults)

    def check(self) -> list[str]:
        """What is inconsistent, one line each; empty when all is well. For users, not for requests.

        Reads every row. Never raises.
        """
        return [f"{self._shared.place}: {line}" for line in self._shared.check(self._oldest())]

    def close(self) -> None:
        """Give back the file and the memory. A persisted cache may be used again."""
        self._shared.close()

    def _oldest(self) -> float:
        """When an entry was stored that has expired just now."""
        return self._clock() - self._ttl

    def _key_if_cacheable(self, request: Request) -> str | None:
        try:
            return self.key(request) if self.cacheable(request) else None
        except Exception:
            self.faults["key"] += 1
            return None

    def _is_withheld(self, request: Request) -> bool:
        try:
            return self._withheld is not None and bool(self._withheld(request))
        except Exception:
            self.faults["withheld"] += 1
            return True

    def _agrees(self, serves: Callable[[Hit], bool], hit: Hit) -> bool:
        try:
            return serves(hit)
        except Exception:
            self.faults["serves"] += 1
            return False

    def _row(self, key: str, request: Request, entry: Entry) -> Row | None:
        """The entry as a row, or None where it has no bytes."""
        draft = entry.draft
        tags = {f"slice={entry.slice}", f"tenant={request.tenant}", f"model={draft.model}"}
        tags |= {f"{name}={request.metadata[name]}" for name in self._tags if name in request.metadata}
        at, worth = self._clock(), draft.cost or 0.0
        try:
            kept = structs.replace(entry, draft=structs.replace(draft, raw=None))
            return Row(
                key=key,
                bytes=pack(Stored(at=at, entry=kept, question=request.question)),
                at=at,
                worth=worth if 0 < worth < math.inf else 0.0,
                tags=tuple(sorted(tags)),
                place=None if self._placing is None else self._placing.place(request, draft),
                proven=entry.certificate is None,
            )
        except Exception:
            self.faults["encode"] += 1
            return None

    def _fresh(self, key: str, row: bytes) -> Stored | None:
        """The row decoded, unless it is too old: that one stays until a newer takes its place."""
        try:
            stored = unpack(row)
        except Exception:
            self.faults["decode"] += 1
            self._shared.remove([key])
            return None
        return stored if stored.at > self._oldest() else None

    def _similar(self, request: Request) -> Hit | None:
        placed = None if self._placing is None else self._placing.of(request)
        return None if placed is None else self._near(placed)

    def _near(self, placed: Placed) -> Hit | None:
        for _ in range(ATTEMPTS):
            found = self._shared.nearest(placed.context, placed.vector)
            if found is None:
                return None
            for near in found:
                stored = self._fresh(near.found.key, near.found.row)
                if stored is not None:
                    kept = {"question": stored.question, "passed": near.found.passed, "similarity": near.similarity}
                    kept |= {"vectors": near.vectors, "cost": placed.cost}
                    return self._hit(near.found.key, stored, kind="semantic", **kept)
                self._shared.expire(self._oldest(), near.id)
        return None

    def _hit(self, key: str, stored: Stored, **found: Any) -> Hit:
        entry = stored.entry
        return Hit(
            key=key,
            draft=entry.draft,
            age=max(0.0, self._clock() - stored.at),
            slice=entry.slice,
            confidence=entry.confidence,
            certificate=entry.certificate,
            **found,
        )


def _refuse_nonsense(size_limit: int, ttl: float | None) -> None:
    if size_limit < LEAST_BYTES:
        raise ConfigError(f"size_limit is {size_limit} bytes; it must be at least {LEAST_BYTES}")
    if ttl is not None and not ttl > 0:
        raise ConfigError(f"ttl is {ttl} seconds; it must be positive, or None for no end")
