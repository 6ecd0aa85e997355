"""Answers a flow's asks from one recorded outcome, as live drivers answer them from models and stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from cascade.asks import Ask, Call, Check, Embed, Flow, Keep, Lookup, Measure, Spawn, Together, Wait
from cascade.embedding import Embedder
from cascade.errors import CascadeError, ConfigError, UpstreamError
from cascade.prices import Price
from cascade.prices import cost as price_of
from cascade.recorded import SILENT, UNSENT, Recorded
from cascade.run import Rules
from cascade.traffic import Traffic
from cascade.types import (
    CACHE,
    SAME,
    Answer,
    CheckResult,
    Draft,
    Hit,
    ModelOutcome,
    Outcome,
    Signals,
    Step,
    Usage,
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


def _measured(model: ModelOutcome) -> Signals | None:
    """Recorded signals stand in only for a draft whose log-probabilities are gone."""
    if model.logprobs is not None or not model.signals:
        return None
    families = model.families or sorted({name.partition(".")[0] for name in model.signals})
    return Signals(values=model.signals, families=tuple(sorted(families)))


class Tape:
    """Answers a flow's asks from one outcome. Its clock stands at 0.0 and moves by what was recorded.

    ``begun`` is when the request began, in seconds since 1970.
    """

    __slots__ = (
        "_asked", "_embedder", "_hit", "_models", "_now", "_outcome", "_rated", "_recorded", "_reprice", "_rules",
        "_tier", "_traffic", "begun", "missing",
    )  # fmt: skip

    def __init__(
        self, outcome: Outcome, rules: Rules, embedder: Embedder | None, traffic: Traffic, reprice: bool
    ) -> None:
        self._outcome = outcome
        self._models = outcome.models
        self._recorded = Recorded(outcome)
        self._rules = rules
        self._embedder = embedder
        self._traffic = traffic
        self._reprice = reprice
        self.begun = traffic.begin(outcome)
        self.missing: list[str] = []
        self._asked: list[ModelOutcome] = []
        self._hit: Hit | None = None
        self._tier = ""
        self._rated: set[tuple[str, str]] = set()
        self._now = 0.0

    def now(self) -> float:
        """Seconds since the request began."""
        return self._now

    def cpu(self) -> float | None:
        """CPU seconds of all calls made, or None where one has none recorded."""
        known = [model.cpu_ms for model in self._asked if model.cpu_ms is not None]
        return sum(known) / 1e3 if len(known) == len(self._asked) else None

    def quality(self, found: Answer) -> float | None:
        """How good what was served is, where somebody has judged it."""
        hit = self._hit
        if hit is not None and found.draft is hit.draft:
            return self._traffic.quality(hit)
        model = self._models.get(found.draft.tier)
        return None if model is None or found.decision.served_by != found.draft.tier else model.quality

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
                reply = _REPLIES[type(ask)](self, ask)
            except CascadeError as raised:
                error = raised

    def call(self, ask: Call) -> Draft:
        """The next recorded answer of the tier, or the fault that was recorded in its place."""
        made, model = self._recorded.call(ask.tier, ask.endpoint.model), self._models.get(ask.tier)
        self._tier = ask.tier
        if made is not None and made.step is not None and not made.kept:
            return self._told(ask, made.step, made.pause)
        if made is None or model is None:
            self.missing.append(f"answer of {ask.tier}")
            raise UpstreamError(f"nothing is recorded of tier {ask.tier!r}", billed=False, retryable=False)
        self._asked.append(model)
        draft = draft_of(ask.tier, model, ask.endpoint.model)
        self._now += draft.latency
        return _repriced(draft, ask, model) if self._reprice else draft

    def _told(self, ask: Call, step: Step, pause: float | None) -> Draft:
        """A call of which the steps tell and the row keeps no answer."""
        self._now += step.latency
        if step.outcome == UNSENT:
            self.missing.append(f"answer of {ask.tier}")
            raise ConfigError(step.detail)
        if step.outcome == SILENT:
            cost, usage = self._cost(ask, step), step.usage or Usage()
            return Draft(
                tier=ask.tier, model=step.model, finish_reason="length", usage=usage, cost=cost, latency=step.latency
            )
        answered = step.outcome != "error"
        if answered and ask.tier not in self._models:
            self.missing.append(f"answer of {ask.tier}")
        raise UpstreamError(
            "an answer that was not served, and not kept" if answered else step.detail,
            billed=step.billed,
            retry_after=pause,
            retryable=pause is not None,
            cost=step.cost,
        )

    def together(self, ask: Together) -> list[Draft | None]:
        """What was paid for signals, with the values that were measured."""
        replies = [self._signal(call) for call in ask.calls]
        self._now += max((reply.latency for reply in replies if reply is not None), default=0.0)
        return replies

    def _signal(self, call: Call) -> Draft | None:
        """One of these calls: as a step tells of it, else at the rate of ``signals.cost``, where it was measured."""
        model, family = self._models.get(self._tier), call.family
        if model is None:
            return None
        values = {name: value for name, value in model.signals.items() if name.startswith(f"{family}.")}
        measured = Signals(values=values, families=(family,) if values else ())
        step = self._recorded.signal(self._tier, family)
        if step is None:
            if not values:
                return None
            return Draft(tier=call.tier, model=call.endpoint.model, cost=self._rate(family, model), measured=measured)
        if step.outcome == "error":
            return None
        return Draft(
            tier=call.tier,
            model=step.model,
            usage=step.usage or Usage(),
            cost=self._cost(call, step),
            latency=step.latency,
            measured=measured,
        )

    def _cost(self, call: Call, step: Step) -> float | None:
        if not self._reprice:
            return step.cost
        price = call.endpoint.price
        return None if price is None or step.usage is None else price_of(step.usage, Price(*price))

    def _rate(self, family: str, model: ModelOutcome) -> float | None:
        """What a family cost in units of the tier's call, all of it at its first call; None where nobody says."""
        rate = self._rules.policy.signals.cost.get(family)
        if rate is None or model.cost is None:
            return None
        first = (self._tier, family) not in self._rated
        self._rated.add((self._tier, family))
        return model.cost * rate if first else 0.0

    def check(self, ask: Check) -> CheckResult:
        """The recorded result; a check of which nobody knows what it would have said abstains."""
        drawn = self._hit is not None and ask.draft is self._hit.draft
        model = None if drawn else self._models.get(ask.draft.tier)
        for found in model.checks if model is not None else ():
            if found.name == ask.name:
                return found
        self.missing.append(f"check {ask.name}")
        return CheckResult(name=ask.name, outcome="abstain", detail="not recorded")

    def measure(self, ask: Measure) -> dict[str, float] | None:
        """The recorded values of one of the user's signals."""
        recorded, prefix = self._models[ask.draft.tier].signals, f"{ask.name}."
        return {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)} or None

    def lookup(self, ask: Lookup) -> Hit | None:
        """What the simulated cache holds, or what was found when the outcome was recorded."""
        if self._traffic.cache is None:
            return self._found()
        self._hit, waited = self._traffic.lookup(ask, self.begun + self._now)
        self._now += waited
        return self._hit

    def _found(self) -> Hit | None:
        """The stored answer that the recorded look-up found, where this policy would look for such a one."""
        wanted, decision, model = self._rules.policy.cache, self._outcome.decision, self._models.get(CACHE)
        if not wanted.enabled or (decision is None and model is None):
            return None
        steps = decision.steps if decision is not None else ()
        step = next((step for step in steps if step.kind == "lookup"), None)
        if decision is not None and step is not None and step.outcome == "exact":
            return Hit(
                key="",
                draft=Draft(tier=step.tier, model=step.model),
                kind="exact",
                slice=decision.slice,
                confidence=decision.confidence,
                certificate=decision.certificate,
            )
        if model is None or not wanted.semantic:
            return None
        draft = draft_of(CACHE, model, "")
        if decision is None:
            draft = self._with_check(draft, model)
        cost = step.cost if step is not None else 0.0
        return Hit(key=model.entry or "", draft=draft, kind="semantic", question=model.question or "", cost=cost)

    def _with_check(self, draft: Draft, model: ModelOutcome) -> Draft:
        """A stored answer of recorded data at the price of its check, which live requests bring with them."""
        policy = self._rules.policy
        same, rate = policy.cache.same, policy.signals.cost.get(SAME)
        asked = self._models.get(same.tier) if same is not None else None
        if rate is None or asked is None or asked.cost is None or SAME not in (model.families or ()):
            return draft
        return replace(draft, cost=asked.cost * rate)

    def keep(self, ask: Keep) -> bool:
        """Into the simulated cache, once the request has ended."""
        if ask.store is not None and self._traffic.cache is not None:
            model = self._models.get(ask.store.draft.tier)
            quality = model.quality if model is not None else None
            self._traffic.keep(ask.request, ask.store, self.begun + self._now, quality)
        return True

    def embed(self, ask: Embed) -> Any:
        """The text's vector."""
        return None if self._embedder is None else self._embedder.embed([ask.text])[0]

    def wait(self, ask: Wait) -> None:
        """Time passes."""
        self._now += ask.seconds

    def spawn(self, ask: Spawn) -> None:
        """Nothing: what runs off the caller's path is not what the caller got."""


_REPLIES: dict[type[Ask], Callable[[Tape, Any], Any]] = {
    Call: Tape.call,
    Check: Tape.check,
    Embed: Tape.embed,
    Keep: Tape.keep,
    Lookup: Tape.lookup,
    Measure: Tape.measure,
    Spawn: Tape.spawn,
    Together: Tape.together,
    Wait: Tape.wait,
}


def _repriced(draft: Draft, ask: Call, model: ModelOutcome) -> Draft:
    """The draft at the price that the policy has now; of unknown cost where its tokens are not recorded."""
    price = ask.endpoint.price
    known = price is not None and model.prompt_tokens is not None and model.completion_tokens is not None
    return replace(draft, cost=price_of(draft.usage, Price(*price)) if known and price is not None else None)
