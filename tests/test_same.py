"""Borderline hits: who is asked about them, what that costs, and what becomes of a check that fails."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.asks import Ask, Call, Keep, Spawn, Together
from cascade.confidence import Scorer, Scout
from cascade.decide import coin
from cascade.errors import PolicyError
from cascade.flow import answer
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.learning.calibrate import calibrate
from cascade.learning.drawn import propensity
from cascade.learning.rows import read_rows
from cascade.learning.scores import scores_of
from cascade.ledger.store import merged
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.replay import replay, replay_one
from cascade.run import Rules, Run
from cascade.sameness import same_messages
from cascade.testing import draft, scripted
from cascade.types import CACHE, SAME, Answer, Decision, Draft, Hit, ModelOutcome, Outcome, Request
from tests.building import certificate_of, gate_of, policy_of, request_of, scorer_of

STORED = Draft(tier="frontier", model="frontier-model", text="It is four.", finish_reason="stop", cost=0.01)
SURE, BORDERLINE, HOPELESS = 0.95, 0.5, 0.0
YES, NO = math.log(0.97), math.log(0.6)


def policy_with(**more: Any) -> Policy:
    return policy_of(**{"cache": {"semantic": True, "same": {"tier": "cheap"}}, **more})


def lock_with(policy: Policy, *, scout: bool = True) -> Lock:
    """Similarity from 0.9 on passes, p_true from 0.9 on too; asking pays where similarity is above 0.2."""
    free = gate_of(CACHE, signal_set="match", scorer="cache/match", threshold=0.9)
    asked = gate_of(CACHE, signal_set="match+same", scorer="cache/match+same", threshold=0.9)
    chance = replace(_scorer("match", "match.similarity"), weights=[10.0], intercept=-2.0)
    return Lock(
        policy=policy.name,
        scorers=[_scorer("match", "match.similarity"), _scorer("match+same", "same.p_true")],
        scouts=[Scout(tier=CACHE, scorer=chance, break_even=0.5)] if scout else [],
        gates=[free, asked],
        certificates=[certificate_of(policy, free, asked)],
    )


def _scorer(signal_set: str, feature: str) -> Scorer:
    return scorer_of(CACHE, signal_set, features=[feature])


def driven(
    policy: Policy, lock: Lock | None, similarity: float, check: Any, request: Request | None = None
) -> tuple[Decision, list[Ask]]:
    """A request with one near hit through the flow; ``check`` answers the call about it."""
    request = request or request_of()
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    run = Run(rules, request, clock=lambda: 0.0, at=0.0)
    hit = Hit(key="k", draft=STORED, kind="semantic", similarity=similarity, question="what is 2 and 2?")
    flow = answer(run)
    asks: list[Ask] = []
    reply: Any = None
    while True:
        try:
            ask = flow.send(reply)
        except StopIteration as stop:
            ended: Answer = stop.value
            return ended.decision, asks
        asks.append(ask)
        if isinstance(ask, Together):
            reply = [check(ask.calls[0])]
        elif isinstance(ask, Call):
            reply = draft(ask, "four", logprobs=[-0.1])
        else:
            reply = {"Lookup": hit, "Keep": True}.get(type(ask).__name__)


def says(logprob: float | None, text: str = "True") -> Any:
    return lambda call: draft(call, text, logprobs=None if logprob is None else [logprob], cost=3e-6)


def never(call: Call) -> Draft:
    raise AssertionError("nobody may be asked")


def failed(call: Call) -> None:
    return None


def row_of(asks: list[Ask]) -> Outcome:
    return next(ask.outcome for ask in asks if isinstance(ask, Keep))


@pytest.mark.parametrize(("similarity", "served"), [(SURE, "cached"), (HOPELESS, "escalated")])
def test_a_hit_that_passes_unasked_or_is_hopeless_makes_no_call(similarity: float, served: str) -> None:
    policy = policy_with()
    decision, asks = driven(policy, lock_with(policy), similarity, never)
    assert decision.served == served
    assert not any(isinstance(ask, Together) for ask in asks)


@pytest.mark.parametrize(("logprob", "served"), [(YES, "cached"), (NO, "escalated")])
def test_a_borderline_hit_is_ruled_on_by_what_the_check_says_and_pays_for_it(logprob: float, served: str) -> None:
    policy = policy_with()
    decision, asks = driven(policy, lock_with(policy), BORDERLINE, says(logprob))
    assert decision.served == served
    (step,) = [step for step in decision.steps if step.kind == "signal"]
    assert (step.detail, step.tier, step.cost) == (SAME, "cheap", 3e-6)
    assert decision.cost >= 3e-6
    stored = row_of(asks).models[CACHE]
    assert stored.signals["same.p_true"] == pytest.approx(math.exp(logprob))
    assert stored.cost == 3e-6


@pytest.mark.parametrize("check", [failed, says(None), says(YES, text="Perhaps")])
def test_a_check_that_fails_or_says_nothing_leaves_the_smaller_set_and_the_request_goes_on(check: Any) -> None:
    policy = policy_with()
    decision, asks = driven(policy, lock_with(policy), BORDERLINE, check)
    assert decision.served == "escalated"
    assert row_of(asks).models[CACHE].families == ["match"]
    assert not decision.flags


def test_the_call_is_for_one_token_with_log_probabilities_and_nothing_of_the_callers() -> None:
    policy = policy_with()
    request = request_of(params={"tools": [{"type": "function"}], "max_completion_tokens": 900})
    request = replace(request, messages=[{"role": "system", "content": "be brief"}, *request.messages])
    _, asks = driven(policy, lock_with(policy), BORDERLINE, says(YES), request)
    (call,) = next(ask for ask in asks if isinstance(ask, Together)).calls
    assert call.params == {"temperature": 0.0, "max_tokens": 1}
    assert call.endpoint.logprobs
    assert len(call.messages) == 1
    assert "be brief" not in call.messages[0]["content"]


@given(st.text(), st.text())
def test_no_question_ends_its_own_quotation(asked: str, stored: str) -> None:
    """Whatever a question holds, the message is four lines, and two of them read back as the questions."""
    (message,) = same_messages(asked, stored)
    _, first, second, _ = message["content"].splitlines()
    assert json.loads(first.removeprefix("Question 1: ")) == asked
    assert json.loads(second.removeprefix("Question 2: ")) == stored


def test_without_a_scout_a_hit_is_checked_aside_as_the_exploring_coin_falls() -> None:
    policy = policy_with(explore={"rate": 0.3})
    for number in range(40):
        request = request_of(id=f"r{number}")
        decision, asks = driven(policy, lock_with(policy, scout=False), BORDERLINE, never, request)
        assert any(isinstance(ask, Spawn) for ask in asks) == (coin(policy.audit.salt, "explore", request.id) < 0.3)
        assert decision.explore_probability == 0.3


def test_a_check_aside_reaches_the_row_with_its_price_and_its_probability() -> None:
    policy = policy_with(explore={"rate": 0.5})
    request = next(r for i in range(99) if coin("", "explore", (r := request_of(id=f"r{i}")).id) < 0.5)
    _, asks = driven(policy, None, BORDERLINE, never, request)
    spawned = next(ask for ask in asks if isinstance(ask, Spawn))
    call = Call(tier="cheap", endpoint=Ladder(policy).endpoint(policy.tiers[0], policy.tiers[0]), messages=[],
                params={}, timeout=1.0)  # fmt: skip
    replies = [[draft(call, "True", logprobs=[YES], cost=3e-6)], draft(call, "four", logprobs=[-0.1])]
    _, aside = scripted(spawned.flow, replies)
    base = row_of(asks)
    whole = merged(base, [row_of(aside)], [])
    assert whole.models[CACHE].signals["same.p_true"] == pytest.approx(0.97)
    assert whole.models[CACHE].cost == 3e-6
    assert whole.models[CACHE].question == "what is 2 and 2?"
    judged = {name: replace(model, correct=1) for name, model in whole.models.items()}
    observed = replace(whole, models=judged, decision=replace(whole.decision, mode="observe"))  # type: ignore[type-var]
    assert propensity(observed, [CACHE]) == 0.5
    assert propensity(replace(observed, models={CACHE: replace(judged[CACHE], families=["match"])}), [CACHE]) == 1.0


def test_a_live_hit_that_nobody_was_asked_about_is_left_out_by_name() -> None:
    """Taken for one that could not be checked, it would stand for hits that serving does check."""
    policy = policy_with()
    _, asks = driven(policy, None, BORDERLINE, never, request_of(id="r0"))
    row = row_of(asks)
    row = replace(row, models={name: replace(model, correct=1) for name, model in row.models.items()})
    row = replace(row, models={**row.models, "cheap": row.models["frontier"]})
    rows, (left,) = read_rows([row], policy)
    assert not len(rows)
    assert "nobody was asked" in left.reason


def test_a_recorded_check_decides_in_replay_as_it_did_live() -> None:
    policy = policy_with()
    lock = lock_with(policy)
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    for similarity, logprob in ((SURE, YES), (BORDERLINE, YES), (BORDERLINE, NO), (HOPELESS, YES)):
        decision, asks = driven(policy, lock, similarity, says(logprob))
        again = replay_one(row_of(asks), rules).decision
        assert again is not None
        assert again.served == decision.served
        paid = [[step.cost for step in one.steps if step.kind == "signal"] for one in (again, decision)]
        assert paid[0] == paid[1]


def test_the_policy_names_the_tier_that_is_asked() -> None:
    with pytest.raises(PolicyError, match=r"cache\.same\.tier"):
        policy_with(cache={"semantic": True, "same": {"tier": "chaep"}})


def test_the_cache_is_two_sources_only_where_somebody_is_asked() -> None:
    plain, asked = policy_with(cache={"semantic": True}), policy_with()
    assert [source.name for source in plain.sources] == [CACHE, "cheap"]
    assert [source.name for source in asked.sources] == [CACHE, CACHE, "cheap"]
    assert asked.sets_of(CACHE) == asked.sources[1].sets + asked.sources[0].sets
    assert plain.sets_of(CACHE) == plain.sources[0].sets


def traffic(seed: int, sizes: tuple[int, int, int]) -> list[Outcome]:
    """Questions of which most find something stored; similarity tells little, the check much."""
    random = np.random.default_rng(seed)
    rows = []
    for i, split in enumerate(s for s, n in zip(("fit", "certify", "test"), sizes, strict=True) for _ in range(n)):
        near, told, sure = random.normal(size=3)
        right = random.random() < 1 / (1 + np.exp(-1.5 * near - 4.0 * told))
        signals = {"match.similarity": float(near), "same.p_true": float(1 / (1 + np.exp(-2.0 * told)))}
        models = {
            "cheap": _recorded(random.random() < 1 / (1 + np.exp(-sure)), {"sure.value": float(sure)}, 1e-5),
            "frontier": _recorded(random.random() < 0.97, {}, 1e-4),
        }
        if random.random() < 0.8:
            models[CACHE] = _recorded(right, signals, 0.0, question="?", families=["match", "same"], entry=f"e{i}")
        rows.append(Outcome(id=f"{split}{seed}-{i}", query=f"question {i}?", split=split, models=models))
    return rows


def _recorded(right: bool, signals: dict[str, float], cost: float, **fields: Any) -> ModelOutcome:
    made = {"answer": "x", "finish_reason": "stop", "completion_tokens": 9, "latency_ms": 1.0, **fields}
    return ModelOutcome(correct=int(right), signals=signals, cost=cost, **made)


def test_calibration_asks_about_some_hits_and_keeps_the_promise() -> None:
    signals = {"sets": [["sure"]], "cost": {SAME: 0.2}}
    policy = policy_with(target={"max_error": 0.1}, signals=signals)
    lock = calibrate(traffic(0, (800, 1200, 0)), policy)
    assert {gate.signal_set for gate in lock.gates if gate.tier == CACHE} == {"match", "match+same"}
    (scout,) = [scout for scout in lock.scouts if scout.tier == CACHE]
    assert scout.break_even == pytest.approx(0.2 * 1e-5 / 1e-4)
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    found = list(replay(traffic(1, (0, 0, 3000)), rules))
    decisions = [row.decision for row in found if row.decision is not None]
    asked = [any(step.detail == SAME for step in one.steps) for one in decisions]
    assert any(one.served_by == CACHE for one, was in zip(decisions, asked, strict=True) if was)
    served = [row.quality for row in found if row.decision is not None and row.decision.served_by != "frontier"]
    assert len(served) > 300
    assert 1.0 - np.mean(np.array(served, dtype=float)) < 0.13


def test_what_the_certificate_counts_is_what_serving_serves() -> None:
    """Hopeless hits among it: rows that nobody would be asked about are none that the check lets pass."""
    policy = policy_with(target={"max_error": 0.1}, signals={"sets": [["sure"]], "cost": {SAME: 3.0}})
    lock = calibrate(traffic(0, (800, 1200, 0)), policy)
    (threshold,) = {gate.threshold for gate in lock.gates}
    fresh = traffic(1, (0, 0, 1500))
    rows, _ = read_rows(fresh, policy)
    passed = scores_of(rows, lock.scorers, lock.scouts, lock.gates, policy) >= (threshold or 0.0)
    names = [source.name for source in policy.sources]
    counted = [names[row.argmax()] if row.any() else "frontier" for row in passed.T]
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    served = {row.outcome.id: row.decision.served_by for row in replay(fresh, rules) if row.decision is not None}
    assert counted == [served[outcome.id] for outcome in rows.outcomes]
    assert passed[1].any()
    hopeless = [not lock.scouts[0].promising(some[0], "default") for some in rows.signals if some[0] is not None]
    assert any(hopeless)
    assert not all(hopeless)


def test_where_no_check_ever_helps_nobody_is_asked_and_no_gate_of_it_opens() -> None:
    signals = {"sets": [["sure"]], "cost": {SAME: 0.2}}
    policy = policy_with(target={"max_error": 0.1}, signals=signals, preroute={"enabled": False})
    lock = calibrate(traffic(0, (800, 1200, 0)), policy)
    assert not [gate for gate in lock.gates if SAME in gate.signal_set]
