"""The replay driver: recorded outcomes answer the same flow that live traffic takes.

No second decision code: a replayed request is looked up, drafted, checked, scored and served by
``cascade.flow``, under a simulated clock that advances by the recorded latencies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cascade.asks import Ask, Call, Check, Embed, Flow, Keep, Lookup, Measure, Together, Wait
from cascade.embedding import Embedder
from cascade.errors import CascadeError, UpstreamError
from cascade.flow import answer
from cascade.run import Rules, Run
from cascade.types import (
    CACHE,
    Answer,
    CheckResult,
    Decision,
    Draft,
    Hit,
    Message,
    ModelOutcome,
    Outcome,
    Record,
    Request,
    Signals,
    Usage,
)


class Spent(Record, frozen=True, kw_only=True):
    """Where the dollars of one request went."""

    served: float = 0.0
    wasted: float = 0.0
    extras: float = 0.0
    embedding: float = 0.0
    frontier: float = 0.0


class Replayed(Record, frozen=True, kw_only=True):
    """What became of one recorded request: the decision, and what was served.

    ``quality`` is that of the answer served, in [0, 1], or None where it was never judged.
    ``cpu`` and ``latency`` are in seconds over all steps; ``cpu`` is None where not recorded.
    """

    outcome: Outcome
    decision: Decision | None
    quality: float | None
    cost: float
    latency: float
    cpu: float | None
    error: str = ""
    last: str = ""

    @property
    def spent(self) -> Spent:
        """The cost in its parts."""
        found = dict.fromkeys(("served", "wasted", "extras", "embedding", "frontier"), 0.0)
        for step in self.decision.steps if self.decision is not None else []:
            cost = step.cost or 0.0
            served_by = self.decision.served_by if self.decision is not None else ""
            if step.kind in ("lookup", "embed"):
                found["embedding"] += cost
            elif step.kind != "call":
                found["extras"] += cost
            elif step.tier == self.last:
                found["frontier"] += cost
            else:
                found["served" if step.tier == served_by else "wasted"] += cost
        return Spent(**found)


def replay(outcomes: Iterable[Outcome], rules: Rules, embedder: Embedder | None = None) -> Iterator[Replayed]:
    """Send every outcome through the flow under these rules, in order."""
    for outcome in outcomes:
        yield replay_one(outcome, rules, embedder)


def replay_one(outcome: Outcome, rules: Rules, embedder: Embedder | None = None) -> Replayed:
    """One outcome through the flow."""
    tape = _Tape(outcome, embedder)
    run = Run(rules, request_of(outcome), clock=tape.now, at=outcome.decision.at if outcome.decision else 0.0)
    decision, quality, error = None, None, ""
    try:
        found = tape.play(answer(run))
        decision, quality = found.decision, outcome.models[found.draft.tier].quality
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
        last=rules.policy.last.name,
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


def draft_of(tier: str, model: ModelOutcome, name: str) -> Draft:
    """The draft that a recorded answer was; its signals as recorded where it has no log-probabilities."""
    return Draft(
        tier=tier,
        model=model.model or name,
        text=model.answer or "",
        tool_calls=model.tool_calls,
        finish_reason=model.finish_reason,
        refusal=model.refusal,
        logprobs=model.logprobs,
        top_logprobs=model.top_logprobs,
        usage=Usage(
            prompt_tokens=model.prompt_tokens or 0,
            completion_tokens=model.completion_tokens or 0,
            cached_tokens=model.cached_prompt_tokens or 0,
        ),
        cost=model.cost,
        latency=(model.latency_ms or 0.0) / 1e3,
        fingerprint=model.fingerprint,
        measured=_measured(model),
    )


def _messages(outcome: Outcome) -> list[Message]:
    system = [{"role": "system", "content": outcome.system}] if outcome.system else []
    return [*system, {"role": "user", "content": outcome.query or ""}]


def _measured(model: ModelOutcome) -> Signals | None:
    """Recorded signals stand in only for a draft whose log-probabilities are gone."""
    if model.logprobs is not None or not model.signals:
        return None
    families = model.families or sorted({name.partition(".")[0] for name in model.signals})
    return Signals(values=model.signals, families=tuple(sorted(families)))


class _Tape:
    """Answers a flow's asks from one outcome. Its clock stands at 0.0 and moves by what was recorded."""

    def __init__(self, outcome: Outcome, embedder: Embedder | None) -> None:
        self._outcome = outcome
        self._embedder = embedder
        self._asked: list[ModelOutcome] = []
        self._now = 0.0

    def now(self) -> float:
        """Seconds since the request began."""
        return self._now

    def cpu(self) -> float | None:
        """CPU seconds of all calls made, or None where one has none recorded."""
        known = [model.cpu_ms for model in self._asked if model.cpu_ms is not None]
        return sum(known) / 1e3 if len(known) == len(self._asked) else None

    def play(self, flow: Flow) -> Answer:
        """Drive the flow to its answer; raises what it raises."""
        reply: Any = None
        error: CascadeError | None = None
        while True:
            try:
                ask = flow.throw(error) if error is not None else flow.send(reply)
            except StopIteration as stop:
                found: Answer = stop.value
                return found
            reply, error = None, None
            try:
                reply = self._reply(ask)
            except CascadeError as raised:
                error = raised

    def _reply(self, ask: Ask) -> Any:
        match ask:
            case Call():
                return self._call(ask)
            case Check():
                missing = CheckResult(name=ask.name, outcome="abstain", detail="not recorded")
                return next((c for c in self._outcome.models[ask.draft.tier].checks if c.name == ask.name), missing)
            case Measure():
                recorded, prefix = self._outcome.models[ask.draft.tier].signals, f"{ask.name}."
                return {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)} or None
            case Lookup():
                return self._nearest()
            case Embed():
                return None if self._embedder is None else self._embedder.embed([ask.text])[0]
            case Wait():
                self._now += ask.seconds
            case Keep():
                return True
            case Together():
                return [None] * len(ask.calls)
        return None  # nothing is stored, and what runs off the caller's path is not what the caller got

    def _nearest(self) -> Hit | None:
        """The stored answer that was nearest when the outcome was recorded."""
        model = self._outcome.models.get(CACHE)
        if model is None:
            return None
        draft = draft_of(CACHE, model, "")
        return Hit(key=model.entry or "", draft=draft, kind="semantic", question=model.question or "")

    def _call(self, ask: Call) -> Draft:
        model = self._outcome.models.get(ask.tier)
        if model is None:
            raise UpstreamError(f"nothing is recorded of tier {ask.tier!r}", billed=False, retryable=False)
        self._asked.append(model)
        draft = draft_of(ask.tier, model, ask.endpoint.model)
        self._now += draft.latency
        return draft
