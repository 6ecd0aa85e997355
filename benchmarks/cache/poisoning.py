"""A planted wrong answer: how often the cache serves it before an audit finds it, and that nothing of it stays.

The cache, the rule that serves and the coin that audits are the package's own; what is made up are the
questions, their vectors, and a judge who is always right.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from benchmarks.cache.watching import Served, Watch
from benchmarks.speed.report import machine
from cascade.cache import Cache
from cascade.cache.opening import cache_of
from cascade.confidence import Scorer
from cascade.decide import audit_probability, coin, plan, rule
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.lock import ANY_SLICE, Certificate, Gate, Lock, identity
from cascade.matching import FAMILY
from cascade.matching import measure as measured
from cascade.policy import Policy
from cascade.policyfile import parse_policy
from cascade.signals import NO_SIGNALS, extend
from cascade.types import CACHE, Draft, Entry, Hit, Request

RATES = (0.01, 0.05, 0.20)
WORDINGS = (1, 5)
TOPICS = 8
"""Of each client; the first is the poisoned one, and half of the traffic."""

SIMILARITY = 0.8
"""The gate's threshold: every question of a topic is nearer to every other, and none to another topic's."""

AFTER = 200
"""Requests after the poison was found, half of them on its topic."""

METHOD = f"""
A wrong answer is stored under one wording or under five; a gate lets near questions pass, which are served it. What is
served is audited by the policy's coin on the request's id, by a judge who is always right, and a failed audit retracts.
Cache, rule, coin and retraction are the package's own; questions and vectors are made up. Then {AFTER} more requests
go on, half of them on the same topic. On disk a second process, which had been served the answer, asks for it all the
while: "gone after" is the longest time from a retraction to the first question there that gets nothing of it, for
good, the time included in which it comes round to that question (asked for: under a second). Lost are right answers of
other topics.
"""

SLICE = "default"
POISON = "Wrong, and planted."
Say = Callable[[str], None]


class Topics:
    """Vectors of made-up questions: a topic's own axis, and a little of the wording."""

    name = "topics"
    dimensions = 64

    def embed(self, texts: Sequence[str]) -> Any:
        made = np.stack([np.random.default_rng(crc32(text.encode())).normal(0.0, 0.04, 64) for text in texts])
        made[np.arange(len(texts)), [int(text.split()[1]) for text in texts]] += 1.0
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


class Service:
    """One process's cache under a gate that serves by similarity, with audits of what is served."""

    def __init__(self, rate: float, folder: Path | None) -> None:
        tiers = [{"name": "frontier", "model": "frontier", "price": {"input": 1.0, "output": 1.0}}]
        made = {"name": "poisoning", "target": {"max_error": 0.05}, "tiers": tiers, "cache": {"semantic": True}}
        self.policy = parse_policy(made | {"audit": {"accepted": rate}})
        self.gates = Gates(self.policy, lock_of(self.policy))
        found = cache_of(self.policy, Ladder(self.policy, priced=False), folder, embedder=Topics())
        assert found is not None
        self.cache: Cache = found

    def serves(self, request: Request, hit: Hit) -> bool:
        """The package's rule about a near hit."""
        signals = extend(NO_SIGNALS, FAMILY, measured(request.question, hit))
        made = plan(request, self.policy, self.gates, SLICE)
        return rule(request, made, CACHE, [], signals, self.gates).serve

    def audits(self, request: Request) -> bool:
        drawn = coin(self.policy.audit.salt, "audit", request.id)
        return drawn < audit_probability(self.policy, "cached")

    def found(self, request: Request) -> Hit | None:
        """What is served to this request out of the cache."""
        hit = self.cache.lookup(request)
        return hit if hit is not None and (hit.kind == "exact" or self.serves(request, hit)) else None

    def retract(self, request: Request, hit: Hit) -> None:
        """What a failed audit does."""
        self.cache.retract(hit.key, serves=lambda near: self.serves(request, near), request=request)

    def keep(self, request: Request, text: str) -> None:
        draft = Draft(tier="frontier", model="frontier", text=text, finish_reason="stop")
        self.cache.keep(request, Entry(draft=draft, slice=SLICE))


def lock_of(policy: Policy) -> Lock:
    """A lock whose cache serves from ``SIMILARITY`` on."""
    gate = Gate(id="near", tier=CACHE, slice=ANY_SLICE, signal_set=FAMILY, scorer="near", threshold=SIMILARITY)
    scorer = Scorer(
        id="near", tier=CACHE, signal_set=FAMILY, features=[f"{FAMILY}.similarity"], means=[0.0], scales=[1.0],
        weights=[1.0], intercept=0.0,
    )  # fmt: skip
    certificate = Certificate(
        id="made up", gates=["near"], kind=policy.target.kind, level=policy.target.level,
        confidence=policy.target.confidence, delta=0.05, method="none", population="made up", judged=500, accepted=300,
        bad=1, bound=0.02, judge="gold", issued_at="2026-01-01T00:00:00+00:00", identity=identity(policy),
    )  # fmt: skip
    return Lock(policy=policy.name, scorers=[scorer], gates=[gate], certificates=[certificate])


def request_of(client: int, topic: int, number: int) -> Request:
    """A question of a topic in a wording of its own; clients share nothing."""
    content = f"topic {topic} asked as {number}"
    messages = [{"role": "user", "content": content}]
    return Request(id=f"{client}-{number}", tenant=str(client), messages=messages, params={"temperature": 0.0})


class Story(NamedTuple):
    """One planted answer: times it was served until found, and after; entries of other topics lost; when it went."""

    before: int
    after: int
    lost: int
    at: float


def plant(service: Service, client: int, wordings: int) -> None:
    """An answer for every topic: a wrong one for the first, in so many wordings."""
    for number in range(wordings):
        service.keep(request_of(client, 0, number), POISON)
    for topic in range(1, TOPICS):
        service.keep(request_of(client, topic, 100 + topic), f"right {topic}")


def story(service: Service, client: int) -> Story:
    """Traffic of one client until an audit finds the poison, and on."""
    drawn = random.Random(client)
    served, left, at, number = [0, 0], AFTER, 0.0, 1_000
    while left:
        number += 1
        left -= bool(at)
        topic = 0 if drawn.random() < 0.5 else drawn.randrange(1, TOPICS)
        request = request_of(client, topic, number)
        hit = service.found(request)
        if hit is None:
            service.keep(request, f"right {topic}")
            continue
        bad = hit.draft.text == POISON
        served[bool(at)] += bad
        if service.audits(request):
            if bad:
                service.retract(request, hit)
                at = at or time.monotonic()
            else:
                service.cache.audited(hit.key, acceptable=True)
    kept = [service.cache.lookup(request_of(client, topic, 100 + topic)) for topic in range(1, TOPICS)]
    lost = sum(hit is None or hit.kind != "exact" for hit in kept)
    return Story(served[0], served[1], lost, at)


def case(rate: float, wordings: int, clients: Sequence[int], folder: Path | None) -> dict[str, Any]:
    """One row of the table. On disk a second process looks for every planted answer all the while."""
    watch = None if folder is None else Watch(lambda: _poisoned(Service(rate, folder)), clients)
    service = Service(rate, folder)
    for client in clients:
        plant(service, client, wordings)
    if watch is not None:
        watch.wait_until_all_seen()
    stories = [story(service, client) for client in clients]
    lags = [] if watch is None else watch.lags([one.at for one in stories])
    faults = service.cache.faults.total()
    service.cache.close()
    before = [one.before for one in stories]
    return {
        "rate": rate, "wordings": wordings, "store": "memory" if folder is None else "disk",
        "mean": fmean(before), "expected": 1 / rate, "median": median(before),
        "most": float(np.quantile(before, 0.95, method="inverted_cdf")),
        "expected_most": float(np.ceil(np.log(0.05) / np.log1p(-rate))),
        "error": (np.std(before, ddof=1) / len(before) ** 0.5).item() if len(before) > 1 else None,
        "after": sum(one.after for one in stories), "lost": sum(one.lost for one in stories), "faults": faults,
        "lag": max(lags) if lags else None,
    }  # fmt: skip


def _poisoned(service: Service) -> Served:
    """Whether a client's question about the first topic is served the planted answer."""

    def served(client: int, number: int) -> bool:
        hit = service.found(request_of(client, 0, number))
        return hit is not None and hit.draft.text == POISON

    return served


def measure(repetitions: int, say: Say) -> dict[str, Any]:
    """All cases, for ``cache_poisoning.json``."""
    began = time.monotonic()
    lines: list[dict[str, Any]] = []
    for rate in RATES:
        for wordings in WORDINGS:
            with tempfile.TemporaryDirectory() as folder:
                for place in (None, Path(folder)):
                    first = len(lines) * repetitions  # other clients, so other ids and other coins
                    lines.append(case(rate, wordings, range(first, first + repetitions), place))
            say(f"audits {rate:.0%}, {wordings} wordings: {time.monotonic() - began:.0f} s")
    return {
        "command": f"python -m benchmarks cache poisoning --repetitions {repetitions}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "repetitions": repetitions,
        "seconds": round(time.monotonic() - began),
        "lines": lines,
    }


def markdown(made: dict[str, Any]) -> str:
    """The page ``cache_poisoning.md``."""
    lines = [
        "# A planted wrong answer",
        "",
        f"`{made['command']}`, {made['date']}, {made['repetitions']} repetitions of each case, {made['seconds']} s.",
        METHOD,
        "| audited | wordings | store | served until found: mean | 1/p | median | 95 % | 95 % of the coin's law "
        "| served after | second process: gone after, s | others lost | faults |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(_row, made["lines"]),
        "",
    ]
    return "\n".join(lines)


def _row(line: dict[str, Any]) -> str:
    spread = "" if line["error"] is None else f" ± {line['error']:.1f}"
    lag = "" if line["lag"] is None else f"{line['lag']:.2f}"
    return (
        f"| {line['rate']:.0%} | {line['wordings']} | {line['store']} | {line['mean']:.1f}{spread} "
        f"| {line['expected']:.0f} | {line['median']:g} | {line['most']:g} | {line['expected_most']:g} "
        f"| {line['after']} | {lag} | {line['lost']} | {line['faults']} |"
    )
