"""The real things behind a flow's asks: transport, cache, ledger, the user's checks and signals.

Nothing here decides anything. What breaks here is counted in ``faults`` and turned into the answer
that costs the caller nothing but money: a miss, an abstention, an unrecorded decision.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self

from msgspec.structs import replace

from cascade import background
from cascade.asks import (
    Answers,
    Ask,
    Call,
    Check,
    Embed,
    Keep,
    Lookup,
    Measure,
    Spawn,
    Together,
    Transport,
    UserSignal,
    Wait,
)
from cascade.checks import UserCheck, run_check
from cascade.embedding import Embedder
from cascade.errors import CascadeError, UpstreamError
from cascade.flights import Flights
from cascade.ledger import Ledger
from cascade.types import CheckResult, Draft, Hit, Record


class Join(Record, frozen=True, kw_only=True):
    """Wait for an identical request that is under way; a driver's own ask, never a flow's."""

    future: Any
    key: str
    patience: float | None


class Parts:
    """What one engine works with. ``spawn`` starts a flow off the caller's path, with these parts.

    A transport to code of the caller's own may have a method ``complete_here``: ``complete`` without
    an event loop. The synchronous driver then calls it in the caller's thread, where that code has
    always run; moving it to the background loop would block the loop and lose its thread-locals.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Answers | None,
        ledger: Ledger,
        checks: Mapping[str, UserCheck],
        signals: Mapping[str, UserSignal],
        spawn: Callable[[Spawn, Parts], None],
        embedder: Embedder | None = None,
    ) -> None:
        self.transport = transport
        self.cache = cache
        self.ledger = ledger
        self.faults: Counter[str] = Counter()
        self._checks = checks
        self._signals = signals
        self._spawn = spawn
        self._embedder = embedder
        self.embeds_slowly: bool = getattr(embedder, "slow", False)
        self.flights = Flights()

    def through(self, transport: Transport, cache: Answers | None) -> Self:
        """The same parts, counters and flights included, with another transport and cache."""
        other = copy.copy(self)
        other.transport, other.cache = transport, cache
        return other

    def perform(self, ask: Ask) -> Any:
        """Answer what needs no event loop, in the thread that asks."""
        if isinstance(ask, Keep):
            return self._keep(ask)
        if isinstance(ask, Lookup):
            return self.lookup(ask)
        if isinstance(ask, Check):
            return self._check(ask)
        if isinstance(ask, Measure):
            return self._measure(ask)
        if isinstance(ask, Embed):
            return self._embed(ask)
        if isinstance(ask, Spawn):
            return self._spawn(ask, self)
        raise TypeError(f"no driver answers {type(ask).__name__} here")

    def wait_here(self, ask: Ask | Join) -> Any:
        """``wait`` for a thread without an event loop; only what needs one goes to the background loop."""
        if isinstance(ask, (Check, Measure, Lookup, Embed)):
            return self.perform(ask)
        here = getattr(self.transport, "complete_here", None)
        if here is None or not isinstance(ask, Call):
            return background.call(self.wait, ask)
        try:
            return here(ask)
        except CascadeError:
            raise
        except Exception as error:
            raise self.broke(ask, error) from error

    async def wait(self, ask: Ask | Join) -> Any:
        """Answer what has to be waited for. Whatever a transport throws becomes an ``UpstreamError``."""
        if isinstance(ask, Call):
            return await self._call(ask)
        if isinstance(ask, Together):
            return await asyncio.gather(*map(self._signal, ask.calls))
        if isinstance(ask, Join):
            return await self._joined(ask)
        if isinstance(ask, Wait):
            return await asyncio.sleep(ask.seconds)
        return await asyncio.to_thread(self.perform, ask)

    def lookup(self, ask: Lookup) -> Hit | Join | str | None:
        """A hit; an identical request to wait for; the key of a flight that now begins; or None."""
        if self.cache is None:
            return None
        try:
            hit = self.cache.lookup(ask.request)
            if hit is not None or not self.cache.cacheable(ask.request):
                return hit
            key = self.cache.key(ask.request)
        except Exception as error:  # parameters without a canonical form are no reason to refuse a request
            self.faults[f"cache: {type(error).__name__}"] += 1
            return None
        under_way = self.flights.board(key)
        return key if under_way is None else Join(future=under_way, key=key, patience=ask.patience)

    async def _call(self, ask: Call) -> Draft:
        try:
            return await self.transport.complete(ask)
        except CascadeError:
            raise
        except Exception as error:
            raise self.broke(ask, error) from error

    def broke(self, ask: Call, error: Exception) -> UpstreamError:
        """A fault of the transport itself, counted, in words that a flow understands."""
        self.faults[f"transport: {type(error).__name__}"] += 1
        said = f"the transport to {ask.endpoint.model} broke: {type(error).__name__}"
        return UpstreamError(said, retryable=False)

    async def _signal(self, ask: Call) -> Draft | None:
        try:
            return await self._call(ask)
        except CascadeError as error:
            self.faults[f"signal call: {type(error).__name__}"] += 1
            return None

    async def _joined(self, ask: Join) -> Hit | None:
        try:
            entry = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(ask.future)), ask.patience)
        except TimeoutError:
            return None
        if entry is None:
            return None
        return Hit(
            key=ask.key,
            # Each caller gets an object of their own: the provider's belongs to the one that flew.
            draft=replace(entry.draft, raw=None),
            kind="exact",
            slice=entry.slice,
            confidence=entry.confidence,
            certificate=entry.certificate,
            shared=True,
        )

    def _keep(self, ask: Keep) -> bool:
        outcome = ask.outcome
        if ask.store is not None and self.cache is not None:
            entry = self.cache.keep(ask.request, ask.store)
            tier = ask.store.draft.tier
            if entry is not None and tier in outcome.models:  # so that a verdict finds what it speaks about
                told = replace(outcome.models[tier], entry=entry)
                outcome = replace(outcome, models={**outcome.models, tier: told})
        kept = self.ledger.append(outcome)
        if not kept:
            self.faults["unrecorded"] += 1
        return kept

    def _check(self, ask: Check) -> CheckResult:
        check = self._checks.get(ask.name)
        if check is None:
            return CheckResult(name=ask.name, outcome="abstain", detail="no such check was given")
        return run_check(ask.name, check, ask.request, ask.draft)

    def _embed(self, ask: Embed) -> Any:
        try:
            return self._embedder.embed([ask.text])[0] if self._embedder is not None else None
        except Exception as error:
            self.faults[f"embedder: {type(error).__name__}"] += 1
            return None

    def _measure(self, ask: Measure) -> dict[str, float] | None:
        try:
            found = self._signals[ask.name].measure(ask.request, ask.draft)
            return None if found is None else {str(name): float(value) for name, value in found.items()}
        except Exception as error:
            self.faults[f"signal {ask.name}: {type(error).__name__}"] += 1
            return None
