"""One way a request may go wrong each, and what the flow still owes its caller and its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from cascade.asks import Keep, Lookup, Spawn
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import BudgetError, Cancelled, UpstreamError
from cascade.flow import answer
from cascade.run import Run
from cascade.testing import scripted
from cascade.types import Answer, Draft, Request
from tests.building import lock_of, policy_of, request_of, tier
from tests.test_flow import Driven, World, by_hand, models, watched


def simple(**more: Any) -> World:
    policy = policy_of(tier("cheap", retries=0), tier("frontier", retries=0), cache={"enabled": False}, **more)
    return World(policy, lock_of(policy), {"cheap-model": ["good"], "frontier-model": ["good"]})


def test_a_scorer_that_breaks_still_yields_the_frontiers_answer() -> None:
    world = simple()
    assert world.lock is not None
    torn = msgspec.structs.replace(world.lock.scorers[0], weights=[])
    world.lock = msgspec.structs.replace(world.lock, scorers=[torn])
    driven = by_hand(world)
    assert isinstance(driven.ended, Answer)
    assert driven.ended.draft.tier == "frontier"
    assert any("gate broke" in flag for flag in driven.ended.decision.flags)


class Thrower:
    def measure(self, request: Request, found: Draft) -> dict[str, float] | None:
        raise RuntimeError("no signal today")


class Garbage:
    def measure(self, request: Request, found: Draft) -> Any:
        return {"value": "high"}


def engine(world: World, signal: Any, check: Any = None) -> Cascade:
    checks = {"mine": check} if check is not None else None
    parts = {"transport": models(world), "signals": {"own": signal}, "checks": checks}
    return Cascade(world.policy, world.lock, store=IN_MEMORY, **parts)


def test_a_signal_that_raises_or_returns_garbage_is_absent_and_breaks_nothing() -> None:
    for signal in (Thrower(), Garbage()):
        with engine(simple(signals={"user": ["own"]}), signal) as cascade:
            decision = cascade.completion(request_of().messages).cascade
        assert decision.served == "accepted"
        assert not decision.flags


def test_a_broken_gate_does_not_make_an_empty_answer_of_the_last_tier_a_success() -> None:
    world = simple(signals={"user": ["own"]})
    world.script["frontier-model"] = world.script["cheap-model"] = ["empty"]
    with engine(world, Garbage()) as cascade:
        try:
            found = cascade.completion(request_of().messages)
        except UpstreamError:
            return
    raise AssertionError(f"an empty answer was served: {found.cascade.why}")


def test_a_check_that_raises_abstains() -> None:
    def check(request: Request, found: Draft) -> bool:
        raise ValueError(found.text)

    world = simple(checks=[{"name": "mine"}], signals={"user": ["own"]})
    with engine(world, Thrower(), check) as cascade:
        assert cascade.completion(request_of().messages).cascade.served == "accepted"


def test_the_users_own_check_sees_an_answer_that_the_callers_limit_cut_off() -> None:
    """The cut is the caller's wish; what the check forbids is not."""
    world = simple(checks=[{"name": "mine"}])
    world.lock, world.request = None, request_of(params={"max_tokens": 2})
    world.script["frontier-model"] = ["cut and forbidden"]
    assert isinstance(by_hand(world).ended, UpstreamError)


def test_a_refusal_that_was_streamed_is_not_followed_by_another_models_answer() -> None:
    policy = policy_of(tier("frontier", fallbacks=[{"model": "backup", "price": {"input": 1, "output": 1}}]))
    world = World(policy, None, {"frontier-model": ["refused"], "backup": ["good"]})
    assert [call.endpoint.model for call in by_hand(world, stream=True).calls()] == ["frontier-model"]


def test_two_providers_of_one_model_are_two_places() -> None:
    backup = {"model": "cheap-model", "base_url": "http://b/v1", "same_model": True, "price": {"input": 1, "output": 1}}
    policy = policy_of(tier("cheap", base_url="http://a/v1", fallbacks=[backup], retries=0), tier("frontier"))
    world = World(policy, lock_of(policy), {"cheap-model": ["rejected", "good"], "frontier-model": ["good"]})
    assert [call.endpoint.base_url for call in by_hand(world).calls()] == ["http://a/v1", "http://b/v1"]


def test_a_budget_counts_the_tiers_own_prompt_and_the_rescues_limit() -> None:
    policy = policy_of(tier("frontier", prompt="x" * 4000), budget={"max_cost_usd": 5e-4})
    assert isinstance(by_hand(World(policy, None, {"frontier-model": ["good"]})).ended, BudgetError)
    policy = policy_of(tier("frontier", rescue_max_tokens=10_000), budget={"max_cost_usd": 1e-2})
    silent = by_hand(World(policy, None, {"frontier-model": ["silent", "good"]}))
    assert isinstance(silent.ended, BudgetError)


def test_a_caller_who_leaves_is_recorded_wherever_the_request_stands() -> None:
    for at in range(4):
        world = simple(checks=[{"name": "mine"}])
        driven = Driven(world, None)  # type: ignore[arg-type]
        driven.run = Run(world.rules(), world.request, clock=lambda: 0.0, at=0.0)
        flow = watched(answer(driven.run), driven)
        ended, _ = scripted(flow, _leaves(driven, at))
        assert isinstance(ended, Cancelled | Answer)
        assert len(driven.kept()) == 1, f"gone at {type(driven.seen[at]).__name__}"


def _leaves(driven: Driven, at: int) -> Iterator[Any]:
    for turn in range(20):
        yield Cancelled() if turn == at else driven.reply(driven.seen[-1])


def test_a_shadow_that_is_cancelled_records_what_it_had_asked() -> None:
    policy = policy_of(tier("cheap"), tier("middle"), tier("frontier"), mode="observe", cache={"enabled": False})
    world = World(policy, None, {f"{name}-model": ["good"] for name in ("cheap", "middle", "frontier")})
    driven = by_hand(world)
    (spawn,) = [ask for ask in driven.seen if isinstance(ask, Spawn)]
    spawn.flow.send(None)
    asked = spawn.flow.throw(Cancelled())
    assert isinstance(asked, Keep)


def test_a_lookup_comes_first_and_costs_nothing() -> None:
    driven = by_hand(simple())
    assert isinstance(driven.seen[0], Lookup)
    assert [step.kind for step in driven.kept()[0].steps] == ["call"]


def test_a_fault_that_a_second_try_cannot_mend_is_not_tried_again() -> None:
    """A rejected key stays rejected: one call, then the next tier."""
    policy = policy_of(tier("cheap", retries=3), tier("frontier"), cache={"enabled": False})
    world = World(policy, lock_of(policy), {"cheap-model": ["rejected"] * 3, "frontier-model": ["good"]})
    driven = by_hand(world)
    assert isinstance(driven.ended, Answer)
    assert [call.tier for call in driven.calls()] == ["cheap", "frontier"]


def test_a_stored_answer_sends_no_shadow_off() -> None:
    """Nothing was asked for it, so nothing can be learned beside it; its logged probability is zero."""
    policy = policy_of(mode="observe", cache={"max_temperature": 1.0})
    world = World(policy, None, {"cheap-model": ["good"], "frontier-model": ["good"]})
    with Cascade(policy, None, transport=models(world), store=IN_MEMORY) as cascade:
        first = cascade.completion(request_of().messages).cascade
        second = cascade.completion(request_of().messages).cascade
        cascade._shadows.drain(5.0)
        rows = list(cascade.outcomes())
    assert (first.served, second.served) == ("escalated", "cached")
    assert (first.explore_probability, second.explore_probability) == (1.0, 0.0)
    assert ["cheap" in row.models for row in rows if row.decision and row.decision.served == "cached"] == [False]
    assert ["cheap" in row.models for row in rows if row.decision and row.decision.served == "escalated"] == [True]


def test_a_lesser_answer_that_is_served_says_what_it_failed() -> None:
    """Cut off with no fallback left: the caller has it, and the decision says so."""
    policy = policy_of(tier("cheap"), tier("frontier"), cache={"enabled": False})
    driven = by_hand(World(policy, None, {"cheap-model": ["good"], "frontier-model": ["cut"]}))
    assert isinstance(driven.ended, Answer)
    assert any(flag.startswith("served although check truncated failed") for flag in driven.ended.decision.flags)
    good = by_hand(World(policy, None, {"cheap-model": ["good"], "frontier-model": ["good"]}))
    assert isinstance(good.ended, Answer)
    assert good.ended.decision.flags == []
