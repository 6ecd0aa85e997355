"""One request under way: what has been done for it, what it has cost, and what is left of its budget.

The only mutable thing of a request. The flow writes into it and reads it; nobody else does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cascade.asks import Call, Deliver
from cascade.decide import (
    Plan,
    Ruling,
    all_aside,
    audit_probability,
    coin,
    explored,
    find_slice,
    held_against,
    otherwise,
    plan,
)
from cascade.errors import BudgetError, CascadeError, UpstreamError
from cascade.gates import Gates
from cascade.intents import Intents
from cascade.ladder import Ladder
from cascade.policy import Model, Policy, Tier, UserCheck
from cascade.types import (
    CACHE,
    SAME,
    CheckResult,
    Decision,
    Draft,
    Hit,
    Mode,
    ModelOutcome,
    Outcome,
    Record,
    Request,
    Served,
    Signals,
    Step,
)

Clock = Callable[[], float]

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0


class Rules(Record, frozen=True, kw_only=True):
    """One consistent view of policy, open gates and ladder; replaced as a whole on a reload.

    ``intents`` is None unless the policy knows some slice by examples.
    """

    policy: Policy
    gates: Gates
    ladder: Ladder
    intents: Intents | None = None


class Run:
    """State of one request.

    ``clock`` gives seconds on a monotonic scale, ``at`` is the wall-clock time of the request in
    seconds since 1970. ``shadows`` says whether work off the caller's path may still be paid for
    in a mode.
    """

    __slots__ = (
        "_clock", "_deadline", "_fault", "_refused", "_shadows", "at", "flags", "models", "plan", "request", "rules",
        "spent", "steps", "stream", "unasked",
    )  # fmt: skip

    def __init__(
        self,
        rules: Rules,
        request: Request,
        *,
        clock: Clock,
        at: float,
        stream: bool = False,
        shadows: Callable[[Mode], bool] = lambda _: True,
    ) -> None:
        self.rules = rules
        self.request = request
        self.stream = stream
        self.at = at
        self.flags: list[str] = []
        self._shadows = shadows
        self.plan: Plan = self._plan()
        self.steps: list[Step] = []
        self.models: dict[str, ModelOutcome] = {}
        self.spent = 0.0
        self._fault: CascadeError | None = None
        self._refused: Ruling | None = None
        self.unasked: Hit | None = None
        self._clock = clock
        limit = rules.policy.budget.deadline_s
        self._deadline = None if limit is None else clock() + limit

    def place(self, found: Any) -> None:
        """Settle the slice: a stored answer's name of it, or the question's vector to classify."""
        if not isinstance(found, str):
            intents = self.rules.intents
            found = intents.classify(found) if intents is not None else None
        self.plan = self._plan(found or otherwise(self.rules.policy))

    def note(self, step: Step) -> None:
        """Write down a step; its cost counts against the request's ceiling."""
        self.steps.append(step)
        self.spent += step.cost or 0.0

    def left(self) -> float | None:
        """Seconds until the deadline, or None without one."""
        return None if self._deadline is None else self._deadline - self._clock()

    def now(self) -> float:
        """Seconds on the run's monotonic clock."""
        return self._clock()

    def delivery(self, tier: Tier) -> Deliver:
        """A draft that may still be rejected is held; only what cannot be rejected goes out live."""
        if not self.stream:
            return "whole"
        rejectable = not self.last(tier.name) or bool(self.user_checks(tier.name))
        return "held" if rejectable else "live"

    def user_checks(self, source: str) -> list[UserCheck]:
        """The user's own checks that apply to this tier, or to the cache, and slice."""
        return self.rules.policy.own_checks(source, self.plan.slice)

    def last(self, source: str) -> bool:
        """Is this the tier after which there is no other?"""
        return source == self.plan.tiers[-1].name

    def patience(self) -> float:
        """Seconds that an identical request under way may be waited for."""
        left, longest = self.left(), self.plan.tiers[-1].timeout
        return longest if left is None else min(left, longest)

    def call(self, tier: Tier, model: Model, deliver: Deliver, max_tokens: int | None = None) -> Call:
        """The next call of this tier. ``BudgetError`` when a ceiling of the user's forbids it."""
        timeout, left = tier.timeout, self.left()
        if left is not None:
            if left <= 0:
                raise BudgetError(f"the deadline of {self.rules.policy.budget.deadline_s} s has passed")
            # A cheap tier may use half of what is left: the request must still reach the last one.
            timeout = min(timeout, left if self.last(tier.name) else left / 2)
        made = self.rules.ladder.call(self.request, self.plan.slice, tier, model, deliver, timeout, max_tokens)
        self.afford([made], keep_last=not self.last(tier.name))
        return made

    def signal_call(self, tier: Tier, family: str) -> Call:
        """A call whose answer is evidence for a signal family and nothing else. ``BudgetError`` as for ``call``."""
        return msgspec.structs.replace(self.call(tier, tier, "whole"), purpose="signal", family=family)

    def afford(self, calls: list[Call], *, keep_last: bool) -> None:
        """``BudgetError`` when these calls, and the last tier's after them, would pass the ceiling."""
        ceiling = self.rules.policy.budget.max_cost_usd
        if ceiling is None:
            return
        ladder, last = self.rules.ladder, self.plan.tiers[-1]
        needed = sum(map(ladder.estimate, calls))
        if keep_last:
            needed += ladder.estimate(ladder.call(self.request, self.plan.slice, last, last, "whole", last.timeout))
        if self.spent + needed > ceiling:
            raise BudgetError(
                f"tier {calls[0].tier!r} would pass the ceiling of {ceiling} USD a request: "
                f"{self.spent:.6f} spent, about {needed:.6f} more needed"
            )

    def pause(self, tier: Tier, error: UpstreamError, turn: int) -> float | None:
        """Seconds before the next try: what the provider asked for, else doubling with full jitter.

        None when there is to be no next try: it could not mend the fault, or there is no time.
        """
        if not error.retryable or error.delivered or turn >= tier.retries:
            return None
        jitter = coin(self.rules.policy.audit.salt, f"pause {len(self.steps)}", self.request.id)
        pause = FIRST_PAUSE * 2**turn * (0.5 + jitter) if error.retry_after is None else error.retry_after
        left = self.left()
        return None if pause > LONGEST_PAUSE or (left is not None and pause >= left) else pause

    def failed(self, tier: Tier, model: Model, error: UpstreamError, seconds: float) -> None:
        """Write down a call that ended in an error, with what it cost as far as anybody knows."""
        self.note(
            Step(
                kind="call",
                outcome="error",
                tier=tier.name,
                model=model.model,
                cost=error.cost if error.cost is not None else (0.0 if error.billed is False else None),
                latency=seconds,
                billed=error.billed,
                detail=str(error),
            )
        )

    def drafted(self, draft: Draft, outcome: str = "ok", *, signal: str = "") -> None:
        """Write down a call that was answered; ``signal`` names the family that it was asked for."""
        self.note(
            Step(
                kind="signal" if signal else "call",
                outcome=outcome,
                tier=draft.tier,
                model=draft.model,
                cost=draft.cost,
                latency=draft.latency,
                usage=draft.usage,
                billed=True,
                detail=signal,
            )
        )

    def examined(self, source: str, draft: Draft, checks: list[CheckResult], signals: Signals | None) -> None:
        """Keep what the ledger needs of a draft so that replay can answer for it later."""
        self.models[source] = ModelOutcome(
            answer=draft.text,
            checks=checks,
            signals=signals.values if signals is not None else {},
            families=list(signals.families) if signals is not None else None,
            finish_reason=draft.finish_reason,
            refusal=draft.refusal,
            tool_calls=draft.tool_calls,
            prompt_tokens=draft.usage.prompt_tokens,
            completion_tokens=draft.usage.completion_tokens,
            cached_prompt_tokens=draft.usage.cached_tokens or None,
            cost=draft.cost,
            latency_ms=draft.latency * 1e3,
            model=draft.model,
            fingerprint=draft.fingerprint,
        )

    def found_exact(self, hit: Hit) -> None:
        """Write down that a stored answer is served: what it cost when it was made is no cost of this request."""
        self.note(Step(kind="lookup", outcome=hit.kind, tier=hit.draft.tier))
        self.plan = msgspec.structs.replace(self.plan, shadows=[], explore_probability=0.0)

    def found_near(self, hit: Hit, *, served: bool) -> None:
        """Write down which stored question was nearest; where its answer is served, who is asked aside.

        The cost of a stored answer is what was paid to check it. Nobody else answers where it is served.
        So that such requests, too, get labels of all tiers, the exploring coin, thrown before the look-up,
        has the whole ladder asked in the shadow.
        """
        ruled = "near" if self.plan.semantic else "near, no open gate"
        self.note(Step(kind="lookup", outcome="semantic" if served else ruled, tier=hit.draft.tier, cost=hit.cost))
        stored = self.models.get(CACHE)
        if stored is not None:
            paid = sum(step.cost or 0.0 for step in self.steps if (step.kind, step.detail) == ("signal", SAME))
            told = msgspec.structs.replace(stored, question=hit.question, entry=hit.key, cost=paid, latency_ms=0.0)
            self.models[CACHE] = told
        if served:
            self.plan = self._affordable(all_aside(self.plan, self.rules.policy, self.request))

    def check_aside(self, hit: Hit) -> None:
        """Have the exploring coin say whether a tier is asked about this hit off the caller's path."""
        made, fell = explored(self.plan, self.rules.policy, self.request)
        self.plan = self._affordable(made)
        self.unasked = hit if fell and self.plan.explore_probability else None

    def broken(self, source: str, draft: Draft, checks: list[CheckResult], error: Exception) -> Ruling:
        """The ruling of a gate that failed itself: the request may not fail with it, nor be cheated."""
        self.flags.append(f"gate broke on {source}: {type(error).__name__}")
        why = f"the gate broke ({type(error).__name__})"
        if not self.last(source):
            return Ruling(serve=False, served="accepted", why=why)
        empty = not (draft.text or draft.tool_calls or draft.refusal)
        bad = empty or bool(held_against(checks, self.request, last=True))
        return Ruling(serve=not bad, served="escalated", why=why)

    def blame(self, tier: Tier, model: Model, error: CascadeError) -> None:
        """Remember the latest reason why no answer was had; what was never sent leaves its own step."""
        self._fault = error
        if not self.last(tier.name):
            self._refused = Ruling(serve=False, served="accepted", why=f"{tier.name}: {error}")
        if not isinstance(error, UpstreamError):
            self.note(
                Step(
                    kind="call", outcome="not sent", tier=tier.name, model=model.model, billed=False, detail=str(error)
                )
            )

    def refuse(self, tier: Tier, ruling: Ruling) -> None:
        """Remember that a draft was had and not served."""
        self._refused = msgspec.structs.replace(ruling, why=f"{tier.name}: {ruling.why}")
        self._fault = UpstreamError(self._refused.why, provider=tier.model, billed=True, retryable=False)

    def exhausted(self) -> CascadeError:
        """The error for a request that nobody answered: the last fault, and all that was billed."""
        fault = self._fault or UpstreamError("no model was asked")
        calls = [step for step in self.steps if step.kind == "call"]
        unknown = any(step.cost is None for step in calls)
        spent = f"billed for this request: {self.spent:.6f} USD{' or more' if unknown else ''}"
        if not isinstance(fault, UpstreamError):
            return type(fault)(f"{fault}; {spent}")
        return UpstreamError(
            f"{fault}; {len(calls)} calls, {spent}",
            provider=fault.provider,
            status=fault.status,
            billed=True if any(step.billed for step in calls) else fault.billed,
            retry_after=fault.retry_after,
            retryable=fault.retryable,
            delivered=fault.delivered,
            cost=self.spent,
        )

    def decision(self, served: Served, served_by: str, ruling: Ruling) -> Decision:
        """The one decision that this request leaves behind."""
        made, policy = self.plan, self.rules.policy
        if served in ("escalated", "failed over") and self._refused is not None:
            ruling = self._refused  # why the last tier was asked is the evidence against the draft before
        return Decision(
            id=self.request.id,
            at=self.at,
            policy=policy.name,
            mode=made.mode,
            slice=made.slice,
            served=served,
            served_by=served_by,
            why=ruling.why,
            confidence=ruling.confidence,
            threshold=ruling.threshold,
            certificate=ruling.certificate,
            audit_probability=audit_probability(policy, served),
            explore_probability=made.explore_probability,
            steps=self.steps,
            flags=[*made.flags, *self.flags],
        )

    def failure(self, error: CascadeError) -> Decision:
        """The decision of a request that ended in an error."""
        return self.decision("failed", "", Ruling(serve=False, served="failed", why=str(error)))

    def aside(self) -> Decision:
        """What was asked in the shadow: served to nobody, but paid for."""
        return self.decision("shadow", "", Ruling(serve=False, served="shadow", why="off the caller's path"))

    def unrecorded(self, decision: Decision) -> Decision:
        """The same decision for the caller, marked: the ledger could not take it."""
        return msgspec.structs.replace(decision, flags=[*decision.flags, "unrecorded"])

    def outcome(self, decision: Decision | None, *, shadow: bool = False) -> Outcome:
        """The ledger's row: of the request itself, or of what was asked in its shadow."""
        request = self.request
        return Outcome(
            id=f"{request.id}.shadow" if shadow else request.id,
            slice=self.plan.slice,
            models=self.models,
            messages=None if shadow else request.messages,
            params={} if shadow else request.params,
            tenant=request.tenant,
            metadata={} if shadow else request.metadata,
            stakes=request.stakes,
            decision=decision,
            shadow_of=request.id if shadow else None,
        )

    def in_shadow(self) -> Run:
        """A run of its own for the tiers that are asked off the caller's path."""
        aside = Run(self.rules, self.request, clock=self._clock, at=self.at)
        aside.plan = self.plan
        aside.unasked = self.unasked
        return aside

    def _plan(self, placed: str | None = None) -> Plan:
        policy = self.rules.policy
        try:
            name = placed or find_slice(self.request, policy)
            made = plan(self.request, policy, self.rules.gates, name)
        except Exception as error:
            self.flags.append(f"planning broke: {type(error).__name__}")
            return Plan(slice=self.request.slice or "", mode=policy.mode, tiers=[policy.last], why="planning broke")
        return self._affordable(made)

    def _affordable(self, made: Plan) -> Plan:
        """The plan, without its shadows once today's ceiling for them is spent."""
        if not made.explore_probability or self._shadows(made.mode):
            return made
        # Known before the coin is thrown, so the probability of being asked today really is zero.
        self.flags.append("shadow ceiling reached")
        return msgspec.structs.replace(made, shadows=[], explore_probability=0.0)
