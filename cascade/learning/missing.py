"""Nothing certified: about how many more labels would it take?"""

from __future__ import annotations

from math import ceil
from statistics import NormalDist
from typing import TYPE_CHECKING

from cascade.exact import least_rows, rows_with_power
from cascade.learning import path as paths
from cascade.policy import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POWER = 0.8
MOST = 10_000_000
"""Beyond so many rows the honest answer is that no number would do."""


def labels_missing(scores: Floats, quality: Floats, rows: int, target: Target, delta: float) -> int | None:
    """Judged rows beyond the ``rows`` there are, with which some threshold would pass four times of five.

    By the rates of the fit rows, (k, n) and (k + 1, n), at whichever of their thresholds takes the
    fewest: exact for an error target, a normal approximation for regret. It certifies nothing. None
    where no threshold's rate is under the target.
    """
    line = paths.quantiles(scores, paths.STRICTEST)
    counts = paths.sweep(line, scores, quality, target.kind) if len(line) else []
    needed = [n for found in counts if (n := _needed(found, scores.shape[1], target, delta)) is not None]
    least = min(needed, default=MOST)
    return max(least - rows, 1) if least < MOST else None


def _needed(found: paths.Counts, fitted: int, target: Target, delta: float) -> int | None:
    """Rows of the whole population that a test at this threshold needs."""
    if not found.n:
        return None
    if target.kind == "error":
        # One bad row more: the threshold of the luckiest few fit rows is not what it looks.
        accepted = rows_with_power(target.level, (found.bad + 1) / (found.n + 2), delta, POWER)
        return None if accepted is None else ceil(accepted * fitted / found.n)
    if found.losses is None:
        mean, square = (found.bad - found.better) / found.n, (found.bad + found.better + 1) / (found.n + 1)
    else:
        mean, square = float(found.losses.mean()), float((found.losses**2).mean())
    if mean >= target.level:
        return None
    normal = NormalDist()
    factor = normal.inv_cdf(1 - delta) + normal.inv_cdf(POWER)
    counted = factor**2 * (square - mean**2) / (target.level - mean) ** 2
    return ceil(max(counted, least_rows(target.level, delta)))
