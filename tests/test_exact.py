"""The exact tests behind a promise: they agree with the textbook, and never certify too early."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cascade.exact import (
    Candidate,
    binomial_log_pvalue,
    fixed_sequence,
    least_rows,
    lower_limit,
    power_start,
    upper_limit,
)

LEVELS = st.floats(0.01, 0.3)
DELTAS = st.floats(0.01, 0.2)
COUNTS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS, LEVELS)
def test_the_p_value_is_scipys_exact_one(counts: tuple[int, int], level: float) -> None:
    bad, n = counts
    assert exp(binomial_log_pvalue(bad, n, level)) == pytest.approx(binomtest(bad, n, level, "less").pvalue, abs=1e-9)


@given(COUNTS, DELTAS)
def test_the_limits_are_scipys_exact_ones(counts: tuple[int, int], delta: float) -> None:
    bad, n = counts
    textbook = binomtest(bad, n).proportion_ci(1 - 2 * delta, "exact")
    assert upper_limit(bad, n, delta) == pytest.approx(textbook.high, abs=1e-9)
    assert lower_limit(bad, n, delta) == pytest.approx(textbook.low, abs=1e-9)


@given(COUNTS, LEVELS, DELTAS)
def test_a_test_passes_exactly_when_the_upper_limit_is_at_most_the_level(
    counts: tuple[int, int], level: float, delta: float
) -> None:
    bad, n = counts
    bound = upper_limit(bad, n, delta)
    if abs(bound - level) > 1e-9:
        assert (binomial_log_pvalue(bad, n, level) <= log(delta)) == (bound <= level)


def test_no_rows_are_no_evidence() -> None:
    assert binomial_log_pvalue(0, 0, 0.05) == 0.0
    assert (lower_limit(0, 0, 0.05), upper_limit(0, 0, 0.05)) == (0.0, 1.0)


@given(LEVELS, DELTAS)
def test_the_least_rows_are_the_fewest_that_certify(level: float, delta: float) -> None:
    n = least_rows(level, delta)
    assert (1 - level) ** n <= delta * (1 + 1e-9)
    assert (1 - level) ** (n - 1) > delta * (1 - 1e-9)


CANDIDATES = st.lists(COUNTS.map(lambda c: Candidate(n=c[1], bad=c[0])), min_size=1, max_size=12)


@given(CANDIDATES, LEVELS, DELTAS, st.data())
def test_only_an_unbroken_run_of_passes_from_the_start_is_certified(
    candidates: list[Candidate], level: float, delta: float, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(candidates) - 1))
    chosen = fixed_sequence(candidates, count=len(candidates), start=start, level=level, delta=delta)
    passes = [binomial_log_pvalue(c.bad, c.n, level) <= log(delta) for c in candidates]
    if chosen is None:
        assert not passes[start]
        return
    assert all(passes[start : chosen + 1])
    assert chosen + 1 == len(candidates) or not passes[chosen + 1]
    assert candidates[chosen].n >= least_rows(level, delta)
    assert upper_limit(candidates[chosen].bad, candidates[chosen].n, delta) <= level + 1e-9


@given(CANDIDATES, LEVELS, DELTAS, st.data())
def test_more_bad_rows_never_certify_a_looser_threshold(
    candidates: list[Candidate], level: float, delta: float, data: st.DataObject
) -> None:
    worse = [Candidate(n=c.n, bad=data.draw(st.integers(c.bad, c.n))) for c in candidates]
    found = [fixed_sequence(c, count=len(c), start=0, level=level, delta=delta) for c in (candidates, worse)]
    assert (-1 if found[1] is None else found[1]) <= (-1 if found[0] is None else found[0])


@given(CANDIDATES, LEVELS, DELTAS)
def test_the_start_is_a_candidate(guesses: list[Candidate], level: float, delta: float) -> None:
    assert 0 <= power_start(guesses, rows=300, fitted=500, level=level, delta=delta) < len(guesses)


def test_the_start_passes_over_candidates_with_too_few_rows() -> None:
    guesses = [Candidate(n=10, bad=0), Candidate(n=400, bad=2), Candidate(n=500, bad=100)]
    assert power_start(guesses, rows=500, fitted=500, level=0.05, delta=0.05) == 1


def population(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and whether the answer is bad; the chance of that falls as the score grows."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=rows)
    return scores, random.random(rows) < 0.25 / (1 + np.exp(2.2 * scores))


def at(scores: np.ndarray, bad: np.ndarray, threshold: float) -> Candidate:
    served = scores >= threshold
    return Candidate(n=int(served.sum()), bad=int((served & bad).sum()))


def test_the_promise_is_broken_no_oftener_than_stated_while_the_naive_rule_breaks_it_often() -> None:
    level, delta, repetitions = 0.05, 0.1, 400
    path = np.quantile(population(0, 4000)[0], np.linspace(0.98, 0.0, 40))
    truth = [(c := at(*population(1, 400_000), t)).bad / c.n for t in path]
    guesses = [at(*population(2, 300), t) for t in path]
    start = power_start(guesses, rows=300, fitted=300, level=level, delta=delta)
    broken = naive = 0
    for seed in range(repetitions):
        rows = population(1000 + seed, 300)
        candidates = [at(*rows, t) for t in path]
        chosen = fixed_sequence(candidates, count=len(path), start=start, level=level, delta=delta)
        broken += chosen is not None and truth[chosen] > level
        fits = [i for i, c in enumerate(candidates) if c.n and c.bad / c.n <= level]
        naive += bool(fits) and truth[max(fits)] > level
    assert broken / repetitions <= delta + 4 * (delta * (1 - delta) / repetitions) ** 0.5
    assert naive / repetitions > 0.3
