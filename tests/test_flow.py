"""Laws of the one way: whatever policy, gates and models do, they hold for every request.

A ``World`` is a policy, a lock, and what each model does the first time it is asked, the second,
and so on. It is driven by ``testing.scripted`` under a clock of its own, and by the live drivers.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cascade.asks import Ask, Call, Check, Flow, Go, Keep, Measure, Prefix, Spawn, Wait
from cascade.checks import built_in
from cascade.drivers import drive, drive_stream, drive_sync
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import BudgetError, CascadeError, ConfigError, UpstreamError
from cascade.flow import answer
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.run import Rules, Run
from cascade.testing import FakeModels, draft, scripted
from cascade.types import Answer, CheckResult, Decision, Draft, Request
from tests.building import gate_of, lock_of, policy_of, request_of, tier

SURE, UNSURE = -0.1, -3.0
PROMISED = {"label_consistent", "refusal", "truncated"}
"""Failures with which an answer of the last tier is served when nothing better is left."""


def _draft(call: Call, text: str = "it is four", **fields: Any) -> Draft:
    return draft(call, text, **{"logprobs": [SURE] * 5, **fields})


def _fault(**fields: Any) -> UpstreamError:
    return UpstreamError("oh no", **{"provider": "p", "retry_after": 0.0, **fields})


BEHAVIOURS: dict[str, Any] = {
    "good": _draft,
    "unsure": lambda call: _draft(call, logprobs=[UNSURE] * 5),
    "without": lambda call: _draft(call, logprobs=None),
    "nan": lambda call: _draft(call, logprobs=[float("nan")] * 5),
    "forbidden": lambda call: _draft(call, "forbidden words"),
    "empty": lambda call: _draft(call, ""),
    "silent": lambda call: _draft(call, "", finish_reason="length", logprobs=None),
    "cut": lambda call: _draft(call, "it is f", finish_reason="length"),
    "cut and forbidden": lambda call: _draft(call, "forbidden w", finish_reason="length"),
    "torn": lambda call: _draft(call, "four or rather five"),
    "refuses": lambda call: _draft(call, "I can't help with that."),
    "refused": lambda call: _draft(call, "", refusal="No.", logprobs=None),
    "unpriced": lambda call: _draft(call, cost=None),
    "busy": lambda call: _fault(status=429, billed=False),
    "down": lambda call: _fault(status=500),
    "charged": lambda call: _fault(status=200, billed=True, cost=0.001),
    "rejected": lambda call: _fault(status=401, billed=False, retryable=False),
    "keyless": lambda call: ConfigError("KEY is not set"),
}


def user_check(request: Request, found: Draft) -> bool | None:
    return "forbidden" not in found.text if found.text else None


@dataclass
class World:
    """``script`` says what each model does in turn; the last behaviour goes on for ever."""

    policy: Policy
    lock: Lock | None
    script: dict[str, list[str]]
    request: Request = field(default_factory=request_of)

    def __repr__(self) -> str:
        changed = self.policy.model_dump(mode="json", exclude_defaults=True)
        tiers = [{k: t[k] for k in t if k not in ("model", "price")} for t in changed.pop("tiers")]
        opened = [gate.id for gate in self.lock.gates] if self.lock is not None else []
        return f"World({self.script}, open={opened}, {self.request.params}, {tiers}, {changed})"

    def rules(self) -> Rules:
        return Rules(policy=self.policy, gates=Gates(self.policy, self.lock), ladder=Ladder(self.policy))


@dataclass
class Driven:
    """One request driven by hand: how it ended and what was asked on the way."""

    world: World
    run: Run
    now: float = 0.0
    prefixes: int = 0
    seen: list[Ask] = field(default_factory=list)
    turns: Counter[str] = field(default_factory=Counter)
    given: list[Draft | BaseException] = field(default_factory=list)
    late: list[Call] = field(default_factory=list)
    dear: list[Call] = field(default_factory=list)
    ended: Answer | float | CascadeError | None = None

    def kept(self) -> list[Decision]:
        return [a.outcome.decision for a in self.seen if isinstance(a, Keep) and a.outcome.decision is not None]

    def calls(self) -> list[Call]:
        return [ask for ask in self.seen if isinstance(ask, Call)]

    def reply(self, ask: Ask) -> Any:
        if isinstance(ask, Check):
            passes = user_check(ask.request, ask.draft)
            outcome = {True: "pass", False: "fail", None: "abstain"}[passes]
            return CheckResult(name=ask.name, outcome=outcome, cost=0.0005)  # type: ignore[arg-type]
        if isinstance(ask, Wait):
            self.now += ask.seconds
        if isinstance(ask, Measure):
            return {"value": 1.0}
        if not isinstance(ask, Call | Go):
            return None
        call = self.calls()[-1]
        shown = sum(isinstance(a, Go) for a in self.seen[self.seen.index(call) :])
        if call.deliver == "held" and shown < self.prefixes:
            return Prefix(text="it")
        return self.answer(call)

    def answer(self, call: Call) -> Draft | BaseException:
        left, ceiling = self.run.left(), self.world.policy.budget.max_cost_usd
        if left is not None and call.timeout > left:
            self.late.append(call)
        if ceiling is not None and self.run.spent + worst(call) > ceiling + 1e-12:
            self.dear.append(call)
        script = self.world.script[call.endpoint.model]
        behaviour = script[min(self.turns[call.endpoint.model], len(script) - 1)]
        self.turns[call.endpoint.model] += 1
        self.now += 1.0
        self.given.append(BEHAVIOURS[behaviour](call))
        return self.given[-1]


def worst(call: Call) -> float:
    """What the call costs at most: all its characters as a quarter of tokens, and its whole limit."""
    assert call.endpoint.price is not None
    characters = sum(len(str(message["content"])) for message in call.messages)
    limit = call.params.get("max_tokens", 0)
    return float(characters / 4 * call.endpoint.price[0] + limit * call.endpoint.price[1]) / 1e6


def watched(flow: Flow, driven: Driven) -> Generator[Ask, Any, Answer | float]:
    """The same flow, each of its asks written down before it is answered."""
    reply: Any = None
    error: CascadeError | None = None
    while True:
        try:
            ask = flow.throw(error) if error is not None else flow.send(reply)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        driven.seen.append(ask)
        error = None
        try:
            reply = yield ask
        except CascadeError as raised:
            error = raised


def by_hand(world: World, *, stream: bool = False, prefixes: int = 0) -> Driven:
    driven = Driven(world, None, prefixes=prefixes)  # type: ignore[arg-type]
    driven.run = Run(world.rules(), world.request, clock=lambda: driven.now, at=0.0, stream=stream)

    def replies() -> Iterator[Any]:
        while True:
            yield driven.reply(driven.seen[-1])

    driven.ended, _ = scripted(watched(answer(driven.run), driven), replies())
    return driven


def models(world: World) -> FakeModels:
    turns: Counter[str] = Counter()

    def respond(call: Call) -> Any:
        script = world.script[call.endpoint.model]
        turns[call.endpoint.model] += 1
        return BEHAVIOURS[script[min(turns[call.endpoint.model], len(script)) - 1]](call)

    return FakeModels(respond)


def live(world: World, how: str) -> Decision:
    """The decision that a live driver comes to, the same for an error."""
    checks = {check.name: user_check for check in world.policy.checks if check.name == "mine"}
    cascade = Cascade(world.policy, world.lock, transport=models(world), checks=checks, store=IN_MEMORY)
    flow = answer(cascade.run(world.request, stream=how == "stream"))
    try:
        if how == "sync":
            drive_sync(flow, cascade.parts)
        elif how == "async":
            asyncio.run(_to_its_end(drive(flow, cascade.parts)))
        else:
            asyncio.run(_read(drive_stream(flow, cascade.parts)))
    except CascadeError:
        pass
    found = [o.decision for o in cascade.outcomes() if o.id == world.request.id]
    cascade.close()
    assert len(found) == 1
    assert found[0] is not None
    return found[0]


async def _to_its_end(work: Any) -> None:
    await work


async def _read(items: Any) -> None:
    async for _ in items:
        pass


def comparable(decision: Decision) -> dict[str, Any]:
    """A decision without times, and without the price of checks, which only a script can set."""
    prices = [None if step.kind == "check" else step.cost for step in decision.steps]
    bare = msgspec.structs.replace
    steps = [bare(step, latency=0.0, cost=price) for step, price in zip(decision.steps, prices, strict=True)]
    why = re.sub(r"\d+\.\d+ USD", "USD", decision.why)  # an error's total has the checks in it
    found = msgspec.to_builtins(msgspec.structs.replace(decision, at=0.0, steps=steps, flags=[], why=why))
    return found  # type: ignore[no-any-return]


BEHAVIOUR = st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=4)
LADDERS = st.sampled_from([["frontier"], ["cheap", "frontier"], ["cheap", "middle", "frontier"]])


LABELS = {"number": {"pattern": "four|five"}}
CHECKS: list[list[dict[str, Any]]] = [
    [],
    [{"name": "mine"}],
    [{"name": "mine", "tiers": ["frontier"]}],
    [{"name": "label_consistent"}],
    [{"name": "label_consistent", "labels": ["number"], "slices": ["default"]}, {"name": "mine"}],
]


@st.composite
def worlds(draw: st.DrawFn, *, timed: bool = False) -> World:
    """Any ladder, gates, options and models. ``timed`` worlds have budgets and pauses too."""
    ladder, script = [], {}
    for name in draw(LADDERS):
        price = {"input": 1.0, "output": 2.0}
        backups = [{"model": f"{name}-same", "same_model": True}, {"model": f"{name}-other"}]
        backups = [backup | {"price": price} for backup in backups]
        fallbacks = draw(st.lists(st.sampled_from(backups), unique_by=str, max_size=2))
        for model in (f"{name}-model", *(b["model"] for b in fallbacks)):
            script[str(model)] = draw(BEHAVIOUR)
        rescue, retries = draw(st.sampled_from([None, 900])), draw(st.integers(0, 2))
        ladder.append(tier(name, fallbacks=fallbacks, rescue_max_tokens=rescue, retries=retries, timeout=30.0))
    checks = draw(st.sampled_from(CHECKS))
    options: dict[str, Any] = {"cache": {"enabled": False}, "checks": checks, "labels": LABELS}
    options["explore"] = {"rate": draw(st.sampled_from([0.01, 1.0]))}
    if timed:
        deadline, ceiling = draw(st.sampled_from([None, 1.5, 5.0])), draw(st.sampled_from([None, 1e-5, 1e-3, 4e-3]))
        options["budget"] = {"deadline_s": deadline, "max_cost_usd": ceiling}
    policy = policy_of(*ladder, **options)
    gates = [gate_of(t.name, threshold=draw(st.sampled_from([-1.0, None]))) for t in policy.tiers[:-1]]
    covered = [gate for gate in gates if gate.threshold is not None]
    lock = None if not covered or draw(st.booleans()) else lock_of(policy, *covered)
    params = draw(st.sampled_from([{}, {"max_tokens": 300}, {"response_format": {"type": "json_object"}}]))
    return World(policy, lock, script, request_of(params=params))


@given(worlds(timed=True), st.booleans())
def test_every_request_ends_in_one_answer_or_one_error_and_leaves_one_decision(world: World, stream: bool) -> None:
    driven = by_hand(world, stream=stream)
    (kept,) = driven.kept()
    if isinstance(driven.ended, Answer):
        assert driven.ended.decision == kept
        assert kept.served != "failed"
    else:
        assert isinstance(driven.ended, UpstreamError | BudgetError | ConfigError)
        assert kept.served == "failed"


@given(worlds())
def test_no_draft_that_failed_a_hard_check_is_served_but_a_lesser_one_of_the_last_tier(world: World) -> None:
    driven = by_hand(world)
    assume(isinstance(driven.ended, Answer))
    assert isinstance(driven.ended, Answer)
    found = driven.ended.draft
    consistent = world.policy.consistent(found.tier, driven.run.plan.slice)
    failed = {result.name for result in built_in(world.request, found, consistent) if result.outcome == "fail"}
    failed |= {check.name for check in driven.run.user_checks(found.tier) if not_passed(world, found)}
    assert failed <= (PROMISED if found.tier == world.policy.last.name else set())


def not_passed(world: World, found: Draft) -> bool:
    return user_check(world.request, found) is False


@given(worlds(timed=True), st.booleans())
def test_the_cost_of_a_decision_is_the_sum_of_its_steps_and_of_all_that_was_billed(world: World, stream: bool) -> None:
    driven = by_hand(world, stream=stream)
    (kept,) = driven.kept()
    billed = [given.cost or 0.0 for given in driven.given if isinstance(given, Draft | UpstreamError)]
    billed += [0.0005 for ask in driven.seen if isinstance(ask, Check)]
    assert abs(kept.cost - sum(billed)) < 1e-12
    assert abs(kept.cost - sum(step.cost or 0.0 for step in kept.steps)) < 1e-12
    assert abs(driven.run.spent - kept.cost) < 1e-12


@given(worlds(timed=True))
def test_a_cost_that_nobody_can_know_is_not_counted_as_nothing(world: World) -> None:
    (kept,) = (driven := by_hand(world)).kept()
    answers = [given_ for given_ in driven.given if isinstance(given_, Draft | UpstreamError)]
    unknown = any(a.cost is None and getattr(a, "billed", True) is not False for a in answers)
    assert kept.cost_known == (not unknown)


@given(worlds(timed=True), st.booleans())
def test_closed_gates_keep_the_cheap_tiers_off_the_callers_path(world: World, stream: bool) -> None:
    gates = world.rules().gates
    for call in by_hand(world, stream=stream).calls():
        assert call.tier == world.policy.last.name or gates.any_open(call.tier, "default")


@given(worlds(timed=True))
def test_the_chance_of_exploration_is_logged_whether_or_not_the_coin_fell(world: World) -> None:
    driven = by_hand(world)
    (kept,) = driven.kept()
    gates = world.rules().gates
    closed = [t for t in world.policy.tiers[:-1] if not gates.any_open(t.name, "default")]
    assert kept.explore_probability == (world.policy.explore.rate if closed else 0.0)
    spawned = any(isinstance(ask, Spawn) for ask in driven.seen)
    assert spawned <= bool(closed)
    if closed and world.policy.explore.rate == 1.0:
        assert spawned == isinstance(driven.ended, Answer)


@given(worlds(timed=True))
def test_no_call_is_given_more_time_than_the_deadline_leaves(world: World) -> None:
    driven = by_hand(world)
    assert not driven.late


@given(worlds(timed=True))
def test_no_call_is_made_that_would_pass_the_ceiling(world: World) -> None:
    assert not by_hand(world).dear


@given(worlds(timed=True), st.booleans())
def test_a_tier_falls_back_only_on_its_own_model_unless_it_is_the_last(world: World, stream: bool) -> None:
    for call in by_hand(world, stream=stream).calls():
        assert call.tier == world.policy.last.name or not call.endpoint.model.endswith("-other")


@given(worlds())
def test_silence_is_rescued_once_and_both_calls_are_billed(world: World) -> None:
    driven = by_hand(world)
    (kept,) = driven.kept()
    steps = [step for step in kept.steps if step.kind == "call"]
    for at, step in enumerate(steps):
        if step.outcome == "silent_failure":
            assert step.billed
            assert step.cost is not None
            may = world.policy.tier(step.tier).rescue_max_tokens is not None
            following = steps[at + 1] if at + 1 < len(steps) else None
            assert may == (following is not None and following.model == step.model)
    rescues = [call for call in driven.calls() if call.params.get("max_tokens") == 900]
    answered = sum(step.outcome == "rescue" for step in steps)
    assert answered <= len(rescues) <= sum(s.outcome == "silent_failure" for s in steps) * 3


@given(worlds(), st.integers(1, 3))
def test_the_beginning_of_a_held_answer_changes_nothing(world: World, prefixes: int) -> None:
    plain, shown = by_hand(world, stream=True), by_hand(world, stream=True, prefixes=prefixes)
    assert comparable(plain.kept()[0]) == comparable(shown.kept()[0])
    assert type(plain.ended) is type(shown.ended)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_all_drivers_come_to_the_same_decision(world: World) -> None:
    """A stream may differ only where the last tier's answer was out before a check could fail it."""
    by_script = comparable(by_hand(world).kept()[0])
    assert comparable(live(world, "sync")) == by_script
    assert comparable(live(world, "async")) == by_script
    streamed = by_hand(world, stream=True)
    assert comparable(live(world, "stream")) == comparable(streamed.kept()[0])
    out = [c for c in streamed.calls() if c.deliver == "live"]
    if not out:
        assert comparable(streamed.kept()[0]) == by_script


@given(worlds())
def test_what_breaks_on_a_tier_can_be_read_in_the_decision(world: World) -> None:
    driven = by_hand(world)
    (kept,) = driven.kept()
    said = " ".join([kept.why, *kept.flags, *(step.detail for step in kept.steps)])
    for given_ in driven.given:
        assert not isinstance(given_, ConfigError) or "KEY is not set" in said


@settings(suppress_health_check=[HealthCheck.filter_too_much])  # most worlds do not escalate past a draft
@given(worlds())
def test_an_escalated_decision_says_why_the_cheaper_draft_was_not_served(world: World) -> None:
    driven = by_hand(world)
    (kept,) = driven.kept()
    assume(kept.served == "escalated" and any(c.tier != world.policy.last.name for c in driven.calls()))
    assert kept.why != "cascade"
