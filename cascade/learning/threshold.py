"""Scores and labels in, a certified threshold out: the calibration's own steps without its files.

Layout, counts and walk on bare arrays: ``issue`` takes them for each population, and the coverage
benchmark and ``cascade selftest`` repeat them thousands of times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, Any

from cascade.learning import path as paths
from cascade.policy import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labelled = tuple[Floats, Floats]

Sweep = Callable[..., list[Any]]


LEAST_LAID_OUT = 20
"""Rows of a population that may lay out its path; with fewer, others have to."""

LOOSEST = {"right": (6.0, -6.0), "gain": (0.5, -1.0)}
"""Ends of the path where there are no rows to lay it out: the scale of the scores, whatever the data."""

CAUTION = (4.0, 2.0, 1.0)
"""Where there is no fit set, log-odds at which a calibrated score errs so many times less than allowed."""


def certified(
    fit: Labelled | None, rows: Labelled, target: Target, delta: float, *, scale: str = "right",
    unread: Floats | None = None, sweep: Sweep = paths.sweep,
) -> float | None:  # fmt: skip
    """The certified threshold, or None where nothing is certified.

    ``fit`` and ``rows`` are scores (k, n) and qualities (k + 1, n), ``unread`` scores (k, n) of other
    rows; see ``laid_out``. ``sweep`` counts the certification rows: whoever hands in a wrong one learns
    what a wrong count would do.
    """
    scores, quality = rows
    line, starts = laid_out(fit, scores.shape[1], target, delta, scale, unread)
    _, place, _ = furthest(sweep(line, scores, quality, target.kind), starts, target, delta)
    return None if place is None else float(line[place])


def laid_out(
    fit: Labelled | None, rows: int, target: Target, delta: float, scale: str = "right", unread: Floats | None = None
) -> tuple[Floats, list[int]]:
    """Candidate thresholds and where to start, from rows that the certificate does not count.

    Where there are no fit rows the ``unread`` scores of held-out rows lay out the path, their labels
    unread, or else a fixed grid over the ``scale`` does; then nothing says where the test has most
    power, and three starts share delta.
    """
    import numpy as np

    if fit is not None and fit[0].shape[1] >= LEAST_LAID_OUT:
        scores, quality = fit
        line = paths.candidates(scores, rows, target, delta)
        if len(line):
            guesses = paths.sweep(line, scores, quality, target.kind)
            return line, [paths.start_of(guesses, scores.shape[1], rows, target, delta)]
    line = np.empty(0)
    if unread is not None and unread.shape[1] >= LEAST_LAID_OUT:
        line = paths.candidates(unread, rows, target, delta)
    if len(line):
        return line, sorted({0, len(line) // 3, 2 * len(line) // 3})
    line = np.linspace(*LOOSEST[scale], paths.CANDIDATES)
    if scale == "right" and target.kind == "error":
        odds = [log((caution - target.level) / target.level) for caution in CAUTION]
        return line, sorted({min(int(np.searchsorted(-line, -one)), len(line) - 1) for one in odds})
    return line, sorted({0, len(line) // 3, 2 * len(line) // 3})


def furthest(counts: list[Any], starts: list[int], target: Target, delta: float) -> tuple[int, int | None, float]:
    """The start that reached furthest, where it got to, and its share of delta."""
    share = delta / len(starts)
    reached = [(paths.walk(counts, start, target, share), start) for start in starts]
    place, start = max(reached, key=lambda found: -1 if found[0] is None else found[0])
    return start, place, share


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
