"""Exact and betting tests of a mean paired difference: is what was served worse than the last tier's?

For right/wrong answers each row of a comparison is +1 (the last tier was right, what was served was
not), -1 (the other way round) or 0. Counting only the +1 rows, the usual exact test, throws away the
rows on which the cheap answer was the better one; on real pairs of models those are a third to a
half of all disagreements. ``paired_pvalue`` keeps both and stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONFINED = 0.04
"""Share of delta that is spent on confining the nuisance parameter (Berger and Boos, JASA 1994)."""

FINEST = 0.002
"""Angle, in radians, under which a cell is not divided any further: its bound is then tight enough."""

TAIL = 1e-13
"""Probability that may be left out at either end of a sum; it is added to the result."""

NEAR = 1e-4
"""How near a confidence limit is found, on its safe side."""

BETS = 24
"""Constant bets in the mixture of the betting test."""


def paired_pvalue(worse: int, better: int, n: int, level: float, delta: float, tail: Literal["low", "high"]) -> float:
    """An exact p-value bound about the mean of ``n`` values in {-1, 0, +1}; 1.0 once it exceeds ``delta``.

    ``worse`` counts the +1 and ``better`` the -1. ``tail`` ``low`` tests "the mean is at least
    ``level``" (reject: the promise holds), ``high`` tests "the mean is at most ``level``" (reject: it
    is broken). The statistic is the studentised sum, because its distribution hardly depends on the
    one nuisance parameter, the chance u of a -1; the plain sum was tried, and has half the size. u is
    confined to [0, U], U its Clopper-Pearson upper limit at ``CONFINED * delta``, and the p-value is
    the largest over that interval plus the share spent (Berger and Boos).

    The largest value is bounded, not searched for on a grid: probabilities P, Q of one event under
    two distributions of fidelity F obey |asin(sqrt P) - asin(sqrt Q)| <= acos(F), and F over n draws
    is the single draw's to the n-th power, so the value at a cell's middle bounds the whole cell.
    """
    from scipy.stats import beta

    if n == 0 or not 0 <= level < 1:
        return 1.0
    spent = CONFINED * delta
    most = float(beta.ppf(1 - spent, better + 1, n - better)) if better < n else 1.0
    cells = [(0.0, min(most, (1 - level) / 2))]
    region = _region(worse, better, n, level, tail)
    largest = 0.0
    while cells:
        low, high = cells.pop()
        middle = (low + high) / 2
        chance = _chance(region, n, middle, level, tail)
        if chance + spent > delta:
            return 1.0
        angle = max(_angle(middle, end, level, n) for end in (low, high))
        bound = math.sin(min(math.asin(math.sqrt(chance)) + angle, math.pi / 2)) ** 2
        if bound + spent <= delta or angle < FINEST:
            largest = max(largest, bound)
            if largest + spent > delta:
                return 1.0
        else:
            cells += [(low, middle), (middle, high)]
    return largest + spent


def betting_log_pvalue(losses: Floats, level: float) -> float:
    """Natural log of a p-value for "the mean of these values in [-1, 1] is at least ``level``".

    A mixture over constant bets g of prod(1 + g (level - x)): a product of independent factors whose
    mean is at most 1 under the hypothesis, so by Markov's inequality its inverse is a p-value. Unlike
    bets that adapt to the rows seen so far, it does not depend on their order.
    Source: Waudby-Smith and Ramdas, JRSS B 2024 (2010.09686), with fixed bets.
    """
    import numpy as np

    if len(losses) == 0:
        return 0.0
    most = 0.98 / (1.0 - level)
    bets = np.geomspace(most / 200.0, most, BETS)
    wealth = np.array([np.log1p(bet * (level - losses)).sum() for bet in bets])
    return -max(float(np.logaddexp.reduce(wealth)) - math.log(BETS), 0.0)


def mean_upper(losses: Floats, delta: float) -> float:
    """Upper confidence limit at 1 - ``delta`` of the mean of values in [-1, 1], by ``betting_log_pvalue``."""
    if len(losses) == 0:
        return 1.0
    return _first(lambda level: betting_log_pvalue(losses, level) <= math.log(delta), -1.0, float(losses.mean()))


def paired_upper(worse: int, better: int, n: int, delta: float) -> float:
    """Upper confidence limit at 1 - ``delta`` of the mean of ``worse`` +1 and ``better`` -1 among ``n``.

    Never under 0.0: below it the levels that a promise can have end.
    """
    if n == 0:
        return 1.0
    return _first(
        lambda level: paired_pvalue(worse, better, n, level, delta, "low") <= delta, 0.0, (worse - better) / n
    )


def paired_lower(worse: int, better: int, n: int, delta: float) -> float:
    """Lower confidence limit at 1 - ``delta`` of the same mean; -1.0 where not even 0 is excluded."""
    if paired_pvalue(worse, better, n, 0.0, delta, "high") > delta:
        return -1.0
    # Rounded down: the last level that is excluded, not the first that is not.
    return _first(lambda level: paired_pvalue(worse, better, n, level, delta, "high") > delta, 0.0, 0.0) - NEAR


def _first(holds: Callable[[float], bool], start: float, mean: float) -> float:
    """The level in [start, 1) from which on it ``holds``, rounded up by at most ``NEAR``.

    Limits lie a few standard errors from the mean, so the search begins with short steps from there.
    """
    low, step = max(start, mean), 0.004
    if holds(low):
        if low == start:
            return low
        low = start
    while not holds(high := min(low + step, 1.0 - 1e-9)):
        if high >= 1.0 - 1e-9:
            return 1.0
        low, step = high, 2 * step
    while high - low > NEAR:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _region(worse: int, better: int, n: int, level: float, tail: str) -> Callable[[Any], Any]:
    """From a count of -1 to the last count of +1 that is as extreme as what was seen.

    Extreme by t = (+1 less -1 less n level) / sqrt(V), V = 1 + (+1) + (-1) - (+1 less -1)^2 / n, which
    is monotone in the count of +1, so that the region has one edge for each count of -1: a root of a
    quadratic. The 1 in V keeps t finite where nothing differs.
    """
    import numpy as np

    def spread(plus: float, minus: float) -> float:
        return max(1.0 + plus + minus - (plus - minus) ** 2 / n, 1e-12)

    t = (worse - better - n * level) / math.sqrt(spread(worse, better))
    square, sign = t * t, 1.0 if t > 0 else -1.0

    def edge(minus: Any) -> Any:
        centre = minus + n * level
        a = 1.0 + square / n
        b = 2.0 * centre + square + 2.0 * square * minus / n
        c = centre**2 - square * (minus + 1.0) + square * minus**2 / n
        root = (b + sign * np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))) / (2.0 * a)
        at = np.floor(root + 1e-7) if tail == "low" else np.ceil(root - 1e-7)
        seen = np.maximum(at, worse) if tail == "low" else np.minimum(at, worse)
        return np.where(minus == better, seen, at)

    return edge


def _chance(region: Callable[[Any], Any], n: int, u: float, level: float, tail: str) -> float:
    """Probability of the region with chances u of a -1 and level + u of a +1.

    A sum over the number of -1 of what is then a binomial tail; only positive terms.
    """
    import numpy as np
    from scipy.special import betainc, gammaln, xlog1py, xlogy

    # Bernstein's inequality says where the rest of the sum is under TAIL; scipy's quantiles cost more.
    needed = -math.log(TAIL)
    reach = needed / 3 + math.sqrt(needed**2 / 9 + 2 * needed * n * u * (1 - u))
    minus = np.arange(max(int(n * u - reach), 0), min(int(n * u + reach) + 1, n) + 1, dtype=float)
    weights = np.exp(
        gammaln(n + 1.0) - gammaln(minus + 1) - gammaln(n - minus + 1) + xlogy(minus, u) + xlog1py(n - minus, -u)
    )
    rest, chance, edge = n - minus, min((level + u) / (1 - u), 1.0), region(minus)
    if tail == "low":  # a binomial's tails are incomplete beta functions
        at = np.clip(edge, 0, rest - 1)
        inner = np.where(edge < 0, 0.0, np.where(edge >= rest, 1.0, betainc(rest - at, at + 1, 1 - chance)))
    else:
        at = np.clip(edge, 1, rest)
        inner = np.where(edge <= 0, 1.0, np.where(edge > rest, 0.0, betainc(at, rest - at + 1, chance)))
    return min(float(weights @ inner) + 2 * TAIL, 1.0)


def _angle(u: float, v: float, level: float, n: int) -> float:
    """acos of the fidelity of n draws under the nuisance parameters u and v."""
    pairs = (u * v, (level + u) * (level + v), max(1 - level - 2 * u, 0.0) * max(1 - level - 2 * v, 0.0))
    one = min(math.fsum(math.sqrt(pair) for pair in pairs), 1.0)
    return math.acos(min(one**n, 1.0))
