"""Quality and dollars along the share of questions that the strong model answers, and RouteLLM's two metrics of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

STEPS = 10
"""Into so many equal shares RouteLLM's own evaluation cuts the curve, and so do we."""


class Curve(NamedTuple):
    """Means over the questions at strong shares of 0, 1/10, ... 1: shape (11,) each. ``cost`` in dollars."""

    share: Any
    quality: Any
    cost: Any

    def dollars(self, share: float) -> float:
        """A question at this strong share."""
        return float(np.interp(share, self.share, self.cost))


class Answers(NamedTuple):
    """Two models on the same questions: qualities and dollars, shape (n,) each."""

    weak: Any
    strong: Any
    weak_cost: Any
    strong_cost: Any


def curve(needs: Any, answers: Answers, weights: Any, *, cascade: bool) -> Curve:
    """The curve of sending those that ``needs`` (n,) ranks first to the strong model, under row weights (n,).

    A ``cascade`` has paid the weak model for every question, a router only where it answers. Questions of one
    score are mixed at random: the curve is straight between them.
    """
    _, place = np.unique(-needs, return_inverse=True)
    order = np.argsort(place, kind="stable")
    ends = np.flatnonzero(np.diff(place[order], append=-1))
    w = weights[order] / weights.sum()
    saved = 0.0 if cascade else answers.weak_cost
    columns = np.stack([w, w * (answers.strong - answers.weak)[order], w * (answers.strong_cost - saved)[order]])
    share, quality, cost = np.hstack([np.zeros((3, 1)), np.cumsum(columns, axis=1)[:, ends]])
    steps = np.linspace(0.0, 1.0, STEPS + 1)
    total = weights.sum()
    return Curve(
        steps,
        weights @ answers.weak / total + np.interp(steps, share, quality),
        weights @ answers.weak_cost / total + np.interp(steps, share, cost),
    )


def recovered(quality: Any, weak: float, strong: float) -> Any:
    """Share of the gap between the models that is recovered. Source: PGR of Ong et al., arXiv 2406.18665, 3.2."""
    return (quality - weak) / (strong - weak)


def apgr(strong_share: Any, quality: Any, weak: float, strong: float) -> float:
    """Mean recovered share over all strong shares, by trapezoids as in RouteLLM's ``evaluate.py``; lots have 0.5."""
    return float(np.trapezoid(recovered(quality, weak, strong), strong_share))


def cpt(strong_share: Any, quality: Any, weak: float, strong: float, level: float) -> float:
    """Least strong share at which ``level`` of the gap is recovered, straight between the steps; 1.0 at worst.

    Source: CPT of Ong et al., arXiv 2406.18665, 3.2.
    """
    found = recovered(quality, weak, strong)
    reached = np.flatnonzero(found >= level)
    if not len(reached) or not reached[0]:
        return 0.0 if len(reached) else 1.0
    after = reached[0]
    before = after - 1
    part = (level - found[before]) / (found[after] - found[before])
    return float(strong_share[before] + part * (strong_share[after] - strong_share[before]))
