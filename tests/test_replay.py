"""Replay is the live flow with recorded answers: the same decisions, costs and counts."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings

from cascade.drivers import drive_sync
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import CascadeError
from cascade.flow import answer
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.replay import replay, replay_one, request_of
from cascade.run import Rules
from cascade.types import ModelOutcome, Outcome
from tests.building import lock_of, policy_of, tier
from tests.building import request_of as asked
from tests.test_calibrate import made
from tests.test_flow import World, comparable, models, worlds


@pytest.mark.parametrize("kind", ["error", "regret"])
def test_a_lock_replayed_on_its_certification_rows_gives_its_counts(kind: str) -> None:
    rows, policy, lock = made(0, kind)
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    found = list(replay([row for row in rows if row.split == "certify"], rules))
    cheap = [r for r in found if r.decision is not None and r.decision.served_by == "cheap"]
    (certificate,) = lock.certificates
    lost = [r for r in cheap if (r.outcome.models["frontier"].correct or 0) > (r.quality or 0)]
    bad = lost if kind == "regret" else [r for r in cheap if not r.quality]
    assert (len(found), len(cheap), len(bad)) == (certificate.judged, certificate.accepted, certificate.bad)


def test_a_replayed_request_costs_and_takes_what_its_calls_did() -> None:
    rows, policy, lock = made()
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    for found in replay(rows[:50], rules):
        assert found.decision is not None
        tiers = ["cheap"] if found.decision.served_by == "cheap" else ["cheap", "frontier"]
        asked_ = [found.outcome.models[name] for name in tiers]
        assert found.cost == pytest.approx(sum(model.cost or 0.0 for model in asked_))
        assert found.latency == pytest.approx(0.1 * len(tiers))
        assert found.quality == asked_[-1].quality


def live(world: World) -> Outcome:
    """The ledger's row of one live request."""
    checks = {
        check.name: (lambda request, draft: "forbidden" not in draft.text)
        for check in world.policy.checks
        if check.name == "mine"
    }
    cascade = Cascade(world.policy, world.lock, transport=models(world), checks=checks, store=IN_MEMORY)
    with suppress(CascadeError):
        drive_sync(answer(cascade.run(world.request)), cascade.parts)
    (outcome,) = [o for o in cascade.ledger.outcomes() if o.id == world.request.id]
    cascade.close()
    return outcome


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(worlds())
def test_a_ledger_row_replays_to_the_decision_that_it_records(world: World) -> None:
    """Where every call was answered at the first try: what a fault cost is not in an answer."""
    outcome = live(world)
    assert outcome.decision is not None
    steps = [step for step in outcome.decision.steps if step.kind == "call"]
    assume(all(step.outcome == "ok" for step in steps) and len({s.tier for s in steps}) == len(steps))
    assume(not any(fallback for t in world.policy.tiers for fallback in t.fallbacks))
    replayed = replay_one(outcome, world.rules())
    if outcome.decision.served == "failed":
        assert replayed.error
        return
    assert replayed.decision is not None
    was, now = comparable(outcome.decision), comparable(replayed.decision)
    was.pop("flags", None), now.pop("flags", None)
    assert now == was


def test_a_recorded_refusal_replays_as_a_refusal() -> None:
    policy = policy_of(tier("frontier"), cache={"enabled": False})
    world = World(policy, None, {"frontier-model": ["refused"]})
    outcome = live(world)
    assert outcome.decision is not None
    assert outcome.decision.served == "escalated"
    assert not replay_one(outcome, world.rules()).error


def test_what_is_not_recorded_is_an_error_of_that_row_alone() -> None:
    policy = policy_of(tier("cheap", retries=0), tier("frontier"))
    rules = Rules(policy=policy, gates=Gates(policy, lock_of(policy)), ladder=Ladder(policy))
    sure = ModelOutcome(answer="it is four", finish_reason="stop", logprobs=[-0.1] * 5, correct=1, cost=1e-5)
    recorded: list[dict[str, ModelOutcome]] = [{}, {"frontier": sure}, {"cheap": sure}]
    rows = [Outcome(id=str(i), models=models_) for i, models_ in enumerate(recorded)]
    found = list(replay(rows, rules))
    assert [bool(row.error) for row in found] == [True, False, False]
    assert [row.decision.served_by for row in found if row.decision] == ["frontier", "cheap"]


def test_recorded_signals_stand_in_for_lost_log_probabilities() -> None:
    policy = policy_of()
    rules = Rules(policy=policy, gates=Gates(policy, lock_of(policy)), ladder=Ladder(policy))
    for mean, served_by in ((-0.1, "cheap"), (-3.0, "frontier")):
        signals = {"logprobs.mean": mean, "text.length": 2.0}
        cheap = ModelOutcome(answer="it is four", finish_reason="stop", signals=signals)
        frontier = ModelOutcome(answer="four", finish_reason="stop")
        found = replay_one(Outcome(id="a", models={"cheap": cheap, "frontier": frontier}), rules)
        assert found.decision is not None
        assert found.decision.served_by == served_by


def test_replay_knows_no_other_clock_than_the_recording() -> None:
    policy = policy_of(tier("cheap", timeout=5.0), tier("frontier"), budget={"deadline_s": 1.0})
    rules = Rules(policy=policy, gates=Gates(policy, lock_of(policy)), ladder=Ladder(policy))
    slow = ModelOutcome(answer="it is four", finish_reason="stop", logprobs=[-3.0] * 5, latency_ms=2000.0)
    found = replay_one(Outcome(id="a", models={"cheap": slow, "frontier": slow}), rules)
    assert "deadline" in found.error
    assert found.latency == 2.0


def test_the_request_of_a_row_is_the_one_that_was_asked() -> None:
    request = asked(slice="s", params={"max_tokens": 5}, metadata={"plan": "pro"}, stakes="high", tenant="t")
    fields = {name: getattr(request, name) for name in ("messages", "slice", "params", "metadata", "stakes", "tenant")}
    assert request_of(Outcome(id="r1", **fields)) == request
    assert msgspec.json.encode(request_of(Outcome(id="r1", query="why?", system="be brief"))).count(b'"role"') == 2
