"""The engine: a policy, its lock, and the parts that answer a flow's asks, ready to be called."""

from __future__ import annotations

import asyncio
import atexit
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from cascade import background
from cascade.asks import Spawn, Transport, UserSignal
from cascade.cache.opening import cache_of
from cascade.checks import CommandCheck, UserCheck
from cascade.drivers import drive, drive_stream, drive_sync
from cascade.embedders import embedder_named
from cascade.embedding import Embedder, Remembered
from cascade.errors import ConfigError
from cascade.flow import answer
from cascade.following import Following, stamp_of
from cascade.fresh import Personal
from cascade.gates import Gates
from cascade.heeding import Heeding
from cascade.intents import fit_intents
from cascade.ladder import Ladder
from cascade.ledger import Ledger
from cascade.lock import Lock, load_lock, lock_path
from cascade.neighbours import FAMILY as NEIGHBOURS
from cascade.parts import Parts
from cascade.policy import Policy, nearest, store_folder
from cascade.policyfile import load_policy
from cascade.replies import reply
from cascade.run import Rules, Run
from cascade.shadows import Shadows
from cascade.streams import AsyncReplies, Replies
from cascade.tables import LABEL_CONSISTENT
from cascade.transports import Transports
from cascade.types import Answer, Decision, Message, Outcome, Request, Verdict

DRAIN_SECONDS = 10.0
"""How long ``close`` and the end of the process wait for shadow work that is under way."""

IN_MEMORY = Path(os.devnull)
"""Give this as ``store`` to keep ledger and cache in memory."""


class Cascade:
    """Answers requests by the policy, and leaves a decision behind for each.

    Safe to share between threads and tasks. Usable as a context manager; ``close`` drains what is
    under way off the callers' path and flushes the ledger. After a fork the child goes on with
    connections, background loop and spool of its own.

    ``transport`` replaces the models (see ``cascade.testing``); ``checks`` and ``signals`` are the
    user's own, by the names that the policy gives them; ``embedder`` replaces the policy's;
    ``personal`` says of a request whether it holds personal data: it is then neither stored in the
    cache nor answered from it; ``store`` is the folder of ledger and cache
    (default: ``CASCADE_STORE``, the policy's, or ``.cascade/`` beside the policy).
    """

    def __init__(
        self,
        policy: Policy,
        lock: Lock | None = None,
        *,
        transport: Transport | None = None,
        checks: Mapping[str, UserCheck] | None = None,
        signals: Mapping[str, UserSignal] | None = None,
        embedder: Embedder | None = None,
        personal: Personal | None = None,
        store: Path | None = None,
        path: Path | None = None,
    ) -> None:
        self.policy = policy
        self.path = path
        chosen = embedder or embedder_of(policy)
        self._embedder = embedder = Remembered(chosen) if chosen is not None else None
        ladder = Ladder(policy)
        intents = fit_intents(policy, embedder) if embedder is not None else None
        folder = store if store is not None else store_folder(policy, path)
        place = None if folder == IN_MEMORY else folder
        self.ledger = Ledger(place, content=policy.ledger.content)
        cache = cache_of(policy, ladder, place, embedder=embedder, personal=personal)
        self._shadows = Shadows(policy)
        self.parts = Parts(
            transport=transport or Transports(),
            cache=cache,
            ledger=self.ledger,
            checks=_checks(policy, checks or {}),
            signals=_signals(policy, signals or {}),
            spawn=self._spawn,
            embedder=embedder,
        )

        def rules(lock: Lock | None) -> Rules:
            gates = Gates(policy, lock, embedder=embedder.name if embedder is not None else None)
            return Rules(policy=policy, gates=gates, ladder=ladder, intents=intents)

        self._following = Following(rules, lock, self.parts.faults)
        self._heeding = Heeding(cache, lambda: self.rules) if cache is not None else None
        _open.add(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parts: Any) -> Self:
        """A cascade from a policy file and the lock beside it. ``PolicyError``, ``ConfigError``.

        Follows the lock: another one is in force within a second of its promotion. Keyword
        arguments are those of the class: ``transport``, ``checks``, ``signals``, ``store``.
        """
        file = Path(path)
        lock = lock_path(file)
        seen = stamp_of(lock)  # before it is read, so that no later one is taken for it
        made = cls(load_policy(file), load_lock(lock), path=file, **parts)
        made._following.begin(lock, seen)
        return made

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self._following.rules

    def completion(
        self,
        messages: list[Message],
        *,
        slice: str | None = None,
        tenant: str = "",
        metadata: Mapping[str, str] | None = None,
        stakes: str | None = None,
        stream: bool = False,
        **params: Any,
    ) -> Any:
        """Answer one request, synchronously.

        ``messages`` and ``params`` are OpenAI's; ``model`` is accepted and ignored, since the
        policy chooses it. Returns an OpenAI-shaped object (litellm's own where litellm answered)
        with the decision as ``.cascade``, or an iterator of chunks with ``stream=True``.
        Raises ``ConfigError`` (yours), ``UpstreamError`` (theirs), ``BudgetError`` (your ceiling).
        """
        request = self.request(messages, slice, tenant, metadata, stakes, params)
        run = self.run(request, stream=stream)
        if stream:
            return Replies(drive_stream(answer(run), self.parts))
        return reply(_answered(drive_sync(answer(run), self.parts)))

    async def acompletion(
        self,
        messages: list[Message],
        *,
        slice: str | None = None,
        tenant: str = "",
        metadata: Mapping[str, str] | None = None,
        stakes: str | None = None,
        stream: bool = False,
        **params: Any,
    ) -> Any:
        """``completion`` for asyncio; with ``stream=True`` returns an asynchronous iterator."""
        request = self.request(messages, slice, tenant, metadata, stakes, params)
        run = self.run(request, stream=stream)
        if stream:
            return AsyncReplies(drive_stream(answer(run), self.parts))
        return reply(_answered(await drive(answer(run), self.parts)))

    def request(
        self,
        messages: list[Message],
        slice: str | None = None,
        tenant: str = "",
        metadata: Mapping[str, str] | None = None,
        stakes: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Request:
        """A request out of a caller's arguments. ``ConfigError`` when messages are not messages."""
        _refuse_odd_messages(messages)
        return Request(
            id=new_id(),
            messages=list(messages),
            params={key: value for key, value in params.items() if key != "model"} if params else {},
            slice=slice,
            tenant=tenant,
            metadata=dict(metadata or {}),
            stakes=stakes,
        )

    def run(self, request: Request, *, stream: bool = False, rules: Rules | None = None) -> Run:
        """A run of the request under the rules now in force."""
        return Run(
            rules or self.rules,
            request,
            clock=time.monotonic,
            at=time.time(),
            stream=stream,
            shadows=self._shadows.affordable,
        )

    def client(self, client: Any, **defaults: Any) -> Any:
        """The same OpenAI or Anthropic client, sync or async, cascaded; see ``cascade.client``.

        Keyword arguments are ``slice``, ``tenant``, ``metadata`` and ``stakes`` of calls that name none.
        """
        from cascade.client import wrap_client

        return wrap_client(self, client, **defaults)

    def wrap(self, function: Any = None, /, **options: Any) -> Any:
        """A function that takes ``model=``, cascaded; see ``cascade.wrap``."""
        from cascade.wrap import wrap_function

        if function is None:
            return lambda found: wrap_function(self, found, **options)
        return wrap_function(self, function, **options)

    def decision(self, request_id: str) -> Decision | None:
        """The decision of that id out of the ledger, or None."""
        found = self.ledger.get(request_id)
        return found.decision if found is not None else None

    def label(self, request_id: str, verdict: Verdict, source: str | None = None) -> list[str]:
        """Add a verdict on one answer to a decision; returns the keys of the stored answers that it retracts.

        ``source`` is the tier, or ``cache``, whose answer was judged (default: who served). A stored answer
        that fails goes with its neighbourhood, before the verdict is written; one that passes is proven.
        ``ConfigError`` where the ledger has no such decision, or no answer of that source.
        """
        row = self.ledger.get(request_id)
        if row is None or row.decision is None:
            raise ConfigError(f"no decision with id {request_id!r} in the ledger")
        source = source or row.decision.served_by
        if source not in row.models:
            raise ConfigError(f"decision {request_id} has no answer of {source!r}; it has: {', '.join(row.models)}")
        retracted = self._heeding.heed(row, source, verdict) if self._heeding is not None else []
        self.ledger.label(request_id, source, verdict)
        return retracted

    def outcomes(self) -> Iterator[Outcome]:
        """Everything that the ledger holds of this policy, oldest first."""
        return self.ledger.outcomes(policy=self.policy.name)

    def close(self, timeout: float = DRAIN_SECONDS) -> None:
        """Wait for work off the callers' path, at most ``timeout`` seconds, then flush and close.

        Connections that an event loop of the caller's opened are closed by ``aclose`` on that loop.
        """
        self._shadows.drain(timeout)
        if background.running():
            background.call(self.parts.transport.close)
        self.ledger.close()
        if self.parts.cache is not None:
            self.parts.cache.close()

    async def aclose(self, patience: float = DRAIN_SECONDS) -> None:
        """``close`` for asyncio: also closes the connections of the running loop."""
        await asyncio.to_thread(self.close, patience)
        await self.parts.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forked(self) -> None:
        """In a forked child: nothing of the parent's work is under way here."""
        self._shadows.reset()
        if self._embedder is not None:
            self._embedder.forked()
        self._following.forked()

    def _spawn(self, ask: Spawn, parts: Parts) -> None:
        async def work() -> float:
            spent = await drive(ask.flow, parts)
            return spent if isinstance(spent, float) else 0.0

        self._shadows.start(ask.mode, work)


def new_id() -> str:
    """Twenty-six hex digits: milliseconds since 1970, then chance. Sorts by time."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(7).hex()}"


def _answered(found: Answer | float) -> Answer:
    if not isinstance(found, Answer):
        raise AssertionError("a request's flow ends in an answer or an error")
    return found


def _refuse_odd_messages(messages: Any) -> None:
    fits = isinstance(messages, list) and bool(messages)
    for message in messages if fits else ():
        fits = fits and isinstance(message, dict) and "role" in message
    if not fits:
        raise ConfigError(
            "messages must be a list of at least one {'role': ..., 'content': ...}, as for OpenAI; "
            f"got {type(messages).__name__}"
        )


def embedder_of(policy: Policy) -> Embedder | None:
    """The policy's embedder where something needs vectors, so that nobody else pays for loading it."""
    by_examples = any(declared.examples for declared in policy.slices.values())
    if not (by_examples or NEIGHBOURS in policy.families or policy.cache.semantic):
        return None
    return embedder_named(policy.embedder)


def _checks(policy: Policy, given: Mapping[str, UserCheck]) -> dict[str, UserCheck]:
    found: dict[str, UserCheck] = {}
    for check in policy.checks:
        if check.name == LABEL_CONSISTENT:
            continue
        if check.command is not None:
            found[check.name] = CommandCheck(command=check.command, timeout=check.timeout, name=check.name)
        elif check.name in given:
            found[check.name] = given[check.name]
        else:
            raise ConfigError(
                f"the policy's check {check.name!r} has no command and no callable was given: "
                f"Cascade.load(..., checks={{{check.name!r}: function}})"
            )
    unknown = [name for name in given if name not in found]
    if unknown:
        names = [check.name for check in policy.checks]
        raise ConfigError(f"check {unknown[0]!r} is not in the policy{nearest(unknown[0], names)}")
    return found


def _signals(policy: Policy, given: Mapping[str, UserSignal]) -> Mapping[str, UserSignal]:
    for name in policy.signals.user:
        if name not in given:
            raise ConfigError(f"signal {name!r} is in the policy but was not given: Cascade.load(..., signals=...)")
    return given


_open: weakref.WeakSet[Cascade] = weakref.WeakSet()


def _close_all() -> None:
    for cascade in list(_open):
        cascade.close()


def _forked() -> None:
    for cascade in list(_open):
        cascade.forked()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forked)
