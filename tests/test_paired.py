"""The paired test is exact: whatever the nuisance, it rejects a true hypothesis no oftener than it says."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import exp, isfinite, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from cascade.paired import betting_log_pvalue, mean_upper, paired_lower, paired_pvalue, paired_upper

COUNTS = st.integers(1, 120).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, n - w), st.just(n)))
)


@lru_cache
def rejections(n: int, level: float, delta: float, tail: str) -> list[tuple[int, int]]:
    pairs = [(w, m) for w, m in product(range(n + 1), repeat=2) if w + m <= n]
    return [(w, m) for w, m in pairs if paired_pvalue(w, m, n, level, delta, tail) <= delta]  # type: ignore[arg-type]


@pytest.mark.parametrize("tail", ["low", "high"])
@pytest.mark.parametrize(("n", "level", "delta"), [(40, 0.1, 0.1), (60, 0.05, 0.05), (25, 0.2, 0.2)])
def test_a_true_hypothesis_is_rejected_no_oftener_than_delta(n: int, level: float, delta: float, tail: str) -> None:
    """Summed over every possible sample, at every chance of a -1 on a grid: an exact size, not a simulated one."""
    found = rejections(n, level, delta, tail)
    assert found or tail == "high" or (1 - level) ** n > delta
    for u in np.linspace(0.0, (1 - level) / 2, 25):
        p = [level + u, u, max(1 - level - 2 * u, 0.0)]
        size = sum(multinomial.pmf([w, m, n - w - m], n, p) for w, m in found)
        assert size <= delta + 1e-12


@given(COUNTS, st.floats(0.01, 0.3))
@settings(max_examples=60)
def test_one_more_loss_is_never_better_evidence(counts: tuple[int, int, int], level: float) -> None:
    worse, better, n = counts
    p = paired_pvalue(worse, better, n, level, 0.2, "low")
    if worse + better < n:
        assert (
            paired_pvalue(worse + 1, better, n, level, 0.2, "low") >= p - 2e-3
        )  # a cell's bound may be loose by that much


@given(st.integers(0, 6), st.integers(100, 400))
@settings(max_examples=25)
def test_without_a_single_gain_it_is_nearly_the_exact_binomial_test(worse: int, n: int) -> None:
    """Conservative by the share of delta that confines the nuisance, and by no more than a little."""
    ours = paired_upper(worse, 0, n, 0.05)
    theirs = binomtest(worse, n).proportion_ci(0.9, "exact").high
    assert theirs - 1e-4 <= ours <= theirs * 1.12 + 1e-4


def test_gains_are_evidence_that_counting_losses_alone_throws_away() -> None:
    """30 losses and 30 gains of 1,000: no regret at all, which the positive part alone puts at 3 % and more."""
    assert paired_upper(30, 30, 1000, 0.05) < 0.015
    assert binomtest(30, 1000).proportion_ci(0.9, "exact").high > 0.04


@given(COUNTS)
@settings(max_examples=25)
def test_the_limits_enclose_the_estimate(counts: tuple[int, int, int]) -> None:
    worse, better, n = counts
    mean = (worse - better) / n
    assert paired_lower(worse, better, n, 0.05) <= max(mean, 0.0)
    assert paired_upper(worse, better, n, 0.05) >= mean - 1e-9


def test_no_rows_are_no_evidence() -> None:
    assert paired_pvalue(0, 0, 0, 0.05, 0.05, "low") == 1.0
    assert paired_upper(0, 0, 0, 0.05) == 1.0
    assert betting_log_pvalue(np.empty(0), 0.05) == 0.0


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=60), st.floats(0.01, 0.5))
def test_betting_does_not_look_at_the_order(losses: list[float], level: float) -> None:
    forth, back = np.array(losses), np.array(losses[::-1])
    assert betting_log_pvalue(forth, level) == pytest.approx(betting_log_pvalue(back, level), abs=1e-9)


def test_betting_on_a_million_rows_stays_in_log_space() -> None:
    """No floor: a floor of 1e-300 on wealth certifies what it should not, and refuses what it could."""
    overwhelming = betting_log_pvalue(np.zeros(1_000_000), 0.5)
    assert isfinite(overwhelming)
    assert overwhelming < log(1e-300)
    assert betting_log_pvalue(np.ones(1_000_000), 0.5) == 0.0


def test_betting_rejects_a_true_hypothesis_no_oftener_than_delta() -> None:
    random, level, delta = np.random.default_rng(3), 0.1, 0.1
    samples = random.choice([-0.5, 0.0, 0.25, 1.0], p=[0.1, 0.65, 0.2, 0.05], size=(800, 200)) + 0.05
    samples = np.clip(samples - samples.mean() + level, -1, 1)
    rejected = sum(betting_log_pvalue(row, level) <= log(delta) for row in samples)
    assert rejected / 800 <= delta
    assert exp(betting_log_pvalue(samples[0], 0.9)) < 0.01
    assert mean_upper(samples[0], 0.05) > samples[0].mean()
