"""The account tells of held-out rows, and tells the same as the flow that served them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from cascade.evidence import Evidence
from cascade.learning.account import account, replay_test
from cascade.learning.calibrate import Learned, learn
from cascade.learning.lesser import without_logprobs
from cascade.policy import Policy
from cascade.report import html
from cascade.types import RIGHT
from tests.building import policy_of
from tests.populations import outcomes

NOW = "2026-01-01T00:00:00+00:00"


@lru_cache
def told(kind: str = "error", slices: tuple[str, ...] = ("a", "b")) -> tuple[Learned, Policy, Evidence]:
    made = policy_of(
        target={f"max_{kind}": 0.12}, signals={"sets": [["size", "sure"]]}, slices={name: {} for name in slices}
    )
    learned = learn(outcomes(0, (800, 1600, 900), slices=slices), made, now=NOW)
    return learned, made, account(learned, made)


@pytest.mark.parametrize("kind", ["error", "regret"])
def test_the_chosen_point_of_the_curve_is_what_the_flow_did(kind: str) -> None:
    """Columns of arithmetic beside the real flow: the same share served, saving and quality."""
    _, _, evidence = told(kind)
    (chosen,) = [choice for choice in evidence.choices if choice.chosen]
    (whole,) = evidence.savings
    assert chosen.served == pytest.approx(whole.served.estimate)
    assert chosen.saving == pytest.approx(whole.saving.estimate)
    assert chosen.quality_delta == pytest.approx(whole.quality_delta.estimate)


def test_slices_add_up_to_the_whole() -> None:
    learned, _, evidence = told()
    assert sum(line.rows for line in evidence.slices) == learned.rows["test"] == 900
    served = sum(line.served.estimate * line.rows for line in evidence.slices)
    assert served / 900 == pytest.approx(evidence.savings[0].served.estimate)
    assert {line.covered for line in evidence.slices} == {"the pooled promise only"}


def test_no_row_that_a_step_has_seen_is_in_any_figure() -> None:
    """What is replayed for the figures, and shown of the wrong rows, is of the held-out split alone."""
    learned, made, evidence = told()
    assert all(row.outcome.split == "test" for row in replay_test(learned, made))
    assert {wrong.id for wrong in evidence.confidently_wrong} <= {o.id for o in learned.test.outcomes}


def test_the_wrong_rows_are_wrong_served_and_the_surest_first() -> None:
    learned, made, evidence = told()
    rows = {row.outcome.id: row for row in replay_test(learned, made)}
    assert evidence.confidently_wrong
    for wrong in evidence.confidently_wrong:
        row = rows[wrong.id]
        assert row.decision is not None
        assert row.decision.served_by == wrong.tier == "cheap"
        assert row.quality is not None
        assert row.quality < RIGHT
    sure = [wrong.confidence for wrong in evidence.confidently_wrong]
    assert sure == sorted(sure, reverse=True)


def test_every_candidate_has_its_own_bound_and_it_is_above_its_risk() -> None:
    _, _, evidence = told("regret")
    for point in evidence.strata[0].path:
        assert point.bound >= max(point.risk, 0.0) - 1e-9


def test_reliability_counts_every_held_out_row_once_and_names_its_bias() -> None:
    _, _, evidence = told()
    (diagram,) = evidence.reliability
    assert sum(one.rows for one in diagram.bins) == 900
    assert 0 < diagram.ece_if_perfect < 0.1
    assert diagram.ece < diagram.ece_if_perfect + 0.05
    assert (diagram.auroc or 0) > 0.7


def test_a_cascade_whose_cheap_tier_costs_what_the_last_one_does_does_not_pay() -> None:
    dear = [
        replace(row, models=row.models | {"cheap": replace(row.models["cheap"], cost=row.models["frontier"].cost)})
        for row in outcomes(0, (800, 1600, 900))
    ]
    made = policy_of(target={"max_error": 0.12}, signals={"sets": [["size", "sure"]]}, preroute={"enabled": False})
    evidence = account(learn(dear, made, now=NOW), made)
    assert evidence.break_even is not None
    assert evidence.break_even.pays == "does not pay"
    cheap = account(*told()[:2]).break_even
    assert cheap is not None
    assert cheap.pays == "pays"


def test_without_costs_there_are_no_savings_and_still_a_report() -> None:
    free = [
        replace(row, models={t: replace(m, cost=None) for t, m in row.models.items()})
        for row in outcomes(0, (800, 1600, 300))
    ]
    made = policy_of(target={"max_error": 0.12}, signals={"sets": [["size", "sure"]]})
    evidence = account(learn(free, made, now=NOW), made)
    assert (evidence.savings, evidence.choices, evidence.break_even) == ([], [], None)
    assert "Certified" in html(evidence)


def test_what_log_probabilities_are_worth_is_told_beside_the_whole() -> None:
    def more(random: np.random.Generator, right: bool, z: float) -> dict[str, float]:
        return {"mean_token_prob.value": float(np.clip(1 / (1 + np.exp(-z)) + random.normal() * 0.05, 0, 1))}

    def blurred(row: Any) -> Any:
        cheap = row.models["cheap"]
        signals = cheap.signals | {"sure.value": round(cheap.signals["sure.value"])}
        return replace(row, models=row.models | {"cheap": replace(cheap, signals=signals)})

    rows = [blurred(row) for row in outcomes(0, (800, 1600, 900), more=more)]
    made = policy_of(target={"max_error": 0.12}, signals={"sets": [["mean_token_prob", "sure"]]})
    learned = learn(rows, made, now=NOW)
    lesser = without_logprobs(rows, made, now=NOW)
    whole, bare = account(learned, made, without=lesser).savings
    assert bare.signals == "without log-probabilities"
    assert bare.saving.estimate < whole.saving.estimate


def test_nothing_certified_says_what_to_buy_next_and_what_it_costs() -> None:
    made = policy_of(target={"max_error": 0.05}, signals={"sets": [["size", "sure"]]})
    learned = learn(outcomes(0, (600, 60, 60), base=3.0), made, now=NOW)
    evidence = account(learned, made)
    (one,) = evidence.next_labels
    assert one.rows == learned.strata[0].missing_labels
    assert one.cost is not None
    assert one.cost > 0
    assert evidence.status == "refused"
