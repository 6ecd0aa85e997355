"""Stored answers as a source on the one certified path: what calibration makes of their rows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.compare import compare
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.learning.calibrate import calibrate, learn
from cascade.learning.continued import going_on, reach
from cascade.learning.rows import read_rows
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.replay import replay
from cascade.run import Rules
from cascade.types import CACHE, RIGHT, Decision, ModelOutcome, Outcome, Step, Verdict
from tests.building import policy_of, tier

SETS = {"sets": [["sure"]]}
LEVEL = 0.1


def policy_with(**more: Any) -> Policy:
    made = {"cache": {"semantic": True}, "signals": SETS, "preroute": {"enabled": False}, **more}
    return policy_of(tier("cheap"), tier("frontier"), **made)


def answer_of(right: bool, signals: dict[str, float], cost: float = 0.0, **fields: Any) -> ModelOutcome:
    made = {"answer": "x", "finish_reason": "stop", "completion_tokens": 9, "latency_ms": 1.0, **fields}
    return ModelOutcome(correct=int(right), signals=signals, cost=cost, **made)


def traffic(seed: int, sizes: tuple[int, int, int] = (400, 700, 0), stored: float = 0.5) -> list[Outcome]:
    """Questions of which a share finds something stored; near ones are likelier right, sure drafts too."""
    random = np.random.default_rng(seed)
    rows = []
    for i, split in enumerate(
        split for split, n in zip(("fit", "certify", "test"), sizes, strict=True) for _ in range(n)
    ):
        sure, near = random.normal(size=2)
        models = {
            "cheap": answer_of(random.random() < _chance(1.2 + 2.0 * sure), {"sure.value": float(sure)}, 1e-5),
            "frontier": answer_of(random.random() < 0.97, {}, 1e-4),
        }
        if random.random() < stored:
            signals = {"match.similarity": float(near)}
            models[CACHE] = answer_of(random.random() < _chance(2.5 * near), signals, question="?", entry=f"e{i}")
        rows.append(Outcome(id=f"{split}{seed}-{i}", query=f"question {i}?", split=split, models=models))
    return rows


def _chance(logodds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-logodds)))


@lru_cache(maxsize=1)
def world() -> tuple[Policy, Lock]:
    policy = policy_with(target={"max_error": 0.1})
    return policy, calibrate(traffic(0), policy)


def rules_of(policy: Policy, lock: Lock) -> Rules:
    return Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy, priced=False))


def test_one_certificate_covers_the_cache_and_the_tier_and_both_serve() -> None:
    policy, lock = world()
    (certificate,) = lock.certificates
    assert certificate.gates == ["cache/match", "cheap/sure"]
    served = {row.decision.served_by for row in replay(traffic(1, (0, 0, 500)), rules_of(policy, lock)) if row.decision}
    assert served == {CACHE, "cheap", "frontier"}


def test_all_gates_share_one_threshold() -> None:
    """The path has one dimension, so that no multiplicity is due."""
    _, lock = world()
    assert len({gate.threshold for gate in lock.gates}) == 1


@pytest.mark.parametrize("kind", ["error", "regret"])
def test_what_is_served_without_the_last_tier_keeps_the_promise_on_fresh_traffic(kind: str) -> None:
    """Promised with 95 % confidence; of eight calibrations four may not break it (chance under 0.001)."""
    policy = policy_with(target={f"max_{kind}": LEVEL})
    broken = opened = 0
    for seed in range(8):
        lock = calibrate(traffic(10 + seed), policy)
        opened += bool(lock.certificates)
        rows = list(replay(traffic(100 + seed, (0, 0, 4000)), rules_of(policy, lock)))
        served = [r for r in rows if r.decision is not None and r.decision.served_by != "frontier"]
        if kind == "error":
            risk = np.mean([(r.quality or 0.0) < RIGHT for r in served]) if served else 0.0
        else:
            risk = sum((r.outcome.models["frontier"].quality or 0.0) - (r.quality or 0.0) for r in served) / len(rows)
        broken += bool(risk > LEVEL)
    assert opened >= 4
    assert broken <= 3


def test_rows_that_found_nothing_stored_take_part_and_are_never_served_from_the_cache() -> None:
    policy, lock = world()
    without = [row for row in traffic(2, (0, 0, 300)) if CACHE not in row.models]
    assert without
    assert all(
        found.decision and found.decision.served_by != CACHE for found in replay(without, rules_of(policy, lock))
    )
    rows, left = read_rows(traffic(2, (0, 0, 300)), policy)
    assert len(rows) == 300
    assert not left


def test_a_stored_answer_that_nobody_judged_leaves_its_row_out_by_name() -> None:
    """Counting it as not served would promise something about another cache."""
    policy, _ = world()
    row = next(row for row in traffic(3) if CACHE in row.models)
    unjudged = replace(row, models={**row.models, CACHE: replace(row.models[CACHE], correct=None)})
    rows, (left,) = read_rows([unjudged], policy)
    assert not len(rows)
    assert left.reason == "no label of the stored answer"


def decided(row: Outcome, served_by: str, *steps: Step) -> Outcome:
    served: Any = {CACHE: "cached", "cheap": "accepted"}.get(served_by, "escalated")
    decision = Decision(
        id=row.id, at=0.0, policy="p", mode="enforce", slice="default", served=served, served_by=served_by, why="",
        audit_probability=1.0, explore_probability=1.0, steps=list(steps),
    )  # fmt: skip
    return replace(row, decision=decision, split=None)


def test_enforced_traffic_whose_cached_side_has_no_labels_is_refused_whole() -> None:
    """What a gate served from the cache is part of the traffic; without its labels the rest is another one."""
    policy, _ = world()
    asked = Step(kind="call", tier="cheap")
    found = [decided(row, "cheap" if i % 2 else "frontier", asked) for i, row in enumerate(traffic(4)[:40])]
    near = decided(traffic(5)[0], CACHE, Step(kind="lookup", outcome="semantic"))
    unlabelled = replace(near, models={CACHE: answer_of(True, {"match.similarity": 1.0})})
    assert len(read_rows(found, policy)[0]) == 40
    rows, left = read_rows([*found, unlabelled], policy)
    assert not len(rows)
    assert any("only one side" in one.reason for one in left)
    whole = decided(next(r for r in traffic(6) if CACHE in r.models), CACHE, Step(kind="lookup", outcome="semantic"))
    assert len(read_rows([*found, whole], policy)[0]) == 41


def test_a_cache_that_does_not_pay_stays_closed() -> None:
    """Stored answers that are right by chance alone would spend the promise and save little."""
    policy = policy_with(target={"max_error": 0.1})
    random = np.random.default_rng(0)
    rows = [
        replace(row, models={**row.models, CACHE: replace(row.models[CACHE], correct=int(random.random() < 0.3))})
        if CACHE in row.models
        else row
        for row in traffic(7)
    ]
    lock = learn(rows, policy).lock
    served = [r for r in replay(traffic(8, (0, 0, 300)), rules_of(policy, lock)) if r.decision]
    assert sum(r.decision.served_by == CACHE for r in served if r.decision) <= len(served) // 20
    assert any(r.decision.served_by == "cheap" for r in served if r.decision)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(0, 3))
def test_going_on_is_what_asking_one_after_the_other_gives(seed: int, k: int, source: int) -> None:
    random = np.random.default_rng(seed)
    source = min(source, k)
    passed, quality, cost = random.random((k, 7)) < 0.4, random.random((k + 1, 7)), random.random((k + 1, 7))
    got, spent = going_on(passed, quality, cost, source)
    for row in range(7):
        bill, who = 0.0, source
        while who < k and not passed[who, row]:
            bill, who = bill + cost[who, row], who + 1
        assert got[row] == quality[who, row]
        assert spent[row] == pytest.approx(bill + cost[who, row])


def test_scores_that_would_certify_nothing_reach_nowhere() -> None:
    policy = policy_with(target={"max_error": 0.02})
    scores, quality = np.random.default_rng(0).random((1, 200)), np.zeros((2, 200))
    found = reach(scores, quality, np.ones((2, 200)), policy.target, 0.05, 200)
    assert (found.threshold, found.saving) == (None, 0.0)


def test_where_nothing_was_stored_people_need_not_have_judged_it() -> None:
    """A row is known to people once they have judged what could be served of it."""
    policy, _ = world()
    human = Verdict(judge="human:a", acceptable=True)
    row = next(row for row in traffic(9) if CACHE not in row.models)
    judged = {name: replace(model, verdicts=[human]) for name, model in row.models.items()}
    rows, _ = read_rows([replace(row, models=judged)], policy)
    assert np.isfinite(rows.people).all()


def test_the_cache_is_no_strategy_of_its_own() -> None:
    """It answers only where something is stored, so always asking it is nothing that anybody could do."""
    policy, lock = world()
    rows = traffic(11, (0, 0, 60), stored=1.0)
    found = compare(list(replay(rows, rules_of(policy, lock))), policy)
    assert [one.name for one in found.strategies if CACHE in one.name] == []


def test_a_policy_without_a_semantic_cache_learns_the_same_whether_or_not_the_rows_say_what_was_stored() -> None:
    policy = policy_of(tier("cheap"), tier("frontier"), signals=SETS, target={"max_error": LEVEL})
    rows = [replace(row, paraphrase_of=f"u{i // 2}") for i, row in enumerate(traffic(12, (300, 400, 0)))]
    plain = [replace(row, models={n: m for n, m in row.models.items() if n != CACHE}) for row in rows]
    assert calibrate(rows, policy, now="2026-01-01") == calibrate(plain, policy, now="2026-01-01")
