"""The replay driver: recorded outcomes answer the same flow that live traffic takes.

No second decision code: a replayed request is looked up, drafted, checked, scored and served by
``cascade.flow``, under a simulated clock that advances by the recorded latencies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cascade.asks import Answers
from cascade.embedding import Embedder
from cascade.errors import CascadeError
from cascade.flow import answer
from cascade.recorded import ANSWERED
from cascade.run import Rules, Run
from cascade.tape import Tape, draft_of
from cascade.traffic import Clock, Traffic
from cascade.types import Decision, Message, Outcome, Record, Request, Step

__all__ = ["Replayed", "Spent", "draft_of", "replay", "replay_one", "request_of", "spent_on"]

SPACING = 1.0
"""Seconds between requests of which nobody recorded when they began."""


class Spent(Record, frozen=True, kw_only=True):
    """Where the dollars of one request went; the sum of all is its cost, as far as that is known.

    ``served`` for the cheap draft that was served, ``wasted`` for those that were thrown away and for
    cheap calls that failed, ``frontier`` for the last tier's calls, ``extras`` for samples, verifiers,
    other signals and checks, ``embedding`` for looking the question up.
    """

    served: float = 0.0
    wasted: float = 0.0
    extras: float = 0.0
    embedding: float = 0.0
    frontier: float = 0.0


class Replayed(Record, frozen=True, kw_only=True):
    """What became of one recorded request: the decision, and what was served.

    ``quality`` is that of the answer served, in [0, 1], or None where it was never judged.
    ``cpu`` and ``latency`` are in seconds over all steps; ``cpu`` is None where not recorded. ``steps``
    are those of the decision, and there without one too; ``last`` is the last tier's name. ``missing``
    names what the flow asked for and the row does not hold: what is told of such a row is no
    prediction.
    """

    outcome: Outcome
    decision: Decision | None
    quality: float | None
    cost: float
    latency: float
    cpu: float | None
    error: str = ""
    steps: list[Step] = []
    last: str = ""
    missing: list[str] = []

    @property
    def spent(self) -> Spent:
        """The cost in its parts."""
        return spent_on(self.steps, self.decision.served_by if self.decision is not None else "", self.last)

    @property
    def cost_known(self) -> bool:
        """Whether ``cost`` is all of it."""
        return all(step.cost is not None for step in self.steps)

    @property
    def wasted(self) -> float:
        """Dollars of cheap calls whose answer was not served."""
        return self.spent.wasted

    @property
    def extras(self) -> float:
        """Dollars of samples, verifiers, other signals and checks."""
        return self.spent.extras

    @property
    def embedding(self) -> float:
        """Dollars of looking the question up."""
        return self.spent.embedding

    @property
    def frontier(self) -> float:
        """Dollars of the last tier's calls."""
        return self.spent.frontier


def spent_on(steps: Iterable[Step], served_by: str, last: str) -> Spent:
    """The steps' dollars by what they were for. A step of unknown cost adds nothing."""
    served = wasted = extras = embedding = frontier = 0.0
    for step in steps:
        cost = step.cost or 0.0
        if step.kind in ("lookup", "embed"):
            embedding += cost
        elif step.kind != "call":
            extras += cost
        elif step.tier == last:
            frontier += cost
        elif step.tier == served_by and step.outcome in ANSWERED:
            wasted, served = wasted + served, cost  # an empty answer came before its rescue
        else:
            wasted += cost
    return Spent(served=served, wasted=wasted, extras=extras, embedding=embedding, frontier=frontier)


def replay(
    outcomes: Iterable[Outcome],
    rules: Rules,
    embedder: Embedder | None = None,
    cache: Answers | None = None,
    *,
    clock: Clock | None = None,
    spacing: float = SPACING,
    reprice: bool = False,
) -> Iterator[Replayed]:
    """Send every outcome through the flow under these rules, in order, one at a time.

    Without ``cache`` a look-up finds what it found when it was recorded. With one (opened with
    ``clock``) it finds what the replayed requests have put there by then; ``traffic.Nothing()`` never
    holds anything. A request begins at its decision's time, else ``spacing`` seconds after the one
    before. ``reprice`` takes every call at the price that the policy has now, by its recorded tokens; a call
    whose tokens are not recorded then has no known cost.
    """
    traffic = Traffic(cache, clock, spacing)
    for outcome in outcomes:
        yield _replayed(outcome, rules, embedder, traffic, reprice)


def replay_one(outcome: Outcome, rules: Rules, embedder: Embedder | None = None) -> Replayed:
    """One outcome through the flow."""
    return _replayed(outcome, rules, embedder, Traffic(None, None, SPACING), reprice=False)


def _replayed(outcome: Outcome, rules: Rules, embedder: Embedder | None, traffic: Traffic, reprice: bool) -> Replayed:
    tape = Tape(outcome, rules, embedder, traffic, reprice)
    run = Run(rules, request_of(outcome), clock=tape.now, at=tape.begun)
    decision, quality, error = None, None, ""
    try:
        found = tape.play(answer(run))
        decision, quality = found.decision, tape.quality(found)
    except CascadeError as raised:
        error = str(raised)
    return Replayed(
        outcome=outcome,
        decision=decision,
        quality=quality,
        cost=run.spent,
        latency=tape.now(),
        cpu=tape.cpu(),
        error=error,
        steps=run.steps,
        last=rules.policy.last.name,
        missing=tape.missing,
    )


def request_of(outcome: Outcome) -> Request:
    """The request that an outcome records; a bare ``query`` becomes a user turn."""
    return Request(
        id=outcome.id,
        messages=outcome.messages if outcome.messages is not None else _messages(outcome),
        params=outcome.params,
        slice=outcome.slice or None,
        tenant=outcome.tenant,
        metadata=outcome.metadata,
        stakes=outcome.stakes,
    )


def _messages(outcome: Outcome) -> list[Message]:
    system = [{"role": "system", "content": outcome.system}] if outcome.system else []
    return [*system, {"role": "user", "content": outcome.query or ""}]
