"""The demo: recorded or live answers of real local models through the real flow, on held-out questions.

Two small models stand in for a hosted pair and are priced as one; the table says so, beside the
CPU seconds that they really took.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cascade.asks import Call, Stream, Transport
from cascade.cache import Cache
from cascade.cache.opening import cache_of
from cascade.compare import Comparison, compare
from cascade.drivers import drive
from cascade.engine import embedder_of
from cascade.errors import CascadeError, ConfigError
from cascade.flow import answer
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.ledger import Ledger, read_outcomes
from cascade.lock import Lock, load_lock, lock_path
from cascade.parts import Parts
from cascade.policy import Policy
from cascade.policyfile import load_policy
from cascade.replay import Replayed, draft_of, replay, request_of
from cascade.run import Rules, Run
from cascade.shipped import shipped
from cascade.transports import Transports
from cascade.types import CACHE, RIGHT, Answer, Draft, Entry, Outcome, Record

POLICY = "demo.toml"
RECORDING = "demo.jsonl.gz"
FIT, HELD_OUT = "fit", "test"

LIVE_SECONDS = 180.0
"""How long the live demo begins new questions; loading the models comes on top, under four minutes in all."""

BLOCK = 5
"""Questions of one slice in a row: they share their prompt's beginning, which the server then has cached."""

IN_FLIGHT = 3
"""Questions under way at once: one at each server, and one that is ready when a server gets free."""

Judge = Callable[[str, str, str], bool]
"""``matches(kind, answer, reference)``: is the answer right, by the kind of match its question asks for?"""


class Server(Protocol):
    """A running model server: see ``cascade.local.Served``."""

    url: str

    def cpu_seconds(self) -> float:
        """CPU seconds of the server so far."""
        ...


class Stored(Record, frozen=True, kw_only=True):
    """Questions answered from the cache, and how many of those answers are right."""

    served: int
    right: int


class Demo(Record, frozen=True, kw_only=True):
    """What a demo shows: the comparison, overall and per slice, and under which lock."""

    kind: str
    policy: Policy
    lock: Lock
    overall: Comparison
    slices: dict[str, Comparison]
    stored: Stored


def recorded() -> list[Outcome]:
    """All recorded questions with the answers of every tier."""
    return list(read_outcomes(shipped(RECORDING)))


def rules() -> tuple[Rules, Lock]:
    """Policy and lock of the demo."""
    file = shipped(POLICY)
    policy = load_policy(file)
    lock = load_lock(lock_path(file))
    if lock is None:
        raise ConfigError(f"{lock_path(file)} is missing; run: python -m calibration")
    return _rules(policy, lock), lock


def replayed_demo(progress: Callable[[Iterable[Outcome]], Iterable[Outcome]] = iter) -> Demo:
    """The recorded demo: every held-out question through the flow, no model needed."""
    made, lock = rules()
    held_out = [outcome for outcome in recorded() if outcome.split == HELD_OUT]
    return summarise("replayed", list(replay(progress(held_out), made)), made.policy, lock)


def live_demo(
    servers: Mapping[str, Server],
    judge: Judge,
    told: Callable[[int, float], None] = lambda asked, left: None,
    *,
    seconds: float = LIVE_SECONDS,
    transport: Transport | None = None,
) -> Demo:
    """The same ladder, asked now, beside the recorded single-tier answers to the same questions.

    ``servers`` are by the name of the weight file that they serve. New questions begin for
    ``seconds``; ``told`` hears how many are answered and how many seconds are left.
    """
    made, lock = rules()
    held_out = [outcome for outcome in recorded() if outcome.split == HELD_OUT]
    with tempfile.TemporaryDirectory(prefix="cascade-demo-") as folder, Ledger(Path(folder)) as ledger:
        placed = _rules(_placed(made.policy, servers), lock)
        live = Live(
            rules=placed,
            turns=Turns(transport or Transports(), servers.values()),
            ledger=ledger,
            judge=judge,
            kinds=kinds(),
            cache=_filled(placed),
        )
        rows = asyncio.run(live.ask_all(in_blocks(held_out), seconds, told))
    return summarise("live", rows, made.policy, lock)


def summarise(kind: str, rows: list[Replayed], policy: Policy, lock: Lock) -> Demo:
    """Compare overall and for each slice."""
    slices = sorted({row.outcome.slice for row in rows})
    hits = [row for row in rows if row.decision is not None and row.decision.served_by == CACHE]
    return Demo(
        kind=kind,
        policy=policy,
        lock=lock,
        overall=compare(rows, policy),
        slices={name: compare([row for row in rows if row.outcome.slice == name], policy) for name in slices},
        stored=Stored(served=len(hits), right=sum((row.quality or 0.0) >= RIGHT for row in hits)),
    )


class Turns:
    """The running servers, each asked one thing at a time: so its CPU time belongs to one question."""

    def __init__(self, transport: Transport, servers: Iterable[Server]) -> None:
        self.transport = transport
        self._servers = {server.url: server for server in servers}
        self._turn = {url: asyncio.Lock() for url in self._servers}

    async def complete(self, call: Call) -> tuple[Draft, float]:
        """The answer, and the CPU seconds that its server took."""
        url = call.endpoint.base_url or ""
        async with self._turn[url]:
            before = self._servers[url].cpu_seconds()
            draft = await self.transport.complete(call)
            return draft, self._servers[url].cpu_seconds() - before


class Meter:
    """The transport of one question: adds up the CPU seconds of all its calls."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.cpu = 0.0

    async def complete(self, call: Call) -> Draft:
        """The whole answer."""
        draft, cpu = await self._turns.complete(call)
        self.cpu += cpu
        return draft

    def stream(self, call: Call) -> Stream:
        """Not metered: the demo does not stream."""
        return self._turns.transport.stream(call)

    async def close(self) -> None:
        """Nothing: the connections are everybody's."""


class Live(Record, frozen=True, kw_only=True):
    """What the live questions share. ``kinds`` maps a question's id to how its answer is matched."""

    cache: Any
    rules: Rules
    turns: Turns
    ledger: Ledger
    judge: Judge
    kinds: dict[str, str]

    async def ask_all(
        self, questions: Iterator[Outcome], seconds: float, told: Callable[[int, float], None]
    ) -> list[Replayed]:
        """Ask one after another, a few at a time, until the questions or the seconds are used up."""
        rows: list[Replayed] = []
        end = time.monotonic() + seconds

        async def work() -> None:
            for question in questions:
                rows.append(await self.ask(question))
                left = end - time.monotonic()
                told(len(rows), max(left, 0.0))
                if left <= 0:
                    return

        try:
            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        finally:
            await self.turns.transport.close()
        return rows

    async def ask(self, question: Outcome) -> Replayed:
        """One question through the flow, judged; seconds are those of its calls, not of its turns."""
        meter = Meter(self.turns)
        parts = Parts(transport=meter, cache=self.cache, ledger=self.ledger, checks={}, signals={}, spawn=_left_out)
        run = Run(self.rules, request_of(question), clock=time.monotonic, at=time.time())
        try:
            found = await drive(answer(run), parts)
        except CascadeError as error:
            found, fault = None, str(error)
        else:
            fault = ""
        good = isinstance(found, Answer) and self.judge(
            self.kinds[question.id], found.draft.text, str(question.reference)
        )
        return Replayed(
            outcome=question,
            decision=found.decision if isinstance(found, Answer) else None,
            quality=None if fault else float(good),
            cost=run.spent,
            latency=sum(step.latency for step in run.steps),
            cpu=meter.cpu,
            error=fault,
            steps=run.steps,
            last=self.rules.policy.last.name,
        )


def _left_out(*_: Any) -> None:
    """Shadow work is not part of what a caller gets, and the demo measures that alone."""


class Kind(msgspec.Struct):
    """What a recorded line says besides its outcome: how an answer to this question is matched."""

    id: str
    match: str = "exact"


def kinds() -> dict[str, str]:
    """How each recorded question's answer is matched, by id."""
    with gzip.open(shipped(RECORDING), "rb") as lines:
        found = [msgspec.json.decode(line, type=Kind) for line in lines if line.strip()]
    return {kind.id: kind.match for kind in found}


def in_blocks(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Some of each slice in turn, so that wherever one stops every slice has had its share."""
    slices: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        slices.setdefault(outcome.slice, []).append(outcome)
    for start in itertools.count(step=BLOCK):
        block = [outcome for held in slices.values() for outcome in held[start : start + BLOCK]]
        if not block:
            return
        yield from block


def _placed(policy: Policy, servers: Mapping[str, Server]) -> Policy:
    """The policy with each tier at the server of its model's weight file; nothing certified changes."""
    tiers = []
    for tier in policy.tiers:
        urls = [server.url for name, server in servers.items() if name.startswith(tier.model)]
        if not urls:
            raise ConfigError(f"no weight file of {tier.model} (tier {tier.name!r}); there are: {', '.join(servers)}")
        tiers.append(tier.model_copy(update={"base_url": urls[0]}))
    return policy.model_copy(update={"tiers": tiers})


def _rules(policy: Policy, lock: Lock) -> Rules:
    embedder = embedder_of(policy)
    gates = Gates(policy, lock, embedder=embedder.name if embedder is not None else None)
    return Rules(policy=policy, gates=gates, ladder=Ladder(policy))


def _filled(rules: Rules) -> Cache | None:
    """The cache that the recorded look-ups searched: the last tier's answers to the questions of the fit."""
    policy = rules.policy
    cache = cache_of(policy, rules.ladder, None, embedder=embedder_of(policy))
    for row in recorded() if cache is not None else ():
        if row.split == FIT and cache is not None:
            cache.keep(request_of(row), Entry(draft=draft_of(policy.last.name, row.models[policy.last.name], "")))
    return cache
