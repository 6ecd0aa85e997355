"""Ways from labelled rows to a threshold: the project's own, and the ones it is held against."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from cascade.learning import path as paths
from cascade.learning.threshold import certified, laid_out
from cascade.policy import Target

Labelled = tuple[Any, Any]
"""Scores (k, n) and qualities (k + 1, n)."""


class Rows(NamedTuple):
    """What one repetition draws: a fit set, certification rows, and these before they were thinned."""

    fit: Labelled
    certify: Labelled
    unthinned: Labelled


Method = Callable[[Rows, Target, float], float | None]


class Remembered:
    """Counts whose test is remembered: it depends on nothing but them, and the exact paired one is slow."""

    __slots__ = ("counts", "test")

    def __init__(self, counts: paths.Counts, test: str = "exact") -> None:
        self.counts, self.test = counts, test

    def passes(self, target: Target, delta: float) -> bool:
        found = self.counts
        if found.losses is not None:
            return found.passes(target, delta)
        return _passes(found.n, found.bad, found.better, self.test, target, delta)


class _Key(NamedTuple):
    kind: str
    level: float


@cache
def _remembered(n: int, bad: int, better: int, test: str, key: _Key, delta: float) -> bool:
    target = Target(max_error=key.level) if key.kind == "error" else Target(max_regret=key.level)
    if test == "binomial":
        target = Target(max_error=key.level)
    losses = None
    if test == "betting":
        losses = np.repeat([1.0, -1.0, 0.0], [bad, better, n - bad - better])
    return paths.Counts(n=n, bad=bad, better=better, served=0, losses=losses).passes(target, delta)


def _passes(n: int, bad: int, better: int, test: str, target: Target, delta: float) -> bool:
    return _remembered(n, bad, better, test, _Key(target.kind, target.level), delta)


def _sweep(test: str) -> Callable[..., Any]:
    def remembered(*arguments: Any) -> list[Remembered]:
        return [Remembered(counts, test) for counts in paths.sweep(*arguments)]

    return remembered


EXACT = _sweep("exact")


def naive(rows: Rows, target: Target, delta: float) -> float | None:
    """The loosest of the rows' own scores at which their empirical risk keeps the target."""
    scores, quality = rows.certify
    if target.kind == "regret" or scores.shape[0] > 1:
        line = np.unique(scores.max(axis=0))[::-1]
        counts = paths.sweep(line, scores, quality, target.kind)
        allowed = [c.n > 0 and c.risk(target.kind) <= target.level for c in counts]
    else:
        line, place = np.unique(-scores[0], return_inverse=True)
        line, bad = -line, np.cumsum(np.bincount(place, 1.0 - quality[0]))
        allowed = bad <= target.level * np.cumsum(np.bincount(place))
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
    return certified(rows.fit, rows.certify, target, delta, sweep=_sweep("binomial"))


def betting(rows: Rows, target: Target, delta: float) -> float | None:
    """Regret by a bet on the mean difference."""
    return certified(rows.fit, rows.certify, target, delta, sweep=_sweep("betting"))


def unthinned(rows: Rows, target: Target, delta: float) -> float | None:
    """This project's test on rows that a gate has chosen, as if a fair coin had."""
    return certified(rows.fit, rows.unthinned, target, delta, sweep=EXACT)
