"""One threshold path, one fixed-sequence test: how far may the gates of a population be opened?

All cheap tiers of a population share one threshold on one scale, and a routed slice stands on that
scale with what its fit rows say of it, so that the path has one dimension, the promise is about
everything that the last tier did not answer, and no multiplicity is due (statistics, 3.2 and 3.8).
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan, log
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade.evidence import PathPoint
from cascade.exact import Candidate, binomial_log_pvalue, least_rows, power_start, upper_limit
from cascade.paired import betting_log_pvalue, mean_upper, paired_pvalue, paired_upper
from cascade.policy import Target
from cascade.types import RIGHT, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CANDIDATES = 60
FEW_LOSSES = 5
"""Losses that the target allows on average, under which gains are not counted (benchmarks: coverage)."""

STRICTEST = 0.02
"""Share served at the strictest candidate of a regret path, where every row counts at each of them."""


class Counts(Record, frozen=True, kw_only=True):
    """What a test looks at when every draft with at least some score is served.

    ``n`` rows of which ``bad`` count against the promise: for selective error the served rows and the
    unacceptable ones; for regret all rows, and those on which the last tier would have been right and
    what was served is not. ``better`` are the rows of the opposite kind. ``losses`` in [-1, 1] holds
    the rows' quality differences where some quality is graded, else None.
    """

    n: int
    bad: int
    better: int
    served: int
    losses: Any = None

    def risk(self, kind: str) -> float:
        """The empirical error among served rows, or the mean regret over all."""
        if self.losses is not None:
            return float(self.losses.mean()) if len(self.losses) else 0.0
        return (self.bad - (self.better if kind == "regret" else 0)) / self.n if self.n else 0.0

    def few(self, target: Target) -> bool:
        """Are there so few rows that counting losses alone is the stronger exact test?

        A matter of ``n`` and the target, never of the labels. The paired test spends a little of delta
        on its nuisance, and where two or three losses decide, that little is a whole loss.
        """
        return self.n * target.level < FEW_LOSSES

    def passes(self, target: Target, delta: float) -> bool:
        """Is the risk proved to be at most the target's level, at this delta?"""
        if target.kind == "error":
            return binomial_log_pvalue(self.bad, self.n, target.level) <= log(delta)
        if self.losses is not None:
            return betting_log_pvalue(self.losses, target.level) <= log(delta)
        if self.few(target):
            return binomial_log_pvalue(self.bad, self.n, target.level) <= log(delta)
        return paired_pvalue(self.bad, self.better, self.n, target.level, delta, "low") <= delta

    def bound(self, target: Target, delta: float) -> float:
        """Upper confidence limit of the risk at 1 - delta."""
        if target.kind == "error":
            return upper_limit(self.bad, self.n, delta)
        if self.losses is not None:
            return mean_upper(self.losses, delta)
        if self.few(target):
            return upper_limit(self.bad, self.n, delta)
        return paired_upper(self.bad, self.better, self.n, delta)


def candidates(fit_scores: Floats, rows: int, target: Target, delta: float) -> Floats:
    """Candidate thresholds, strictest first: quantiles of the fit rows' best scores.

    Laid out by the rows that the certificate never counts: thresholds taken from its own rows would
    need an assumption that these do not. ``rows`` is how many it will count.
    """
    least = 1.5 * least_rows(target.level, delta) / max(rows, 1) if target.kind == "error" else STRICTEST
    return quantiles(fit_scores, min(least, 1.0))


def quantiles(scores: Floats, strictest: float) -> Floats:
    """Thresholds at which from a share ``strictest`` up to all of the scored rows would be served."""
    import numpy as np

    best = scores.max(axis=0) if len(scores) else np.empty(0)
    best = best[np.isfinite(best)]
    if not len(best):
        return np.empty(0)
    return np.unique(np.quantile(best, 1.0 - np.geomspace(strictest, 1.0, CANDIDATES)))[::-1]


def sweep(path: Floats, scores: Floats, quality: Floats, kind: str) -> list[Counts]:
    """Counts at each threshold of the path. ``scores`` (k, n), ``quality`` (k + 1, n)."""
    import numpy as np

    if scores.shape[0] == 1 and _binary(quality):
        return _sorted_sweep(path, scores[0], quality, kind)
    return [count(float(threshold), scores, quality, kind) for threshold in np.asarray(path)]


def count(threshold: float, scores: Floats, quality: Floats, kind: str) -> Counts:
    """Counts when every draft with at least this score is served, by the first tier that has one."""
    return tally(*answers(threshold, scores, quality), quality, kind)


def answers(threshold: float | Floats, scores: Floats, quality: Floats) -> tuple[Any, Floats]:
    """Which rows a cheap tier serves, (n,), and the quality of what it serves; the first that passes.

    ``threshold`` is one for all, or one for each tier and row, (k, n).
    """
    import numpy as np

    passed = scores >= threshold
    return passed.any(axis=0), quality[passed.argmax(axis=0), np.arange(scores.shape[1])]


def tally(served: Any, got: Any, quality: Any, kind: str) -> Counts:
    """Counts of rows (n,) of which some are ``served`` a cheap answer of the quality ``got``."""
    import numpy as np

    if kind == "error":
        return Counts(n=int(served.sum()), bad=int((served & (got < RIGHT)).sum()), better=0, served=int(served.sum()))
    losses = np.where(served, quality[-1] - got, 0.0)
    return Counts(
        n=len(served),
        bad=int((losses > 0).sum()),
        better=int((losses < 0).sum()),
        served=int(served.sum()),
        losses=None if _binary(quality) else losses,
    )


def _sorted_sweep(path: Floats, scores: Floats, quality: Floats, kind: str) -> list[Counts]:
    """The same for one tier and right/wrong labels, by one sort instead of a pass for each candidate."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    reached = np.searchsorted(-scores[order], -np.asarray(path), side="right")
    got = quality[0, order]
    if kind == "error":
        bad = np.concatenate([[0], np.cumsum(got < RIGHT)])[reached]
        return [Counts(n=int(n), bad=int(b), better=0, served=int(n)) for n, b in zip(reached, bad, strict=True)]
    loss = quality[1, order] - got
    bad, better = (np.concatenate([[0], np.cumsum(kind_)])[reached] for kind_ in (loss > 0, loss < 0))
    return [
        Counts(n=len(scores), bad=int(b), better=int(w), served=int(n))
        for n, b, w in zip(reached, bad, better, strict=True)
    ]


def start_of(guesses: list[Counts], fitted: int, rows: int, target: Target, delta: float) -> int:
    """The candidate at which the test will most probably pass, as the fit rows see it."""
    if target.kind == "error":
        found = [Candidate(n=guess.n, bad=guess.bad) for guess in guesses]
        return power_start(found, rows=rows, fitted=fitted, level=target.level, delta=delta)
    best, most = 0, float("-inf")
    for place, guess in enumerate(guesses):
        ahead = lead(guess, rows, target.level)
        if ahead >= most:
            best, most = place, ahead
    return best


def lead(guess: Counts, rows: int, level: float) -> float:
    """By how many standard errors the regret of so many rows will probably stay under the level."""
    if not guess.n:
        return float("-inf")
    if guess.losses is not None:
        mean, square = float(guess.losses.mean()), float((guess.losses**2).mean())
    else:
        # One row more of each kind: a few rows without any difference promise no certainty.
        mean = (guess.bad - guess.better) / (guess.n + 2)
        square = (guess.bad + guess.better + 2) / (guess.n + 2)
    return float((level - mean) / max((square - mean**2) / max(rows, 1), 1e-12) ** 0.5)


def would_pass(found: Counts, fitted: int, rows: int, target: Target, delta: float) -> bool:
    """Would so many ``rows`` probably pass, at the rates of the ``fitted`` ones?"""
    if target.kind == "regret":
        return lead(found, rows, target.level) >= NormalDist().inv_cdf(1.0 - delta)
    scale = rows / fitted
    scaled = Counts(n=round(found.n * scale), bad=-int(-found.bad * scale // 1), better=0, served=0)
    return scaled.passes(target, delta)


def walk(counts: list[Counts], start: int, target: Target, delta: float) -> int | None:
    """Place of the last candidate certified, testing one after another from ``start``; None for none.

    Each is tested at the full delta and the first failure ends the sequence: the order was fixed
    before the rows were looked at, so no correction for many thresholds is due (Bauer 1991).
    """
    certified: int | None = None
    for place in range(start, len(counts)):
        if not counts[place].passes(target, delta):
            break
        certified = place
    return certified


def points(
    path: Floats, counts: list[Counts], rows: int, start: int, chosen: int | None, target: Target, delta: float
) -> list[PathPoint]:
    """The path with what was found at each place; the untested ones without their bound."""
    last = start if chosen is None else min(chosen + 1, len(counts) - 1)
    return [
        PathPoint(
            threshold=float(threshold),
            served=found.served / rows if rows else 0.0,
            n=found.n,
            bad=found.bad,
            better=found.better,
            risk=found.risk(target.kind),
            bound=found.bound(target, delta) if place == chosen else float("nan"),
            tested=start <= place <= last,
            passed=chosen is not None and start <= place <= chosen,
        )
        for place, (threshold, found) in enumerate(zip(path, counts, strict=True))
    ]


def bounded(point: PathPoint, target: Target, delta: float, *, graded: bool) -> PathPoint:
    """The point with its own bound, which only a report looks at; NaN where grades were not kept."""
    if graded or not isnan(point.bound):
        return point
    found = Counts(n=point.n, bad=point.bad, better=point.better, served=0)
    return replace(point, bound=found.bound(target, delta))


def factor(decided: Callable[[float], bool]) -> float | None:
    """How many times as many rows would decide, to a quarter; None beyond a thousand."""
    found = 1.0
    while found < 1000.0:
        found *= 1.25
        if decided(found):
            return found
    return None


def times(found: Counts, factor: float) -> Counts:
    """So many times as many rows with the same rates; bad ones are rounded up."""
    import numpy as np

    losses = found.losses
    return Counts(
        n=int(found.n * factor),
        bad=-int(-found.bad * factor // 1),
        better=int(found.better * factor),
        served=int(found.served * factor),
        losses=None if losses is None else np.resize(losses, int(len(losses) * factor)),
    )


def _binary(quality: Any) -> bool:
    return bool(((quality == 0) | (quality == 1)).all())
