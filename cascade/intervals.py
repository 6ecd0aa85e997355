"""Paired intervals for comparisons on the same rows.

Differences of right/wrong by Bonett and Price (2012): the textbook intervals and the bootstrap cover
far too little when the two sides disagree on only a few rows, and a cascade is built to disagree on
few. Everything else by a bootstrap over questions, in which the rewordings of one question stay
together, since they are not independent evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 2000
PART = 2**21
"""Weights that a statistic gets at a time: what it makes of them stays within tens of megabytes."""

Z95 = 1.959963984540054
"""0.975 quantile of the standard normal distribution: every interval here is a 95 % one."""


class Figure(Record, frozen=True, kw_only=True):
    """An estimate with its 95 % interval; the ends are None where no interval makes sense."""

    estimate: float
    low: float | None = None
    high: float | None = None


def paired_difference(ours: Floats, theirs: Floats) -> Figure:
    """Mean of ours - theirs for rows that are right or wrong (1.0 or 0.0), Bonett-Price adjusted Wald.

    Adds one row to each kind of disagreement. Source: Bonett & Price, Psychological Methods 2012. Of rows
    graded in [0, 1] it is the same Wald interval with the same two rows added, a gain and a loss of 1.
    """
    n, apart = len(ours), ours - theirs
    centre = float(apart.sum()) / (n + 2)
    square = (float((apart**2).sum()) + 2) / (n + 2)
    half = Z95 * ((square - centre**2) / (n + 2)) ** 0.5
    return Figure(estimate=float(apart.mean()), low=max(centre - half, -1.0), high=min(centre + half, 1.0))


def proportion(good: int, n: int) -> Figure:
    """Wilson's interval of a share. Source: Wilson, JASA 1927."""
    if n == 0:
        return Figure(estimate=float("nan"))
    share = good / n
    scale = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / scale
    half = Z95 * (share * (1 - share) / n + Z95**2 / (4 * n**2)) ** 0.5 / scale
    return Figure(estimate=share, low=max(centre - half, 0.0), high=min(centre + half, 1.0))


class Bootstrap:
    """Resamples of the same rows for every figure of a report, so that differences stay paired.

    ``groups`` names the independent unit of each row (a question with its rewordings).
    """

    def __init__(self, groups: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        import numpy as np

        units = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        unit_of = np.array([units[name] for name in groups])
        drawn = np.random.default_rng(seed).integers(0, len(units), size=(resamples, len(units)))
        counts = np.zeros((resamples, len(units)))
        np.add.at(counts, (np.arange(resamples)[:, None], drawn), 1.0)
        self._groups = len(units)
        self._weights: Floats = counts[:, unit_of]

    def mean(self, values: Floats) -> Figure:
        """Mean of a column, percentile interval."""
        return self.figure(lambda w: (w @ values) / w.sum(axis=-1), values)

    def saving(self, ours: Floats, theirs: Floats) -> Figure:
        """1 - sum(ours)/sum(theirs), percentile interval: the share that ours saves."""
        return self.figure(lambda w: 1.0 - (w @ ours) / (w @ theirs), ours)

    def worth(self, yes: Floats) -> int:
        """How many independent rows would tell a share as well as these, from as many as there are down to 1.

        ``yes`` is 0.0 or 1.0 a row: what the share is of. Where all are alike, as many as there are groups.
        """
        share = float(yes.mean())
        if share in (0.0, 1.0) or self._groups == len(yes):
            return self._groups
        spread = float(((self._weights @ yes) / self._weights.sum(axis=-1)).var())
        return max(min(round(share * (1 - share) / spread), len(yes)), 1) if spread else len(yes)

    def figure(self, statistic: Callable[[Any], Any], like: Floats) -> Figure:
        """Any statistic of row weights, on the rows as they are and on every resample.

        It is given weights of shape (rows,) or (some resamples, rows): whole numbers, how often each
        row was drawn. NaN says that it has no value on a resample, which is then left out.
        """
        import numpy as np

        parts = np.array_split(self._weights, -(-self._weights.size // PART))
        drawn = np.concatenate([statistic(part) for part in parts])
        drawn = drawn[~np.isnan(drawn)]
        low, high = map(float, np.quantile(drawn, [0.025, 0.975])) if len(drawn) else (None, None)
        return Figure(estimate=float(statistic(np.ones(len(like)))), low=low, high=high)
