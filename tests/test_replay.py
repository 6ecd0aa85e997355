"""Replay is the live flow with recorded answers: the same decisions, costs and counts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cascade.asks import Call
from cascade.drivers import drive_sync
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import CascadeError, UpstreamError
from cascade.flow import answer
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.lock import Lock
from cascade.policy import Policy, Price
from cascade.recorded import ANSWERED
from cascade.replay import replay, replay_one, request_of
from cascade.run import Rules
from cascade.testing import FakeModels, draft
from cascade.types import ModelOutcome, Outcome, Step
from tests.building import gate_of, lock_of, policy_of, scorer_of, tier
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


def answered_twice(steps: list[Step]) -> bool:
    """Has a tier given the answers of two models? Its row keeps one."""
    models = {(s.tier, s.model) for s in steps if s.kind == "call" and s.outcome in ANSWERED}
    return len({name for name, _ in models}) < len(models)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(worlds())
def test_a_ledger_row_replays_to_the_decision_that_it_records(world: World) -> None:
    """Faults, retries, fallbacks and rescues included: same steps, same cost."""
    outcome = live(world)
    assert outcome.decision is not None
    assume(not answered_twice(outcome.decision.steps))
    replayed = replay_one(outcome, world.rules())
    assert replayed.cost == pytest.approx(outcome.decision.cost, abs=1e-12)
    unsent = any(step.outcome == "not sent" for step in outcome.decision.steps)
    assert bool(replayed.missing) == unsent
    if outcome.decision.served == "failed":
        assert replayed.error
        return
    assert replayed.decision is not None
    assert replayed.decision.served_by == outcome.decision.served_by
    assert replayed.decision.cost_known == outcome.decision.cost_known
    was, now = comparable(outcome.decision), comparable(replayed.decision)
    was.pop("flags", None), now.pop("flags", None)
    assert now == was


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_the_cost_of_a_replayed_request_is_the_sum_of_its_parts(world: World) -> None:
    replayed = replay_one(live(world), world.rules())
    spent = replayed.spent
    parts = [spent.served, replayed.wasted, replayed.extras, replayed.embedding, replayed.frontier]
    assert sum(parts) == pytest.approx(replayed.cost, abs=1e-12)
    decision = replayed.decision
    cheap = decision is not None and decision.served_by != world.policy.last.name
    assert not (spent.served and not cheap)
    assert not (cheap and decision is not None and decision.served == "accepted" and replayed.frontier)


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


def with_votes(**more: Any) -> tuple[Policy, Lock]:
    """A policy that pays for two more samples and a verifier, and accepts where the samples agree."""
    signals = {"sets": [["text", "votes"]], "votes": {"samples": 2}, **more}
    policy = policy_of(cache={"enabled": False}, signals=signals)
    gate = gate_of(signal_set="text+votes", scorer="cheap/text+votes", threshold=0.5)
    made_ = lock_of(policy, gate)
    scorer = scorer_of("cheap", "text+votes", features=["votes.exact"])
    return policy, Lock(policy="p", scorers=[scorer], gates=made_.gates, certificates=made_.certificates)


def rules_of(policy: Policy, lock: Lock | None) -> Rules:
    return Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))


def asked_live(policy: Policy, lock: Lock | None, answerer: Callable[[Call], Any], **request: Any) -> Outcome:
    """The ledger's row of one request that an engine has answered."""
    cascade = Cascade(policy, lock, transport=FakeModels(answerer), store=IN_MEMORY)
    with suppress(CascadeError):
        drive_sync(answer(cascade.run(asked(**request))), cascade.parts)
    (outcome,) = [o for o in cascade.ledger.outcomes() if o.id == "r1"]
    cascade.close()
    return outcome


@pytest.mark.parametrize(("other", "served_by"), [("Paris", "cheap"), ("Lyon", "frontier"), ("fails", "frontier")])
def test_paid_signals_are_charged_as_they_were_and_say_what_they_said(other: str, served_by: str) -> None:
    policy, lock = with_votes()

    def says(call: Call) -> Any:
        if call.purpose == "signal":
            return UpstreamError("down", retryable=False) if other == "fails" else draft(call, other, latency=0.25)
        return draft(call, "Paris", latency=1.0)

    outcome = asked_live(policy, lock, says)
    assert outcome.decision is not None
    replayed = replay_one(outcome, rules_of(policy, lock))
    assert replayed.decision is not None
    assert replayed.decision.served_by == served_by == outcome.decision.served_by
    assert comparable(replayed.decision) == comparable(outcome.decision)
    paid = sum(step.cost or 0.0 for step in outcome.decision.steps if step.kind == "signal")
    assert replayed.extras == pytest.approx(paid)
    # Samples are asked for together: their seconds pass once.
    together = 0.0 if other == "fails" else 0.25
    assert replayed.latency == pytest.approx(1.0 + together + (1.0 if served_by == "frontier" else 0.0))


def test_a_policy_that_does_not_ask_for_a_paid_signal_neither_pays_nor_reads_it() -> None:
    policy, lock = with_votes()
    outcome = asked_live(policy, lock, lambda call: "Paris")
    bare = policy_of(cache={"enabled": False}, signals={"sets": [["text"]]})
    replayed = replay_one(outcome, rules_of(bare, lock_of(bare, gate_of(signal_set="text", scorer="cheap/text"))))
    assert replayed.extras == 0.0
    assert replayed.decision is not None
    assert replayed.decision.confidence is not None
    assert replayed.decision.confidence.signal_set == "text"


def test_a_paid_signal_that_the_ceiling_forbids_is_not_there() -> None:
    policy, lock = with_votes()
    outcome = asked_live(policy, lock, lambda call: "Paris")
    assert outcome.decision is not None
    assert outcome.decision.served_by == "cheap"
    dear = policy.model_copy(update={"budget": policy.budget.model_copy(update={"max_cost_usd": 2e-5})})
    replayed = replay_one(outcome, rules_of(dear, lock))
    assert replayed.extras == 0.0
    assert "answer of frontier" in replayed.missing


@pytest.mark.parametrize("asks", [False, True], ids=["read only", "asked for"])
def test_signals_of_recorded_data_are_charged_at_the_policys_rate(asks: bool) -> None:
    """In units of the cheap call, once however many samples are asked for."""
    policy, lock = with_votes(cost={"votes": 1.5, "size": 7.0}, **({} if asks else {"votes": None}))
    signals = {"votes.exact": 1.0, "text.length": 2.0}
    cheap = ModelOutcome(answer="Paris", finish_reason="stop", signals=signals, cost=0.002, correct=1)
    replayed = replay_one(Outcome(id="a", query="?", models={"cheap": cheap}), rules_of(policy, lock))
    assert replayed.decision is not None
    assert replayed.decision.served_by == "cheap"
    assert (replayed.spent.served, replayed.extras) == pytest.approx((0.002, 0.003))


@settings(max_examples=150, deadline=None)
@given(worlds(), st.floats(0.1, 10.0))
def test_prices_times_a_factor_make_every_cost_times_that_factor(world: World, factor: float) -> None:
    outcome = live(world)
    assert outcome.decision is not None
    assume(all(s.usage or not s.cost for s in outcome.decision.steps) and not answered_twice(outcome.decision.steps))
    dearer = [t.model_copy(update={"price": Price(input=factor, output=2.0 * factor)}) for t in world.policy.tiers]
    policy = world.policy.model_copy(update={"tiers": dearer})
    # Gates compiled before: the certificate does not speak about the new price.
    one, other = world.rules(), Rules(policy=policy, gates=world.rules().gates, ladder=Ladder(policy))
    (was,), (now,) = (list(replay([outcome], rules, reprice=True)) for rules in (one, other))
    primary = {t.model for t in world.policy.tiers}
    assume(all(step.model in primary for step in was.steps))
    assert now.cost == pytest.approx(factor * was.cost)


def test_repriced_cached_tokens_cost_what_the_policy_says_of_them() -> None:
    price = {"input": 4.0, "output": 8.0, "cached_input": 1.0}
    policy = policy_of(tier("frontier", price=price), cache={"enabled": False})
    tokens = {"prompt_tokens": 100, "completion_tokens": 10, "cached_prompt_tokens": 60}
    row = Outcome(id="a", query="?", models={"frontier": ModelOutcome(answer="x", finish_reason="stop", **tokens)})
    bare = Outcome(id="b", query="?", models={"frontier": ModelOutcome(answer="x", finish_reason="stop", cost=1.0)})
    found = list(replay([row, bare], rules_of(policy, None), reprice=True))
    assert found[0].cost == pytest.approx((40 * 4.0 + 60 * 1.0 + 10 * 8.0) / 1e6)
    assert [one.cost_known for one in found] == [True, False]
    assert replay_one(bare, rules_of(policy, None)).cost == 1.0


@settings(max_examples=150, deadline=None)
@given(worlds(timed=True), st.floats(1e-6, 1e-2))
def test_no_call_is_replayed_that_would_pass_the_ceiling(world: World, ceiling: float) -> None:
    """What a recorded call cost in the end is not known before it, so the last may pass it and none after."""
    outcome = live(world)
    budget = world.policy.budget.model_copy(update={"max_cost_usd": ceiling, "deadline_s": None})
    policy = world.policy.model_copy(update={"budget": budget})
    replayed = replay_one(outcome, Rules(policy=policy, gates=world.rules().gates, ladder=Ladder(policy)))
    spent = 0.0
    for step in replayed.steps:
        if step.kind == "call" and step.outcome != "not sent":
            assert spent <= ceiling
        spent += step.cost or 0.0


def test_rows_without_a_time_are_evenly_spaced_after_those_with_one() -> None:
    policy = policy_of(tier("frontier"), cache={"enabled": False})
    model = ModelOutcome(answer="x", finish_reason="stop")
    recorded = asked_live(policy, None, lambda call: "x")
    assert recorded.decision is not None
    rows = [recorded, *(Outcome(id=i, query="?", models={"frontier": model}) for i in "abc")]
    found = [r.decision.at for r in replay(rows, rules_of(policy, None), spacing=2.0) if r.decision]
    assert found == [recorded.decision.at + 2.0 * i for i in range(4)]


def test_a_check_that_nobody_recorded_abstains_and_is_named() -> None:
    policy = policy_of(tier("frontier"), cache={"enabled": False}, checks=[{"name": "mine"}])
    model = ModelOutcome(answer="x", finish_reason="stop")
    replayed = replay_one(Outcome(id="a", query="?", models={"frontier": model}), rules_of(policy, None))
    assert replayed.missing == ["check mine"]
    assert not replayed.error
