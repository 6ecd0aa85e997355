"""What going on is worth: a source's score against what the sources after it would do.

A stored answer that may be wrong competes with the cheap tier that would be asked next, not with the
last tier: where the cheap tier would very likely be right too, serving the stored one gains little and
risks as much. So the pair that a source's score is fitted to is its answer and what would be served
in its place, at the price of going on. One threshold for all sources then is one price of quality for
all of them, as in Lagrangian relaxation. The last source before the last tier goes on to that one, and
its score is what it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.learning import path as paths
from cascade.policy import Target
from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Reach(Record, frozen=True, kw_only=True):
    """How far scores would probably get: the loosest threshold that would be certified, and what that saves.

    ``threshold`` is None where none would; ``saving`` is a share of the last tier's cost, of the rows served
    where costs are not known.
    """

    threshold: float | None
    saving: float


def reach(scores: Floats, quality: Floats, cost: Floats, target: Target, delta: float, certifying: int) -> Reach:
    """By the rows that fitted the scores (k, n), out of fold; ``certifying`` others will test them.

    ``quality`` and ``cost`` have shape (k + 1, n).
    """
    nowhere = Reach(threshold=None, saving=0.0)
    line = paths.candidates(scores, certifying, target, delta)
    if not len(line):
        return nowhere
    n = scores.shape[1]
    counts = paths.sweep(line, scores, quality, target.kind)
    threshold = None
    for place in range(paths.start_of(counts, n, certifying, target, delta), len(line)):
        if not paths.would_pass(counts[place], n, certifying, target, delta):
            break
        threshold = float(line[place])
    if threshold is None:
        return nowhere
    return Reach(threshold=threshold, saving=_saved(scores >= threshold, quality, cost))


def going_on(passed: Any, quality: Floats, cost: Floats, source: int) -> tuple[Floats, Floats]:
    """Quality and cost, (n,), of what comes of asking ``source`` and those after it, the first that
    ``passed`` (k, n) or else the last tier. A draft is paid for whether it is served or not.
    """
    import numpy as np

    n, later = np.arange(passed.shape[1]), passed[source:]
    first = np.where(later.any(axis=0), later.argmax(axis=0) if len(later) else 0, len(later))
    spent = np.cumsum(cost[source:], axis=0)
    return quality[source:][first, n], spent[first, n]


def _saved(passed: Any, quality: Floats, cost: Floats) -> float:
    """The share of the last tier's cost that is saved; of the rows served where no cost is known."""
    import numpy as np

    _, spent = going_on(passed, quality, cost, 0)
    known = np.isfinite(spent) & np.isfinite(cost[-1])
    total = cost[-1, known].sum()
    if not total > 0:
        return float(passed.any(axis=0).mean())
    return float(1.0 - spent[known].sum() / total)
