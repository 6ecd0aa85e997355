"""Columns of strategies, against sums worked out by hand on four rows.

row   cheap right, cost, seconds   frontier right, cost, seconds
a     1, 1, 1                      1, 10, 4
b     0, 1, 1                      1, 10, 4
c     1, 2, 1                      0, 20, 4
d     0, 2, 2                      0, 20, 8
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.columns import Column, always, gated, lots, oracle, routed
from cascade.compare import Table
from cascade.types import ModelOutcome, Outcome

ROWS = [("a", 1, 1.0, 1.0, 1, 10.0, 4.0), ("b", 0, 1.0, 1.0, 1, 10.0, 4.0), ("c", 1, 2.0, 1.0, 0, 20.0, 4.0),
        ("d", 0, 2.0, 2.0, 0, 20.0, 8.0)]  # fmt: skip


def answered(correct: int, cost: float, seconds: float | None) -> ModelOutcome:
    return ModelOutcome(correct=correct, cost=cost, latency_ms=None if seconds is None else seconds * 1e3)


OUTCOMES = [
    Outcome(id=name, models={"cheap": answered(*row[:3]), "frontier": answered(*row[3:])}) for name, *row in ROWS
]
CHEAP = always(OUTCOMES, "cheap", "always cheap", last=False)
FRONTIER = always(OUTCOMES, "frontier", "always-frontier", last=True)
ACCEPTS = np.array([True, False, True, False])


def test_a_gate_pays_for_every_draft_and_for_the_frontier_where_it_refuses() -> None:
    """Costs 1, 1 + 10, 2, 2 + 20; seconds 1, 1 + 4, 1, 2 + 8; right 1, 1, 1, 0."""
    found = gated("gate", ACCEPTS, CHEAP, FRONTIER)
    assert found.cost.tolist() == [1.0, 11.0, 2.0, 22.0]
    assert found.latency.tolist() == [1.0, 5.0, 1.0, 10.0]
    assert found.quality.tolist() == [1.0, 1.0, 1.0, 0.0]
    told = Table(OUTCOMES, FRONTIER).strategy(found)
    assert told.saving.estimate == pytest.approx(1 - 36 / 60)
    assert told.quality_delta.estimate == pytest.approx((3 - 2) / 4)
    assert told.escalation_rate.estimate == told.accept_rate.estimate == 0.5
    assert told.accepted_error is not None
    assert told.accepted_error.estimate == 0.0


def test_a_router_pays_one_call() -> None:
    found = routed("router", ACCEPTS, CHEAP, FRONTIER)
    assert found.cost.tolist() == [1.0, 10.0, 2.0, 20.0]
    assert found.latency.tolist() == [1.0, 4.0, 1.0, 8.0]
    assert Table(OUTCOMES, FRONTIER).strategy(found).escalation_rate.estimate == 0.0


def test_the_oracle_takes_the_cheapest_of_the_best() -> None:
    """Row a: both right, the cheap one; b: the frontier; c: the cheap one; d: both wrong, the cheap one."""
    found = oracle([CHEAP], FRONTIER)
    assert found.cost.tolist() == [1.0, 10.0, 2.0, 2.0]
    assert found.quality.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_lots_cost_what_they_are_asked_to_cost() -> None:
    """Means 1.5 and 15: a share s of cheap calls costs 15 - 13.5 s, so 9.6 needs 0.4; right 0.4 x 0.5 + 0.6 x 0.5."""
    found = lots(CHEAP, FRONTIER, 9.6)
    assert found.cheap[0] == pytest.approx(0.4)
    assert found.cost.mean() == pytest.approx(9.6)
    assert found.quality.mean() == pytest.approx(0.5)


@pytest.mark.parametrize(("spent", "share"), [(100.0, 0.0), (0.5, 1.0)])
def test_lots_end_where_one_model_answers_everything(spent: float, share: float) -> None:
    assert lots(CHEAP, FRONTIER, spent).cheap[0] == share


def test_one_latency_that_nobody_recorded_leaves_a_strategy_without_latencies() -> None:
    """A missing time is not no time."""
    rows = [*OUTCOMES[:3], Outcome(id="d", models={"cheap": answered(0, 2.0, None), "frontier": answered(0, 20, 8)})]
    cheap = always(rows, "cheap", "always cheap", last=False)
    assert cheap.latency is None
    assert gated("gate", ACCEPTS, cheap, FRONTIER).latency is None
    assert Table(rows, FRONTIER).strategy(cheap).latency_p95 is None


def test_what_comes_on_top_is_in_the_saving_and_told_apart() -> None:
    """Costs 36 and audits of 4 x 1.5 against 60: 30 % saved, 40 % before audits."""
    found = gated("gate", ACCEPTS, CHEAP, FRONTIER)
    told = Table(OUTCOMES, FRONTIER).strategy(
        Column(
            name="gate",
            quality=found.quality,
            cost=found.cost,
            cheap=found.cheap,
            asked=found.asked,
            aside=np.full(4, 1.5),
        )
    )
    assert told.saving.estimate == pytest.approx(1 - 42 / 60)
    assert told.saving_before_audits is not None
    assert told.saving_before_audits.estimate == pytest.approx(1 - 36 / 60)


MASKS = st.lists(st.booleans(), min_size=4, max_size=4)


@given(MASKS)
def test_no_strategy_is_both_better_and_cheaper_than_the_oracle(accepts: list[bool]) -> None:
    best = oracle([CHEAP], FRONTIER)
    for make in (gated, routed):
        found = make("any", np.array(accepts), CHEAP, FRONTIER)
        assert (found.quality <= best.quality).all()
        assert (found.cost[found.quality == best.quality] >= best.cost[found.quality == best.quality]).all()


@given(MASKS)
def test_a_gate_costs_a_router_with_the_same_choice_plus_the_drafts_it_throws_away(accepts: list[bool]) -> None:
    mask = np.array(accepts)
    wasted = gated("g", mask, CHEAP, FRONTIER).cost - routed("r", mask, CHEAP, FRONTIER).cost
    assert wasted.tolist() == np.where(mask, 0.0, CHEAP.cost).tolist()


@given(st.permutations(range(4)))
def test_the_order_of_the_rows_changes_no_estimate(order: list[int]) -> None:
    rows = [OUTCOMES[i] for i in order]
    frontier, found = FRONTIER.take(order), gated("gate", ACCEPTS, CHEAP, FRONTIER).take(order)
    told, before = (
        Table(rows, frontier).strategy(found),
        Table(OUTCOMES, FRONTIER).strategy(found.take(np.argsort(order))),
    )
    assert told.cost.estimate == pytest.approx(before.cost.estimate)
    assert told.saving.estimate == pytest.approx(before.saving.estimate)
    assert told.quality_delta == before.quality_delta
