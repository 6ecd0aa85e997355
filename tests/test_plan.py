"""Planning: what is promised to cost so much does cost so much, and caution is never cheaper."""

from __future__ import annotations

from math import ceil, log

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.stats import binom

from cascade.economics import CallCosts, Traffic, break_even, economics
from cascade.errors import ConfigError
from cascade.exact import binomial_log_pvalue, least_rows, rows_with_power
from cascade.plan import (
    CERTIFY,
    FIT,
    HELD_OUT,
    Labels,
    Promise,
    days_until,
    drift,
    floor,
    labels,
    plan,
)

TRAFFIC = Traffic(requests=2000, labels=2000, accept=0.4, audit=0.05, audit_escalated=0.05)
COSTS = CallCosts(cheap=0.001, frontier=0.01, judge=0.005, extra=0.0)
PROMISE = Promise(kind="error", level=0.05, confidence=0.95, slices={"all": 1.0}, refits=1)

LEVELS = st.floats(0.01, 0.3)
DELTAS = st.floats(0.005, 0.2)
PROMISES = st.builds(
    Promise,
    kind=st.sampled_from(["error", "regret"]),
    level=LEVELS,
    confidence=st.floats(0.8, 0.99),
    slices=st.integers(1, 5).map(lambda n: {str(i): 1 / n for i in range(n)}),
    refits=st.integers(1, 12),
)
DOLLARS = st.floats(0.0001, 1.0)
COSTLY = st.builds(CallCosts, cheap=DOLLARS, frontier=DOLLARS, judge=DOLLARS, extra=st.floats(0.0, 0.1))
DAYS = st.builds(
    Traffic,
    requests=st.floats(10, 1e6),
    labels=st.floats(10, 1e6),
    accept=st.floats(0.01, 1.0),
    audit=st.floats(0.01, 1.0),
    audit_escalated=st.floats(0.0, 1.0),
)


@pytest.mark.parametrize(
    ("level", "delta", "least", "needed"),
    [
        (0.10, 0.10, 22, (52, 128, 390)),
        (0.10, 0.05, 29, (61, 179, 549)),
        (0.10, 0.01, 44, (113, 287, 887)),
        (0.05, 0.10, 45, (105, 282, 829)),
        (0.05, 0.05, 59, (153, 361, 1148)),
        (0.05, 0.01, 90, (229, 606, 1853)),
        (0.02, 0.05, 149, (386, 969, 2935)),
        (0.01, 0.05, 299, (773, 1941, 5876)),
        (0.01, 0.01, 459, (1157, 3052, 9650)),
    ],
)
def test_labels_are_those_of_the_study(level: float, delta: float, least: int, needed: tuple[int, ...]) -> None:
    """Accepted labels for a chance of 80 % if the truth is a quarter, half, seven tenths of the target."""
    assert least_rows(level, delta) == least
    assert tuple(rows_with_power(level, level * share, delta, 0.8) for share in (0.25, 0.5, 0.7)) == needed


@settings(max_examples=25)
@given(st.floats(0.05, 0.3), st.floats(0.0, 0.6), DELTAS, st.floats(0.3, 0.9))
def test_it_is_the_first_number_of_rows_with_that_power(level: float, share: float, delta: float, power: float) -> None:
    """Found again by trying every number in turn."""
    found = rows_with_power(level, share * level, delta, power)
    assert found is not None

    def passes(n: int) -> float:
        allowed = int(np.searchsorted(binom.logcdf(np.arange(n + 1), n, level), log(delta), "right")) - 1
        return float(binom.cdf(allowed, n, share * level)) if allowed >= 0 else 0.0

    assert passes(found) >= power
    assert all(passes(n) < power for n in range(1, found))


@given(LEVELS, DELTAS)
def test_without_errors_the_floor_is_enough(level: float, delta: float) -> None:
    assert rows_with_power(level, 0.0, delta, 0.8) == least_rows(level, delta)


@given(PROMISES, st.floats(0.0, 0.7), st.floats(0.1, 0.9))
def test_the_floor_is_never_above_what_is_needed(promise: Promise, share: float, power: float) -> None:
    needed = labels(promise, share * promise.level, accept=0.4, power=power)
    assert needed is not None
    least = floor(promise, accept=0.4)
    assert least.accepted <= needed.accepted
    assert least.total <= needed.total
    assert binomial_log_pvalue(0, least.accepted, promise.level) <= log(promise.delta) + 1e-9


@given(PROMISES, st.floats(0.1, 0.7), st.integers(1, 4), st.floats(0.0, 1.0), st.floats(0.05, 1.0))
def test_caution_never_needs_fewer_labels(
    promise: Promise, share: float, more: int, surer: float, accept: float
) -> None:
    """More confidence, more slices, more refits, more power, a worse truth, fewer accepted answers."""
    rate = share * promise.level

    def total(promise: Promise = promise, rate: float = rate, accept: float = accept, power: float = 0.8) -> int:
        found = labels(promise, rate, accept=accept, power=power)
        assert found is not None
        return found.total

    count = len(promise.slices) + more
    plain = total()
    assert plain <= total(replace(promise, confidence=promise.confidence + surer * (0.999 - promise.confidence)))
    assert plain <= total(replace(promise, slices={str(i): 1 / count for i in range(count)}))
    assert plain <= total(replace(promise, refits=promise.refits + more))
    assert plain <= total(rate=rate * 1.2)
    assert plain <= total(power=0.8 + 0.19 * surer)
    assert plain <= total(accept=accept / 2)


def test_rows_are_dealt_out_whole() -> None:
    assert sum((FIT, CERTIFY, HELD_OUT)) == pytest.approx(1.0)
    found = labels(PROMISE, 0.025, accept=0.4, power=0.8)
    assert found == Labels(true_rate=0.025, accepted=361, certify=903, rows=2258, total=2258)


def test_every_judged_row_counts_for_regret() -> None:
    """299 paired labels are the floor of one point at 95 %."""
    point = replace(PROMISE, kind="regret", level=0.01)
    assert floor(point, accept=0.1) == floor(point, accept=0.9)
    assert (floor(point, accept=0.4).accepted, floor(point, accept=0.4).certify) == (299, 299)


@pytest.mark.parametrize("rate", [0.05, 0.06, 0.0499])
def test_a_truth_at_the_target_cannot_be_bought(rate: float) -> None:
    assert rows_with_power(0.05, rate, 0.05, 0.8) is None
    with pytest.raises(ConfigError, match="true"):
        plan(PROMISE, TRAFFIC, None, true_rate=rate)


def accounted(needed: Labels, promise: Promise, traffic: Traffic, step: float) -> tuple[float, float]:
    """Days to the first and to the last certificate, hour by hour; a label goes where most are missing.

    For the first one, all labels go to the largest slice.
    """
    shares = np.array(list(promise.slices.values()))
    most = min(traffic.labels, traffic.requests) * step

    def days(missing: np.ndarray) -> float:
        spent = 0
        while (missing > 1e-9).any():
            left = most
            for i in np.argsort(-missing / shares):
                got = min(missing[i], shares[i] * traffic.requests * step, left)
                missing[i] -= got
                left -= got
            spent += 1
        return spent * step

    largest = np.where(np.arange(len(shares)) == shares.argmax(), float(needed.rows), 0.0)
    return days(largest), days(np.full(len(shares), float(needed.rows)))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.floats(0.05, 1.5), st.integers(200, 2000))
def test_days_are_those_of_labelling_hour_by_hour(parts: list[int], labelled: float, rows: int) -> None:
    promise = replace(PROMISE, slices={str(i): part / sum(parts) for i, part in enumerate(parts)})
    traffic = replace(TRAFFIC, requests=1000.0, labels=1000.0 * labelled)
    needed = Labels(true_rate=0.0, accepted=rows, certify=rows, rows=rows, total=rows * len(parts))
    first, last = days_until(needed, promise, traffic)
    assert first <= last + 1e-9
    step = last / 500
    found = accounted(needed, promise, traffic, step)
    assert found == (pytest.approx(first, abs=6 * step), pytest.approx(last, abs=6 * step))


@pytest.mark.parametrize(
    ("costs", "audit_escalated", "expected"),
    [
        ((0.1, 1.0, 1.0, 0.0), 0.0, 0.111),
        ((0.1, 1.0, 1.0, 0.0), 0.05, 0.158),
        ((0.1, 1.0, 1.0, 0.0), 0.5, 0.429),
        ((0.1, 1.0, 1.0, 0.4), 0.0, 0.556),
        ((0.03, 1.0, 0.5, 0.01), 0.0, 0.043),
    ],
)
def test_break_evens_are_those_of_the_study(costs: tuple[float, ...], audit_escalated: float, expected: float) -> None:
    cheap, frontier, judge, extra = costs
    found = break_even(CallCosts(cheap=cheap, frontier=frontier, judge=judge, extra=extra), 0.05, audit_escalated)
    assert found == pytest.approx(expected, abs=0.0006)


@pytest.mark.parametrize("accept", [0.05, 0.3, 0.9])
def test_the_net_saving_is_that_of_a_million_simulated_requests(accept: float) -> None:
    random, n = np.random.default_rng(3), 1_000_000
    traffic = replace(TRAFFIC, accept=accept, audit=0.1, audit_escalated=0.2)
    costs = replace(COSTS, extra=0.0005)
    served = random.random(n) < accept
    judged = random.random(n) < np.where(served, 0.1, 0.2)
    paid = np.full(n, costs.cheap + costs.extra) + np.where(served, 0.0, costs.frontier)
    audits = judged * (costs.judge + np.where(served, costs.frontier, 0.0))
    found = economics(1000, traffic, costs)
    assert found.saving == pytest.approx(costs.frontier - paid.mean(), abs=3e-5)
    assert found.audits == pytest.approx(audits.mean(), abs=3e-5)
    assert found.net == pytest.approx(costs.frontier - (paid + audits).mean(), abs=3e-5)


@given(COSTLY, DAYS)
def test_the_break_even_is_where_the_net_saving_changes_sign(costs: CallCosts, traffic: Traffic) -> None:
    least = break_even(costs, traffic.audit, traffic.audit_escalated)
    found = economics(1000, traffic, costs)
    assert (found.payback is None) == bool(found.why)
    if least is None:
        assert found.net <= 1e-12
        return
    assert economics(1, replace(traffic, accept=least), costs).net == pytest.approx(0.0, abs=1e-9)
    assume(abs(traffic.accept - least) > 1e-6)
    assert (found.net > 0) == (traffic.accept > least)


@given(COSTLY, DAYS, st.integers(1, 100_000))
def test_the_labels_are_paid_back_on_the_day_that_the_books_say(costs: CallCosts, traffic: Traffic, rows: int) -> None:
    """Day by day: minus the labels, plus what one day of serving costs less than the frontier."""
    found = economics(rows, traffic, costs)
    a, d, e = traffic.accept, traffic.audit, traffic.audit_escalated
    served = costs.cheap + costs.extra + (1 - a) * (costs.frontier + e * costs.judge)
    daily = traffic.requests * (costs.frontier - served - a * d * (costs.frontier + costs.judge))
    if found.payback is None:
        assert daily <= 1e-9
        return
    assume(found.payback < 5000)
    balance, day = -rows * (costs.cheap + costs.extra + costs.frontier + costs.judge), 0
    while balance < 0:
        day, balance = day + 1, balance + daily
    assert day - 1 - 1e-3 <= found.payback <= day + 1e-3


def test_a_drift_is_noticed_later_where_there_is_less_traffic() -> None:
    promise = replace(PROMISE, slices={"large": 0.8, "small": 0.2})
    found = drift(promise, TRAFFIC, true_rate=0.025, rates=[0.15])
    large, small = (one.median_days for one in found.alarms)
    assert large is not None
    assert small == pytest.approx(4 * large)
    assert large == pytest.approx((found.delays[0].median or 0) / (2000 * 0.8 * 0.4 * 0.05))


def test_a_lost_point_of_all_traffic_is_more_of_the_accepted() -> None:
    """At 40 % accepted, one point is 2.5 % of what is watched; beyond all of it nothing can be lost."""
    point = replace(PROMISE, kind="regret", level=0.01)
    found = drift(point, TRAFFIC, true_rate=0.005)
    assert (found.level, found.before) == (pytest.approx(0.025), pytest.approx(0.0125))
    assert [one.rate for one in found.delays] == pytest.approx([0.04, 0.05, 0.075])
    assert drift(point, replace(TRAFFIC, accept=0.005), true_rate=0.005).alarms == []


def test_a_plan_holds_together() -> None:
    found = plan(PROMISE, TRAFFIC, COSTS, true_rate=0.025)
    assert found.economics is not None
    assert found.needed in found.table
    assert found.days == found.first_days == 2258 / 2000
    assert found.economics.labels == pytest.approx(2258 * 0.016)
    assert ceil(found.economics.payback or 0) == ceil(2258 * 0.016 / (2000 * found.economics.net))


@pytest.mark.parametrize(
    "wrong",
    [
        {"promise": replace(PROMISE, level=0.0)},
        {"promise": replace(PROMISE, level=float("nan"))},
        {"promise": replace(PROMISE, confidence=1.0)},
        {"promise": replace(PROMISE, refits=0)},
        {"promise": replace(PROMISE, slices={})},
        {"promise": replace(PROMISE, slices={"a": 0.5, "b": 0.6})},
        {"promise": replace(PROMISE, slices={"a": 1.5, "b": -0.5})},
        {"traffic": replace(TRAFFIC, accept=0.0)},
        {"traffic": replace(TRAFFIC, accept=1.2)},
        {"traffic": replace(TRAFFIC, audit=0.0)},
        {"traffic": replace(TRAFFIC, audit_escalated=-0.1)},
        {"traffic": replace(TRAFFIC, requests=0.0)},
        {"traffic": replace(TRAFFIC, labels=float("inf"))},
        {"costs": replace(COSTS, judge=-1.0)},
        {"costs": replace(COSTS, extra=float("nan"))},
        {"power": 1.0},
        {"true_rate": -0.1},
        {"rates": [0.01]},
        {"rates": [1.0]},
    ],
    ids=str,
)
def test_an_impossible_assumption_is_named(wrong: dict[str, object]) -> None:
    given = {"promise": PROMISE, "traffic": TRAFFIC, "costs": COSTS, "true_rate": 0.025} | wrong
    with pytest.raises(ConfigError):
        plan(**given)  # type: ignore[arg-type]
