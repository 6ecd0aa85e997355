"""Numbers of a benchmark: golden examples worked out by hand, and the laws that the definitions imply."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cascade.intervals import PART, Bootstrap, Figure, proportion
from cascade.metrics import (
    Spend,
    aiq,
    apgr,
    aurc,
    auroc,
    calibration_error_if_perfect,
    convex_hull_quality,
    cpt,
    discrimination,
    e_aurc,
    equal_mass_bins,
    escalations,
    expected_calibration_error,
    least_price_ratio,
    performance_gap_recovered,
    quantile,
    risk_coverage,
)

Columns = tuple[Any, Any]
Few = st.integers(-4, 4)
"""Scores of few values, so that ties are the rule."""


@st.composite
def scored(draw: st.DrawFn, losses: tuple[float, ...] = (0.0, 1.0)) -> Columns:
    """Scores with ties, and losses: right or wrong unless others are asked for."""
    n = draw(st.integers(1, 30))
    return draw(arrays(float, n, elements=Few.map(float))), draw(arrays(float, n, elements=st.sampled_from(losses)))


def each(n: int, **settings: Any) -> Bootstrap:
    """Every row a group of its own."""
    return Bootstrap([str(i) for i in range(n)], **settings)


def weights_of(boot: Bootstrap, n: int) -> list[Any]:
    """What a statistic of n rows is given, part by part, the rows as they are last."""
    seen = []

    def statistic(weights: Any) -> Any:
        seen.append(weights)
        return weights.sum(axis=-1)

    boot.figure(statistic, np.zeros(n))
    return seen


# ---- AUROC


def test_the_auroc_of_four_rows() -> None:
    """Right .9 .5, wrong .5 .1. Pairs: .9>.5, .9>.1, .5=.5 (half), .5>.1: 3.5 of 4."""
    assert auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == 3.5 / 4


@pytest.mark.parametrize("right", [True, False])
def test_answers_of_one_kind_have_no_auroc(right: bool) -> None:
    columns = np.arange(4.0), np.full(4, right)
    assert auroc(*columns) is None
    assert discrimination(columns[0], columns[0] / 4, columns[1], each(4)).auroc is None


@given(scored(), st.permutations(range(9)))
def test_the_auroc_sees_order_alone(columns: Columns, steps: list[int]) -> None:
    """Unchanged by any rising map; turned round by a falling one."""
    score, loss = columns
    rises = np.cumsum(np.array(steps) + 1.0)[score.astype(int) + 4]
    area = auroc(score, loss == 0)
    assert auroc(rises, loss == 0) == area
    if area is not None:
        assert auroc(-score, loss == 0) == pytest.approx(1 - area)


@given(scored())
def test_the_auroc_is_its_definition(columns: Columns) -> None:
    score, loss = columns
    pairs = [np.sign(a - b) / 2 + 0.5 for a in score[loss == 0] for b in score[loss == 1]]
    found = auroc(score, loss == 0)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


# ---- risk and coverage


def test_the_risk_coverage_curve_of_four_rows() -> None:
    """Scores 3 2 2 1, losses 0 1 0 1: the two 2s come together, so 1/4 at 0, 3/4 at 1/3, 4/4 at 2/4."""
    coverage, risk = risk_coverage(np.array([3.0, 2.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert coverage == pytest.approx([0.25, 0.75, 1.0])
    assert risk == pytest.approx([0.0, 1 / 3, 0.5])


def test_the_area_of_four_rows() -> None:
    """Scores 4 3 2 1, losses 0 1 0 1: risks so far 0, 1/2, 1/3, 2/4; mean 4/3 / 4 = 1/3.

    Best order 0 0 1 1: 0, 0, 1/3, 1/2; mean 5/24. Excess 8/24 - 5/24 = 1/8.
    """
    score, loss = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    assert aurc(score, loss) == pytest.approx(1 / 3)
    assert e_aurc(score, loss) == pytest.approx(1 / 8)


def test_the_area_of_a_tie_is_the_mean_over_its_orders() -> None:
    """Scores 2 2 1, losses 1 0 1. Orders of the tie: risks 1, 1/2, 2/3 and 0, 1/2, 2/3; mean 10/18."""
    assert aurc(np.array([2.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0])) == pytest.approx(10 / 18)


def test_a_perfect_ranking_has_no_excess_however_fine() -> None:
    loss = np.array([0.0, 0.0, 0.25, 1.0, 1.0])
    assert e_aurc(-loss, loss) == 0.0
    assert e_aurc(np.arange(5.0)[::-1], loss) == pytest.approx(0.0, abs=1e-15)
    assert e_aurc(np.arange(5.0), loss) > 0.1


@given(scored((0.0, 0.25, 0.5, 1.0)))
def test_no_ranking_beats_the_losses_own(columns: Columns) -> None:
    score, loss = columns
    assert aurc(score, loss) >= aurc(-loss, loss) - 1e-12
    assert e_aurc(score, loss) == pytest.approx(aurc(score, loss) - aurc(-loss, loss), abs=1e-12)


@given(scored((0.0, 0.25, 0.5, 1.0)))
def test_a_score_that_says_nothing_has_the_mean_loss(columns: Columns) -> None:
    _, loss = columns
    assert aurc(np.zeros(len(loss)), loss) == pytest.approx(loss.mean())


@given(scored((0.0, 0.3, 1.0)))
def test_coverage_ends_at_all_and_risk_at_the_mean_loss(columns: Columns) -> None:
    coverage, risk = risk_coverage(*columns)
    assert coverage[-1] == 1.0
    assert risk[-1] == pytest.approx(columns[1].mean())
    assert (np.diff(coverage) > 0).all()
    assert len(coverage) == len(set(columns[0]))


# ---- weights are repetitions


@given(scored(), st.integers(0, 99))
def test_a_resample_is_worth_the_rows_it_repeats(columns: Columns, seed: int) -> None:
    """Every statistic of whole weights is that of the rows, each so many times."""
    score, loss = columns
    boot = each(len(score), seed=seed, resamples=1)
    times = weights_of(boot, len(score))[0][0].astype(int)
    again, lost = np.repeat(score, times), np.repeat(loss, times)
    found = discrimination(score, np.abs(score) / 4, loss == 0, boot)
    assert found.aurc.low == pytest.approx(aurc(again, lost))
    assert found.e_aurc.low == pytest.approx(e_aurc(again, lost), abs=1e-12)
    if found.auroc is not None:
        assert found.auroc.low == auroc(again, lost == 0)


def test_rows_of_one_group_are_drawn_together() -> None:
    """Each row twice in its group: the same intervals as once; apart from each other they would be narrower."""
    random = np.random.default_rng(0)
    score = random.normal(size=60)
    right = random.random(60) < 1 / (1 + np.exp(-score))
    p = random.random(60)
    names = [str(i) for i in range(60)]
    once = discrimination(score, p, right, Bootstrap(names, resamples=400))
    columns = np.tile(score, 2), np.tile(p, 2), np.tile(right, 2)
    twice = discrimination(*columns, Bootstrap(names * 2, resamples=400))
    apart = discrimination(*columns, each(120, resamples=400))
    assert once.auroc is not None
    assert twice.auroc is not None
    assert apart.auroc is not None
    assert (twice.auroc.low, twice.auroc.high) == pytest.approx((once.auroc.low, once.auroc.high))
    assert apart.auroc.low > twice.auroc.low  # type: ignore[operator]
    assert apart.auroc.high < twice.auroc.high  # type: ignore[operator]


def test_a_statistic_gets_every_resample_once_in_parts_of_bounded_size() -> None:
    *parts, plain = weights_of(each(4000, resamples=1200), 4000)
    assert len(parts) > 1
    assert sum(map(len, parts)) == 1200
    assert max(part.size for part in parts) <= PART
    assert all((part.sum(axis=1) == 4000).all() for part in parts)
    assert (plain == 1).all()


# ---- calibration


def test_the_calibration_error_of_ten_rows() -> None:
    """Two bins of five: .2 said, 2/5 right, off by .2; .8 said, 3/5 right, off by .2. Mean .2."""
    p = np.repeat([0.2, 0.8], 5)
    right = np.array([1, 1, 0, 0, 0, 1, 1, 1, 0, 0], dtype=bool)
    assert expected_calibration_error(p, right, equal_mass_bins(p)) == pytest.approx(0.2)


@given(arrays(float, st.integers(1, 120), elements=st.floats(0, 1)))
def test_bins_part_the_rows_by_rank_and_into_equal_parts(p: Any) -> None:
    bins = equal_mass_bins(p)
    assert sorted(np.concatenate(bins).tolist()) == list(range(len(p)))
    assert max(map(len, bins)) - min(map(len, bins)) <= 1
    assert all(p[a].max() <= p[b].min() for a, b in pairwise(bins))


def test_what_is_certain_and_true_has_no_calibration_error() -> None:
    p = np.repeat([0.0, 1.0], 25)
    assert expected_calibration_error(p, p == 1, equal_mass_bins(p)) == 0.0
    assert calibration_error_if_perfect(p, equal_mass_bins(p)) == 0.0


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_the_interval_of_the_calibration_error_covers_it_near_zero_too(shift: float) -> None:
    """Confidences are too high by ``shift``; the error is then ``shift`` in every bin."""
    random, covered = np.random.default_rng(2), 0
    for seed in range(40):
        p = random.uniform(0.3, 1.0, size=300)
        right = random.random(300) < p - shift
        found = discrimination(p, p, right, each(300, seed=seed, resamples=200)).ece
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.estimate <= found.high
        covered += found.low <= shift <= found.high
    assert covered >= 38


def test_better_scores_discriminate_better_in_every_figure() -> None:
    random = np.random.default_rng(3)
    truth = random.uniform(0.05, 0.95, size=800)
    right = random.random(800) < truth
    good = discrimination(truth, truth, right, each(800, resamples=200))
    bad = discrimination(random.random(800), np.full(800, 0.95), right, each(800, resamples=200))
    assert good.auroc is not None
    assert bad.auroc is not None
    assert good.auroc.low > bad.auroc.high  # type: ignore[operator]
    assert good.aurc.high < bad.aurc.low  # type: ignore[operator]
    assert good.e_aurc.high < bad.e_aurc.low  # type: ignore[operator]
    assert good.ece.high < bad.ece.low  # type: ignore[operator]
    assert good.rows == 800


# ---- quantiles


def test_a_quantile_is_a_row_s_own_value() -> None:
    """Of 1..20: 95 % is 19 rows, so 19; a hair more takes the 20th. Half is 10 rows, so 10."""
    values = np.arange(20.0, 0.0, -1.0)
    assert [quantile(values, q, each(20)).estimate for q in (0.5, 0.95, 0.951, 0.99)] == [10.0, 19.0, 20.0, 20.0]


def test_the_interval_of_a_median_of_twenty_is_the_sign_test_s() -> None:
    """Heads of 20 coins: 5 or fewer in 2.07 %, 6 or fewer in 5.8 %. So from the 6th row to the 6th last."""
    assert quantile(np.arange(1.0, 21.0), 0.5, each(20)) == Figure(estimate=10.0, low=6.0, high=15.0)


@pytest.mark.parametrize(
    ("n", "q", "ends"), [(367, 0.99, False), (368, 0.99, True), (71, 0.95, False), (72, 0.95, True)]
)
def test_a_tail_of_too_few_rows_has_no_interval(n: int, q: float, ends: bool) -> None:
    """.99^367 = .0250016: with 367 rows none lies beyond the p99 in more than 2.5 %; .95^71 = .0262."""
    assert (quantile(np.arange(float(n)), q, each(n, resamples=2)).high is not None) == ends


@given(arrays(float, st.integers(1, 400), elements=st.floats(0, 1e6)), st.sampled_from([0.5, 0.95, 0.99]))
@settings(max_examples=50)
def test_a_quantile_is_numpy_s_inverted_cdf_and_within_its_interval(values: Any, q: float) -> None:
    found = quantile(values, q, each(len(values), resamples=2))
    assert found.estimate == np.quantile(values, q, method="inverted_cdf")
    if found.low is not None:
        assert found.low in values
        assert found.high in values
        assert found.low <= found.estimate <= found.high


def test_rows_that_say_the_same_are_worth_one() -> None:
    """Each latency twice in its group: the interval of half the rows, within the noise of resampling."""
    random = np.random.default_rng(6)
    values, names = random.lognormal(size=300), [str(i) for i in range(300)]
    once, twice = quantile(values, 0.9, Bootstrap(names)), quantile(np.tile(values, 2), 0.9, Bootstrap(names * 2))
    apart = quantile(np.tile(values, 2), 0.9, each(600))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), rel=0.05)
    assert twice.low < apart.low < apart.high < twice.high  # type: ignore[operator]


def test_groups_that_are_of_one_mind_are_worth_their_number() -> None:
    yes = (np.arange(200) < 60).astype(float)
    names = [str(i) for i in range(200)]
    assert each(200).worth(yes) == 200
    assert Bootstrap(names * 3).worth(np.tile(yes, 3)) == pytest.approx(200, rel=0.1)
    assert Bootstrap(names * 3).worth(np.ones(600)) == 200
    assert Bootstrap(["one"] * 200).worth(yes) <= 200


def test_the_quantile_of_many_rows_is_about_the_population_s() -> None:
    """Lognormal: the 95 % quantile is exp(1.6449)."""
    found = quantile(np.random.default_rng(4).lognormal(size=10_000), 0.95, each(10_000, resamples=2))
    assert found.low is not None
    assert found.low < np.exp(1.6449) < found.high  # type: ignore[operator]
    assert found.high - found.low < 0.6  # type: ignore[operator]


# ---- cost and quality


def test_the_hull_and_aiq_of_four_points() -> None:
    """(1,.2) (2,.6) (3,.5) (5,.8): (3,.5) is below. Areas .4 + 3*.7 = 2.5 over a range of 4: .625."""
    points = [(3.0, 0.5), (5.0, 0.8), (1.0, 0.2), (2.0, 0.6)]
    cost, quality = convex_hull_quality(*np.array(points).T)
    assert list(zip(cost, quality, strict=True)) == [(1.0, 0.2), (2.0, 0.6), (5.0, 0.8)]
    assert aiq(points) == pytest.approx(0.625)


def test_paying_more_for_less_is_not_on_the_hull() -> None:
    """(1,.2) (2,.6) (4,.1): level at .6 from 2 on. Areas .4 + 2*.6 = 1.6 over 3."""
    assert aiq([(1.0, 0.2), (2.0, 0.6), (4.0, 0.1)]) == pytest.approx(1.6 / 3)


def test_one_cost_has_no_curve() -> None:
    assert aiq([(1.0, 0.2), (1.0, 0.6)]) is None
    assert aiq([]) is None


@given(st.lists(st.integers(0, 50), min_size=2, max_size=9, unique=True), st.floats(0, 1), st.floats(0, 1))
def test_a_straight_line_has_its_mean_quality(cost: list[int], low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    first, last = min(cost), max(cost)
    points = [(float(c), low + (high - low) * (c - first) / (last - first)) for c in cost]
    assert aiq(points) == pytest.approx((low + high) / 2)


Points = st.lists(st.tuples(st.floats(0, 9, width=16), st.floats(0, 1, width=16)), min_size=2, max_size=9)


@given(Points)
def test_the_hull_rises_flattens_and_covers_every_point(points: list[tuple[float, float]]) -> None:
    cost, quality = convex_hull_quality(*np.array(points).T)
    slopes = np.diff(quality) / np.diff(cost)
    assert (slopes >= 0).all()
    assert (np.diff(slopes) <= 1e-9).all()
    assert all(np.interp(x, cost, quality) >= y - 1e-9 for x, y in points)


@given(Points, st.floats(0.1, 100))
def test_aiq_does_not_know_the_currency(points: list[tuple[float, float]], rate: float) -> None:
    here, there = aiq(points), aiq([(cost * rate, quality) for cost, quality in points])
    assert here == (None if there is None else pytest.approx(there, rel=1e-6))


# ---- RouteLLM's


def test_recovered_gaps_by_hand() -> None:
    """Weak .5, strong .9: .6 makes good a quarter. At 20 % of calls .7 is half of it.

    APGR by trapezoids: .2 * (0 + .5)/2 + .8 * (.5 + 1)/2 = .65. A quarter is had at 10 %, three quarters
    half way from 20 % to 100 %.
    """
    assert performance_gap_recovered(0.6, 0.5, 0.9) == pytest.approx(0.25)
    assert apgr([0.2], [0.7], 0.5, 0.9) == pytest.approx(0.65)
    assert cpt([0.2], [0.7], 0.5, 0.9, 0.25) == pytest.approx(0.1)
    assert cpt([0.2], [0.7], 0.5, 0.9, 0.75) == pytest.approx(0.6)
    assert cpt([0.2], [0.7], 0.5, 0.9, 0.0) == 0.0
    assert cpt([0.2], [0.7], 0.5, 0.9, 1.0) == 1.0
    assert cpt([0.2], [0.7], 0.5, 0.9, 1.01) is None


def test_a_gap_of_five_points_is_the_least() -> None:
    assert performance_gap_recovered(0.6, 0.55, 0.60) == pytest.approx(1.0)
    for weak, strong in ((0.55, 0.599), (0.9, 0.5)):
        assert performance_gap_recovered(0.58, weak, strong) is None
        assert apgr([0.5], [0.58], weak, strong) is None
        assert cpt([0.5], [0.58], weak, strong, 0.5) is None


@given(st.lists(st.floats(0, 1), max_size=6), st.floats(0, 1))
def test_lots_recover_half_and_each_share_its_own(shares: list[float], recovered: float) -> None:
    quality = [0.4 + 0.3 * share for share in shares]
    assert apgr(shares, quality, 0.4, 0.7) == pytest.approx(0.5)
    assert cpt(shares, quality, 0.4, 0.7, recovered) == pytest.approx(recovered, abs=1e-6)


# ---- prices


def test_the_least_price_ratio_by_hand() -> None:
    """Always-frontier 10, cheap call 1, with a verifier 1.5, half escalated: 5. Nothing saved at
    r = 1.5 / (10 - 5) = .3, where a frontier call costs 3 cheap ones.
    """
    spend = Spend(frontier=10.0, call=1.0, fixed=1.5, escalated=5.0)
    assert least_price_ratio(spend) == pytest.approx(3.0)


def test_audits_and_judges_raise_the_least_price_ratio() -> None:
    """Audits 1, judge .5: (1.5 + .5) / (10 - 6) = .5 is 5 calls; a judge that scales: 1.5 / 3.5 * 10 = 4.29."""
    spend = Spend(frontier=10.0, call=1.0, fixed=1.5, escalated=5.0, audited=1.0, judged=0.5)
    assert least_price_ratio(spend) == pytest.approx(5.0)
    assert least_price_ratio(spend, judge_scales=True) == pytest.approx(1.5 / 3.5 * 10)


def test_no_price_makes_a_cascade_pay_that_escalates_all() -> None:
    assert least_price_ratio(Spend(frontier=10.0, call=1.0, fixed=1.0, escalated=10.0)) is None
    assert least_price_ratio(Spend(frontier=10.0, call=0.0, fixed=0.0, escalated=1.0)) is None


Money = st.floats(0.01, 5)


@given(Money, Money, Money, st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_at_the_least_ratio_nothing_is_saved_and_beyond_it_something(
    call: float, extra: float, escalated: float, audited: float, judged: float, scales: bool
) -> None:
    spend = Spend(frontier=10.0, call=call, fixed=call + extra, escalated=escalated, audited=audited, judged=judged)
    least = least_price_ratio(spend, judge_scales=scales)
    assert least is not None

    def net(ratio: float) -> float:
        r = ratio * call / 10.0
        judge = judged * (r if scales else 1.0)
        return r * 10.0 - (call + extra) - r * (escalated + audited) - judge

    assert net(least) == pytest.approx(0.0, abs=1e-9)
    assert net(least * 1.01) > 0 > net(least * 0.99)


@given(Money, st.floats(0.001, 1000))
def test_the_least_ratio_does_not_know_the_currency(call: float, rate: float) -> None:
    here = Spend(frontier=20.0, call=call, fixed=call, escalated=4.0, audited=1.0, judged=0.5)
    there = Spend(
        frontier=20.0 * rate, call=call * rate, fixed=call * rate, escalated=4.0 * rate, audited=rate, judged=rate / 2
    )
    assert least_price_ratio(there) == pytest.approx(least_price_ratio(here))


# ---- escalations


def test_escalations_by_hand() -> None:
    """Escalated: wrong to right, right to wrong, both right, both wrong (.4 is), both right (.5 is)."""
    cheap = np.array([0.0, 1.0, 1.0, 0.0, 0.5, 0.0])
    frontier = np.array([1.0, 0.0, 1.0, 0.4, 0.9, 1.0])
    found = escalations(cheap, frontier, np.array([True] * 5 + [False]))
    assert (found.rows, found.escalated) == (6, 5)
    assert found.counts == {"useful": 1, "wasted": 3, "harmful": 1}
    assert (found.useful, found.wasted, found.harmful) == (proportion(1, 5), proportion(3, 5), proportion(1, 5))


def test_nothing_escalated_has_no_shares() -> None:
    found = escalations(np.ones(3), np.ones(3), np.zeros(3, dtype=bool))
    assert found.escalated == 0
    assert np.isnan(found.useful.estimate)
    assert found.useful.low is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_every_escalation_is_of_one_kind_and_turns_round_with_the_sides(rows: list[tuple[float, float, bool]]) -> None:
    cheap, frontier, sent = (np.array(column) for column in zip(*rows, strict=True))
    found, turned = escalations(cheap, frontier, sent), escalations(frontier, cheap, sent)
    assert sum(found.counts.values()) == found.escalated == sent.sum()
    assert turned.counts == {
        "useful": found.counts["harmful"],
        "wasted": found.counts["wasted"],
        "harmful": found.counts["useful"],
    }
