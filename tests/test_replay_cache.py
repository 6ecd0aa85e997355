"""Laws of the simulated cache: replayed requests find what those before them have stored by then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.asks import Call
from cascade.cache.opening import cache_of
from cascade.engine import IN_MEMORY, Cascade
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.replay import Replayed, replay
from cascade.run import Rules
from cascade.testing import FakeModels, draft
from cascade.traffic import Clock, Nothing
from cascade.types import CACHE, Decision, ModelOutcome, Outcome
from tests.building import gate_of, lock_of, policy_of, scorer_of, tier
from tests.caching import Fixed

TTL = 100.0
SECONDS = 2.0
"""How long the one recorded answer takes."""


def policy_with_cache(*tiers: dict[str, Any], **cache: Any) -> Policy:
    return policy_of(*tiers or (tier("frontier"),), cache={"ttl": TTL, "max_temperature": 1.0, **cache})


def row(id: str, at: float, text: str = "why?", **fields: Any) -> Outcome:
    """A request that began at a time, with one recorded answer that took ``SECONDS``."""
    decision = Decision(
        id=id, at=at, policy="p", mode="enforce", slice="", served="escalated", served_by="frontier", why=""
    )
    model = ModelOutcome(answer=f"since {id}", finish_reason="stop", cost=0.01, latency_ms=1e3 * SECONDS, **fields)
    return Outcome(id=id, query=text, models={"frontier": model}, decision=decision)


def through(rows: list[Outcome], policy: Policy, lock: Lock | None = None, embedder: Any = None) -> list[Replayed]:
    clock = Clock()
    ladder = Ladder(policy)
    cache = cache_of(policy, ladder, None, embedder=embedder, clock=clock)
    gates = Gates(policy, lock, embedder=embedder.name if embedder is not None else None)
    found = list(replay(rows, Rules(policy=policy, gates=gates, ladder=ladder), embedder, cache, clock=clock))
    if cache is not None:
        cache.close()
    return found


def served(found: list[Replayed]) -> list[str]:
    return [one.decision.served_by if one.decision is not None else "" for one in found]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.1, 80.0), min_size=1, max_size=12))
def test_a_repeat_is_a_hit_from_the_end_of_the_answer_to_its_ttl_and_not_before_or_after(gaps: list[float]) -> None:
    """Against a model of it: one stored time, and requests under way that others wait for."""
    times = [1000.0]
    for gap in gaps:
        times.append(times[-1] + gap)
    found = through([row(str(i), at) for i, at in enumerate(times)], policy_with_cache())
    ends = float("-inf")
    for one, at in zip(found, times, strict=True):
        assert one.decision is not None
        if at < ends:
            assert one.decision.served_by == CACHE
            assert one.decision.why == "an identical request was under way"
            assert one.latency == pytest.approx(ends - at)
        elif at - ends < TTL - 1e-6:
            assert one.decision.served_by == CACHE
            assert one.decision.why == "exact hit"
            assert (one.cost, one.latency) == (0.0, 0.0)
        elif at - ends > TTL + 1e-6:
            assert one.decision.served_by == "frontier"
            ends = at + SECONDS


def test_an_exact_hit_is_as_good_as_the_answer_that_was_stored() -> None:
    rows = [row("a", 0.0, correct=0), row("b", 10.0, correct=1), row("c", 1.0, "else?"), row("d", 20.0, "else?")]
    found = through(sorted(rows, key=lambda one: one.decision.at if one.decision else 0.0), policy_with_cache())
    assert served(found) == ["frontier", "frontier", CACHE, CACHE]
    assert [one.quality for one in found] == [0.0, None, 0.0, None]


def test_another_tenant_is_another_question() -> None:
    rows = [row("a", 0.0), replace(row("b", 10.0), tenant="t")]
    assert served(through(rows, policy_with_cache())) == ["frontier", "frontier"]


def test_nothing_is_stored_of_a_policy_without_a_cache_or_with_none_simulated() -> None:
    rows = [row("a", 0.0), row("b", 10.0)]
    assert served(through(rows, policy_with_cache(enabled=False))) == ["frontier", "frontier"]
    policy = policy_with_cache()
    rules = Rules(policy=policy, gates=Gates(policy, None), ladder=Ladder(policy))
    assert served(list(replay(rows, rules, cache=Nothing()))) == ["frontier", "frontier"]


def test_a_waiting_request_loses_patience_at_its_deadline() -> None:
    policy = policy_with_cache().model_copy(update={"budget": policy_of(budget={"deadline_s": 0.5}).budget})
    first, second = through([row("a", 0.0), row("b", 1.0)], policy)
    assert first.decision is not None
    assert second.latency == 0.5
    assert "deadline" in second.error


def near(policy: Policy, embedder: Fixed) -> Lock:
    """A lock under which a stored answer to any near question may be served."""
    gate = gate_of(CACHE, signal_set="match", scorer="cache/match", threshold=0.5)
    made = lock_of(policy, gate)
    scorer = scorer_of(CACHE, "match", features=["match.similarity"])
    certificate = replace(made.certificates[0], identity=_identity(policy, embedder.name))
    return Lock(policy="p", scorers=[scorer], gates=[gate], certificates=[certificate])


def _identity(policy: Policy, embedder: str) -> dict[str, str]:
    from cascade.lock import identity

    return identity(policy, embedder)


def test_a_near_question_is_answered_from_the_cache_and_nobody_says_how_well() -> None:
    policy, embedder = policy_with_cache(semantic=True), Fixed()
    rows = [row("a", 0.0, "Why is that so?", correct=1), row("b", 10.0, "Why is this so?", correct=1)]
    first, second = through(rows, policy, near(policy, embedder), embedder)
    assert (first.quality, second.quality) == (1.0, None)
    assert second.decision is not None
    assert (second.decision.served_by, second.steps[0].outcome) == (CACHE, "semantic")


def test_a_recorded_hit_is_found_again_where_no_cache_is_simulated() -> None:
    """Under the certificate under which it was accepted; a candidate without it asks, and nothing is recorded."""
    policy = policy_with_cache(tier("cheap"), tier("frontier"))
    lock = lock_of(policy)
    models = FakeModels(lambda call: draft(call, "it is four", logprobs=[-0.1] * 5))
    with Cascade(policy, lock, transport=models, store=IN_MEMORY) as cascade:
        for _ in range(2):
            cascade.completion([{"role": "user", "content": "two and two?"}], temperature=0.0)
        first, second = cascade.outcomes()
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    was, again = replay([first, second], rules)
    assert served([was, again]) == ["cheap", CACHE]
    assert second.decision is not None
    assert again.decision is not None
    assert again.decision.steps == second.decision.steps
    assert (again.decision.certificate, again.quality) == (second.decision.certificate, None)
    closed = Rules(policy=policy, gates=Gates(policy, None), ladder=Ladder(policy))
    (other,) = replay([second], closed)
    assert other.missing == ["answer of frontier"]


def test_what_the_engine_served_twice_the_simulated_cache_serves_too() -> None:
    """The same traffic through an engine and through a replay of what it recorded: who served, and at what cost."""
    policy = policy_with_cache(tier("cheap"), tier("frontier"))
    lock = lock_of(policy)

    def says(call: Call) -> Any:
        sure = "sure" in call.messages[-1]["content"]
        return draft(call, "it is four", logprobs=[-0.1 if sure else -3.0] * 5)

    questions = ["sure?", "maybe?", "sure?", "maybe?", "other?", "sure?"]
    with Cascade(policy, lock, transport=FakeModels(says), store=IN_MEMORY) as cascade:
        for text in questions:
            cascade.completion([{"role": "user", "content": text}], temperature=0.0)
        recorded = list(cascade.outcomes())
    found = through(recorded, policy, lock)
    decisions = [outcome.decision for outcome in recorded if outcome.decision is not None]
    assert served(found) == [decision.served_by for decision in decisions]
    assert served(found).count(CACHE) == 3
    assert [one.cost for one in found] == pytest.approx([decision.cost for decision in decisions], abs=1e-12)
