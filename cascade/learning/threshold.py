"""Scores and labels in, a certified threshold out: the calibration's own steps without its files.

The same layout, counts and walk that ``issue`` takes for a population, on bare arrays, so that they
can be repeated thousands of times: by the coverage benchmark and by ``cascade selftest``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cascade.learning import path as paths
from cascade.learning.issue import LEAST_LAID_OUT, LOOSEST
from cascade.policy import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labelled = tuple[Floats, Floats]

Sweep = Callable[..., list[Any]]


def certified(
    fit: Labelled | None, rows: Labelled, target: Target, delta: float, *, scale: str = "right",
    sweep: Sweep = paths.sweep,
) -> float | None:  # fmt: skip
    """The certified threshold, or None where nothing is certified.

    ``fit`` and ``rows`` are scores (k, n) and qualities (k + 1, n); without ``fit`` a grid over the
    ``scale`` (``right``: log-odds, ``gain``) and three starts, which share delta. ``sweep`` counts
    the certification rows: whoever hands in a wrong one learns what a wrong count would do.
    """
    scores, quality = rows
    line, starts = laid_out(fit, scores.shape[1], target, delta, scale)
    counts = sweep(line, scores, quality, target.kind)
    reached = [paths.walk(counts, start, target, delta / len(starts)) for start in starts]
    places = [place for place in reached if place is not None]
    return float(line[max(places)]) if places else None


def laid_out(
    fit: Labelled | None, rows: int, target: Target, delta: float, scale: str = "right"
) -> tuple[Floats, list[int]]:
    """Candidate thresholds and where to start, from the fit rows alone."""
    import numpy as np

    if fit is None or fit[0].shape[1] < LEAST_LAID_OUT:
        high, low = LOOSEST[scale]
        return np.linspace(high, low, paths.CANDIDATES), [0, paths.CANDIDATES // 3, 2 * paths.CANDIDATES // 3]
    scores, quality = fit
    line = paths.candidates(scores, rows, target, delta)
    guesses = paths.sweep(line, scores, quality, target.kind)
    return line, [paths.start_of(guesses, scores.shape[1], rows, target, delta)]


class Remembered:
    """Counts whose test is remembered, for it depends on them alone and the exact paired one is slow."""

    __slots__ = ("counts",)

    def __init__(self, counts: paths.Counts) -> None:
        self.counts = counts

    def passes(self, target: Target, delta: float) -> bool:
        """As ``Counts.passes``; graded qualities are tested anew each time."""
        found = self.counts
        if found.losses is not None:
            return found.passes(target, delta)
        return _passes(found.n, found.bad, found.better, target, delta)


def remembering(sweep: Sweep) -> Sweep:
    """The same sweep, for whoever repeats it."""

    def swept(*arguments: Any) -> list[Any]:
        return [Remembered(counts) for counts in sweep(*arguments)]

    return swept


@lru_cache(maxsize=2**20)
def _passes(n: int, bad: int, better: int, target: Target, delta: float) -> bool:
    return paths.Counts(n=n, bad=bad, better=better, served=n).passes(target, delta)
