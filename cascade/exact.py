"""Exact tests behind a promise: distribution-free, finite-sample, in log space without floors.

The statement that a certificate makes (Angelopoulos et al. 2110.01052, "learn then test"; Bauer
1991 for tests in a fixed order): let the rows be independent draws from the traffic that is to come,
with scorer, candidate thresholds and starting point fixed without their labels. Then, with
probability at least 1 - delta over the draw of the rows, either nothing is certified or the
certified threshold keeps its promise. It speaks of the average over future served requests, not of
one request, one day, or traffic that has drifted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log, log1p

from cascade.types import Record

MOST_BAD = 20_000
"""Bad rows up to which a test is sought; past that the truth is too near the target to be told apart."""


def binomial_log_pvalue(bad: int, n: int, level: float) -> float:
    """Natural log of P(Bin(n, level) <= bad): small when ``bad`` is surprisingly low.

    At most log(delta) exactly when the Clopper-Pearson upper limit of bad/n is at most ``level``.
    ``n`` of 0 is no evidence: 0.0.
    """
    from scipy.stats import binom

    return float(binom.logcdf(bad, n, level)) if n else 0.0


def upper_limit(bad: int, n: int, delta: float) -> float:
    """Clopper-Pearson upper confidence limit of a rate, one-sided at 1 - delta. 1.0 without rows."""
    from scipy.stats import beta

    return float(beta.ppf(1.0 - delta, bad + 1, n - bad)) if n > bad else 1.0


def lower_limit(bad: int, n: int, delta: float) -> float:
    """Clopper-Pearson lower confidence limit of a rate, one-sided at 1 - delta. 0.0 without rows."""
    from scipy.stats import beta

    return float(beta.ppf(delta, bad, n - bad + 1)) if bad else 0.0


def least_rows(level: float, delta: float) -> int:
    """Rows without a single bad one that are needed before anything can be certified."""
    return ceil(log(delta) / log1p(-level))


def rows_with_power(level: float, true_rate: float, delta: float, power: float) -> int | None:
    """The first number of rows with which P(the test of ``level`` passes | true_rate) >= power.

    Power saws: each further bad row that the test would forgive needs a step in rows, and within a
    step more rows only add chances to fail. So only the first row of each step is looked at.
    """
    import numpy as np
    from scipy.stats import binom, nbinom

    if true_rate >= level:
        return None
    low, high = 0, 64
    while low < MOST_BAD:
        forgiven = np.arange(low, high)
        # The (k+1)th bad row comes after row n exactly when at most k of n are bad.
        rows = forgiven + 1 + np.asarray(nbinom.isf(delta, forgiven + 1, level), dtype=int)
        enough = np.flatnonzero(binom.cdf(forgiven, rows, true_rate) >= power)
        if len(enough):
            return int(rows[enough[0]])
        low, high = high, 2 * high
    return None


class Candidate(Record, frozen=True, kw_only=True):
    """Counts at one candidate threshold: ``bad`` of ``n`` rows that the test looks at.

    For selective risk ``n`` are the accepted rows; for regret it is all rows, and ``bad`` those on
    which the frontier would have been right and what was served is not.
    """

    n: int
    bad: int


def fixed_sequence(
    candidates: Sequence[Candidate] | Callable[[int], Candidate],
    *,
    count: int,
    start: int,
    level: float,
    delta: float,
) -> int | None:
    """Index of the last candidate certified when testing one after another from ``start``.

    Candidates run from strictest to loosest and each is tested at the full ``delta``; the first
    failure ends the sequence. None when the first test fails. No monotonicity is assumed, and no
    correction for many thresholds is due, because the order is fixed beforehand.
    """
    find = candidates if callable(candidates) else candidates.__getitem__
    certified: int | None = None
    for index in range(start, count):
        candidate = find(index)
        if binomial_log_pvalue(candidate.bad, candidate.n, level) > log(delta):
            break
        certified = index
    return certified


def power_start(guesses: Sequence[Candidate], *, rows: int, fitted: int, level: float, delta: float) -> int:
    """Where to start: the candidate at which the test will most probably pass.

    ``guesses`` are counts on the rows that fitted the scorer (``fitted`` of them, out of fold);
    the test will have ``rows``. The loosest candidate wins a tie. The textbook order, strictest
    first, starts where the fewest rows are and is stopped by one unlucky row.
    """
    from scipy.stats import binom

    best, best_power = 0, -1.0
    for index, guess in enumerate(guesses):
        n = round(guess.n * rows / fitted) if fitted else 0
        if n < least_rows(level, delta):
            continue
        # A shrunken rate: without it a small accepted set without errors promises certainty.
        rate = (guess.bad + 0.5) / (guess.n + 1.0)
        allowed = _most_bad(n, level, delta)
        power = float(binom.cdf(allowed, n, rate)) if allowed >= 0 else 0.0
        if power >= best_power:
            best, best_power = index, power
    return best


def _most_bad(n: int, level: float, delta: float) -> int:
    """Most bad rows among ``n`` with which the test still passes; -1 when not even none is enough."""
    from scipy.stats import binom

    found = int(binom.ppf(delta, n, level))
    while found >= 0 and binomial_log_pvalue(found, n, level) > log(delta):
        found -= 1
    return found
