"""A benchmark tells of held-out rows what the flow did, counts every cost once, and says when it does not pay."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.bench.bench import Asked, at, bench
from cascade.bench.beside import read_decisions
from cascade.bench.document import Bench
from cascade.bench.field import Field, Measured, Prices, field_of, together
from cascade.bench.money import pays
from cascade.bench.noise import noise
from cascade.bench.variants import cache_alone, first, halves, without
from cascade.columns import gated
from cascade.compare import Strategy
from cascade.errors import ConfigError
from cascade.intervals import Figure
from cascade.learning.calibrate import Learned, learn
from cascade.policy import Policy
from cascade.types import ModelOutcome, Outcome, Sample
from tests.building import policy_of, tier
from tests.populations import outcomes

NOW = "2026-01-01T00:00:00+00:00"
SIGNALS = {"sets": [["size", "sure"]]}


def policy_with(**more: object) -> Policy:
    made: dict[str, object] = {"target": {"max_regret": 0.05}, "signals": SIGNALS, "slices": {"a": {}, "b": {}}}
    return policy_of(**(made | more))  # type: ignore[arg-type]


@lru_cache
def rows(seed: int = 0) -> tuple[Outcome, ...]:
    return tuple(outcomes(seed, (500, 900, 600), slices=("a", "b")))


@lru_cache
def told() -> Bench:
    return bench(rows(), policy_with(), asked=Asked(judge_cost=2e-5, scenarios=False))


@lru_cache
def fielded() -> tuple[Field, Learned, Measured]:
    policy = policy_with()
    learned = learn(rows(), policy, now=NOW)
    field = field_of(learned, Field(policy=policy, lock=learned.lock, embedder=None, prices=Prices(judge=2e-5)))
    return field, learned, field.measured(learned.test)


def strategy(found: Bench, name: str = "cascade") -> Strategy:
    return next(one for one in found.strategies if one.name == name)


def test_the_cascade_s_figures_are_those_of_the_flow_and_of_arithmetic_done_again() -> None:
    """Every cheap call is paid, the frontier where it was asked, and 5 % audits of both kinds, over held-out rows."""
    _, learned, measured = fielded()
    by = [row.decision.served_by for row in measured.rows if row.decision is not None]
    cost, frontier = 0.0, 0.0
    for row, who in zip(measured.rows, by, strict=True):
        cheap, last = (row.outcome.models[name].cost or 0.0 for name in ("cheap", "frontier"))
        asked = row.decision is not None and any(step.tier == "cheap" for step in row.decision.steps)
        cost += (cheap if asked else 0.0) + (last if who == "frontier" else 0.0)
        cost += 0.05 * (last + 2e-5) if who == "cheap" else 0.05 * 2e-5
        frontier += last
    found = strategy(told())
    assert len(by) == told().measured == learned.rows["test"] == 600
    assert found.saving.estimate == pytest.approx(1 - cost / frontier)
    assert found.accept_rate.estimate == by.count("cheap") / 600
    wrong = [row.quality == 0.0 for row, who in zip(measured.rows, by, strict=True) if who == "cheap"]
    assert found.accepted_error is not None
    assert found.accepted_error.estimate == pytest.approx(np.mean(wrong))


def test_the_parts_of_the_money_add_up_to_what_the_cascade_costs() -> None:
    falls = told().waterfall
    parts = falls.served + falls.wasted + falls.extras + falls.embedding + falls.audits + falls.labels
    assert falls.frontier - falls.avoided + parts == pytest.approx(falls.cascade)
    assert strategy(told()).cost.estimate == pytest.approx(falls.cascade)
    assert falls.wasted > 0
    assert falls.served > 0
    assert falls.audits > 0


def test_labels_spread_over_requests_are_a_cost_and_alone_they_are_a_payback() -> None:
    spread = bench(
        rows(), policy_with(), asked=Asked(judge_cost=2e-5, requests=10_000, ablation=False, scenarios=False)
    )
    assert told().verdict.labels == pytest.approx(spread.verdict.labels)
    assert spread.waterfall.labels == pytest.approx((spread.verdict.labels or 0.0) / 10_000)
    assert spread.verdict.saving.estimate < told().verdict.saving.estimate
    saved = told().waterfall.frontier - told().waterfall.cascade
    assert told().verdict.payback == pytest.approx((told().verdict.labels or 0.0) / saved)


def test_every_cost_of_a_label_is_counted() -> None:
    """1,400 rows of two answers and two verdicts."""
    seen = [row for row in rows() if row.split in ("fit", "certify")]
    answers = sum(model.cost or 0.0 for row in seen for model in row.models.values())
    assert told().verdict.labels == pytest.approx(answers + 2 * 1400 * 2e-5)


def priced(row: Outcome, frontier: float) -> Outcome:
    return replace(row, models={**row.models, "frontier": replace(row.models["frontier"], cost=frontier)})


def test_at_the_least_price_ratio_the_cascade_stops_paying() -> None:
    """Scaling the frontier's prices to that ratio leaves a saving of nothing, decisions unchanged."""
    field, _, measured = fielded()
    ratio, least = told().verdict.price_ratio, told().verdict.least_price_ratio
    assert ratio is not None
    assert least is not None
    assert least < ratio
    scale = least / ratio
    cheaper = [priced(row, (row.models["frontier"].cost or 0.0) * scale) for row in measured.outcomes]
    again = field.measure(cheaper)
    assert again.table.strategy(again.cascade).saving.estimate == pytest.approx(0.0, abs=1e-9)


def test_rows_that_were_fitted_on_are_in_no_figure() -> None:
    _, learned, measured = fielded()
    seen = {row.id for row in (*learned.fit.outcomes, *learned.certify.outcomes)}
    assert not seen & {row.id for row in measured.outcomes}
    assert all(row.split == "test" for row in measured.outcomes)


def test_other_held_out_labels_change_neither_gates_nor_rivals() -> None:
    """What a strategy accepts does not depend on how the held-out rows turned out."""
    policy = policy_with()
    turned = [
        replace(row, models={name: replace(m, correct=1 - (m.correct or 0)) for name, m in row.models.items()})
        if row.split == "test"
        else row
        for row in rows()
    ]
    found = []
    for some in (rows(), turned):
        learned = learn(some, policy, now=NOW)
        if learned.status == "contradicted":  # turned rows may well contradict the promise; the scores stay
            learned = replace(learned, lock=fielded()[1].lock)
        field = field_of(learned, Field(policy=policy, lock=fielded()[0].lock, embedder=None))
        found.append({one.name: one.accepts(learned.test).tolist() for one in field.rivals})
    assert found[0] == found[1]
    assert any(any(accepts) for accepts in found[0].values())


def test_slices_add_up_to_the_whole() -> None:
    found = told()
    for one in found.strategies:
        parts = [(table.rows, next(s for s in table.strategies if s.name == one.name)) for table in found.slices]
        for figure in ("cost", "quality", "accept_rate"):
            whole = getattr(one, figure).estimate
            assert sum(n * getattr(part, figure).estimate for n, part in parts) / found.measured == pytest.approx(whole)


def test_every_entrant_is_a_strategy_and_only_the_cascade_promises() -> None:
    found = told()
    assert {one.name for one in found.entrants} == {one.name for one in found.strategies}
    assert [one.name for one in found.entrants if one.promise] == ["cascade"]
    assert found.strategies[0].name == "always-frontier"


def test_a_flattering_account_differs_from_the_honest_one() -> None:
    """Drafts thrown away for nothing, and a threshold chosen in sample: both look better than it is."""
    assert len(told().flattered) == 2
    for one in told().flattered:
        assert one.saving > one.honest_saving == pytest.approx(strategy(told()).saving.estimate)


def test_the_variants_keep_their_promise_and_name_those_that_make_none() -> None:
    found = {one.name: one for one in told().ablation}
    assert set(found) == {"cascade only", "routing + cascade"}  # no reader of questions, no stored answers
    assert all(one.certified for one in found.values())
    assert found["cascade only"].strategy.escalation_rate.estimate == pytest.approx(
        1 - found["cascade only"].strategy.accept_rate.estimate
    )


def test_a_cascade_that_cannot_be_certified_does_not_pay_and_says_so() -> None:
    some = outcomes(1, (60, 80, 80), slices=("a", "b"), strength=0.0, base=0.0)
    found = bench(some, policy_with(), asked=Asked(ablation=False, scenarios=False))
    assert found.status == "refused"
    assert found.verdict.pays == "does not pay"
    assert "does not pay" in found.verdict.sentence
    assert strategy(found).accept_rate.estimate == 0.0


def test_a_frontier_hardly_dearer_than_the_cheap_model_does_not_pay() -> None:
    """Certified and paying are different things."""
    dear = [
        replace(row, models={**row.models, "cheap": replace(row.models["cheap"], cost=row.models["frontier"].cost)})
        for row in rows()
    ]
    found = bench(dear, policy_with(preroute={"enabled": False}), asked=Asked(ablation=False, scenarios=False))
    assert found.status == "certified"
    assert found.verdict.pays == "does not pay"
    assert found.verdict.break_even is None


def test_what_another_system_decided_stands_beside_the_others() -> None:
    ids = frozenset(row.id for row in rows() if row.split == "test" and row.models["cheap"].correct)
    asked = Asked(recorded={"theirs": ids}, ablation=False, scenarios=False)
    found = strategy(bench(rows(), policy_with(), asked=asked), "theirs")
    assert found.accepted_error is not None
    assert found.accepted_error.estimate == 0.0
    assert found.accept_rate.estimate == len(ids) / 600


def test_decisions_of_others_are_read_by_name_and_tier_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "theirs.jsonl"
    file.write_text('{"id":"1","name":"x","accepted":true}\n{"id":"2","name":"x","accepted":false}\n'
                    '{"id":"3","name":"x","accepted":true,"tier":"other"}\n')  # fmt: skip
    assert read_decisions(file, "cheap") == {"x": frozenset({"1"})}
    file.write_text('{"id":"1","name":"x","accepted":true}\n{"id":"2"}\n')
    with pytest.raises(ConfigError, match="line 2"):
        read_decisions(file, "cheap")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_decisions(tmp_path / "none", "cheap")


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_it_pays_only_where_the_whole_interval_is_above_nothing(middle: float, below: float, above: float) -> None:
    figure = Figure(estimate=middle, low=middle - below, high=middle + above)
    word = pays(figure, 0.5)
    assert (word == "pays") == (middle - below > 0)
    assert word != "does not pay" or middle + above <= 0


def test_a_policy_of_one_tier_is_refused() -> None:
    with pytest.raises(ConfigError, match="one tier"):
        bench(rows(), policy_of(tier("frontier"), target={"max_regret": 0.05}, cache={"semantic": True}))


def test_a_cache_alone_leaves_no_rule_that_names_a_tier_which_is_gone() -> None:
    policy = policy_with(
        slices={"a": {"route": "cheap"}}, stakes=[{"when": {"metadata": {"k": "v"}}, "tier": "cheap"}],
        checks=[{"name": "mine", "command": ["true"], "tiers": ["cheap"]}],
    )  # fmt: skip
    left = cache_alone(policy)
    assert Policy.model_validate(left.model_dump()).tiers == [policy.last]
    assert left.checks == []


def test_parts_taken_out_of_a_policy_are_out() -> None:
    policy = policy_with(cache={"semantic": True})
    assert not without(policy).cache.semantic
    assert without(policy, cache=True).cache.semantic
    assert without(policy, preroute=True).preroute.enabled
    assert not without(policy).preroute.enabled


def test_two_promises_share_a_regret_and_keep_an_error() -> None:
    """Losses of two parts add up over all traffic; two shares of at most 5 % mix to at most 5 %."""
    assert halves(policy_with().target).max_regret == 0.025
    error = policy_with(target={"max_error": 0.05}).target
    assert halves(error) == error


def test_what_the_first_serves_is_its_own_and_the_rest_the_other_s() -> None:
    _, _, measured = fielded()
    cheap, frontier = measured.cheap, measured.frontier
    accepts = np.arange(len(cheap.cost)) % 3 == 0
    found = first(gated("one", accepts, cheap, frontier), frontier, "both")
    assert found.cost.tolist() == np.where(accepts, cheap.cost, frontier.cost).tolist()


@given(st.lists(st.integers(0, 599), min_size=1, max_size=40, unique=True))
def test_a_part_of_the_rows_has_the_columns_of_those_rows(places: list[int]) -> None:
    _, _, measured = fielded()
    part = at(measured, places)
    for name, column in measured.columns.items():
        assert part.columns[name].cost.tolist() == [column.cost[i] for i in places]


def test_rows_of_two_splits_together_are_all_their_rows() -> None:
    _, learned, _ = fielded()
    both = together(learned.fit, learned.certify)
    assert len(both) == len(learned.fit) + len(learned.certify)
    assert both.take(list(range(len(learned.fit)))).requests == learned.fit.requests


def drawn(model: ModelOutcome, answers: list[int]) -> ModelOutcome:
    return replace(model, samples=[Sample(correct=right) for right in answers])


def test_a_difference_within_the_noise_of_drawing_is_called_that() -> None:
    """Every answer right half of the times that it is drawn: no difference of some hundred questions can be told."""
    field, _, measured = fielded()
    again = [
        replace(row, models={name: drawn(m, [0, 1, 1, 0]) for name, m in row.models.items()})
        for row in measured.outcomes
    ]
    found = noise(field.measure(again), field.policy)
    assert found.redrawing is not None
    assert found.redrawing > 0.02
    assert "smaller than the noise of drawing" in found.sentence
    same = [
        replace(row, models={name: drawn(m, [m.correct or 0] * 3) for name, m in row.models.items()})
        for row in measured.outcomes
    ]
    assert noise(field.measure(same), field.policy).redrawing == 0.0
    assert noise(measured, field.policy).redrawing is None
