"""Ways from labelled rows to a threshold: the project's own, and the ones it is held against."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from cascade.learning import path as paths
from cascade.learning.threshold import certified, laid_out, remembering
from cascade.policy import Target

Labelled = tuple[Any, Any]
"""Scores (k, n) and qualities (k + 1, n)."""


class Rows(NamedTuple):
    """What one repetition draws: a fit set, certification rows, and these before they were thinned."""

    fit: Labelled
    certify: Labelled
    unthinned: Labelled


TRIED = 200
"""Thresholds that the naive rule tries where several tiers share them."""

Method = Callable[[Rows, Target, float], float | None]


class Other(NamedTuple):
    """Counts put to another test than the project's: its own answer to ``passes``."""

    counts: paths.Counts
    test: Callable[[int, int, int, float, float], bool]

    def passes(self, target: Target, delta: float) -> bool:
        return self.test(self.counts.n, self.counts.bad, self.counts.better, target.level, delta)


@cache
def _losses_alone(n: int, bad: int, better: int, level: float, delta: float) -> bool:
    return paths.Counts(n=n, bad=bad, better=0, served=n).passes(Target(max_error=level), delta)


@cache
def _bet(n: int, bad: int, better: int, level: float, delta: float) -> bool:
    losses = np.repeat([1.0, -1.0, 0.0], [bad, better, n - bad - better])
    counts = paths.Counts(n=n, bad=bad, better=better, served=n, losses=losses)
    return counts.passes(Target(max_regret=level), delta)


def _put_to(test: Callable[..., bool]) -> Callable[..., Any]:
    def swept(*arguments: Any) -> list[Other]:
        return [Other(counts, test) for counts in paths.sweep(*arguments)]

    return swept


EXACT = remembering(paths.sweep)


def naive(rows: Rows, target: Target, delta: float) -> float | None:
    """The loosest of the rows' own scores at which their empirical risk keeps the target."""
    scores, quality = rows.certify
    if scores.shape[0] > 1:
        line = np.quantile(scores.max(axis=0), np.linspace(1.0, 0.0, TRIED))
        counts = paths.sweep(line, scores, quality, target.kind)
        allowed = np.array([c.n > 0 and c.risk(target.kind) <= target.level for c in counts])
    else:
        line, place = np.unique(-scores[0], return_inverse=True)
        line, n = -line, np.cumsum(np.bincount(place))
        lost = (1.0 if target.kind == "error" else quality[1]) - quality[0]
        allowed = np.cumsum(np.bincount(place, lost)) <= target.level * (n if target.kind == "error" else n[-1])
    passed = np.flatnonzero(allowed)
    return float(line[passed[-1]]) if len(passed) else None


def strictest_first(rows: Rows, target: Target, delta: float) -> float | None:
    """The textbook order: the same candidates, tested from the strictest."""
    line, _ = laid_out(rows.fit, rows.certify[0].shape[1], target, delta)
    place = paths.walk(EXACT(line, *rows.certify, target.kind), 0, target, delta)
    return None if place is None else float(line[place])


def ours(rows: Rows, target: Target, delta: float) -> float | None:
    """This project's calibration with a fit set beside the certification rows."""
    return certified(rows.fit, rows.certify, target, delta, sweep=EXACT)


def ours_split(rows: Rows, target: Target, delta: float) -> float | None:
    """The same where the certification rows are all there are: 40 % of them lay out the path."""
    scores, quality = rows.certify
    cut = int(0.4 * scores.shape[1])
    fit, certify = (scores[:, :cut], quality[:, :cut]), (scores[:, cut:], quality[:, cut:])
    return certified(fit, certify, target, delta, sweep=EXACT)


def ours_without_fit(rows: Rows, target: Target, delta: float) -> float | None:
    """The same without any fit row: a fixed grid and three starts."""
    return certified(None, rows.certify, target, delta, sweep=EXACT)


def binomial(rows: Rows, target: Target, delta: float) -> float | None:
    """Regret by the usual exact test, which counts losses alone."""
    return certified(rows.fit, rows.certify, target, delta, sweep=_put_to(_losses_alone))


def betting(rows: Rows, target: Target, delta: float) -> float | None:
    """Regret by a bet on the mean difference."""
    return certified(rows.fit, rows.certify, target, delta, sweep=_put_to(_bet))


def unthinned(rows: Rows, target: Target, delta: float) -> float | None:
    """This project's test on rows that a gate has chosen, as if a fair coin had."""
    return certified(rows.fit, rows.unthinned, target, delta, sweep=EXACT)
