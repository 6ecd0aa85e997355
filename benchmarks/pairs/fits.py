"""Every kind of score for one pair, which of them the contest picks, and what a threshold then serves.

The contest's own parts are called one by one, since its public face tells of the winner alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.coverage.methods import EXACT
from benchmarks.pairs.pairs import Pair
from cascade.learning.contest import _entry
from cascade.learning.continued import reach
from cascade.learning.features import places_of, refused
from cascade.learning.rows import Rows
from cascade.learning.scores import scores_of
from cascade.learning.threshold import certified
from cascade.policy import Target

DELTA = 0.05


class Scored(NamedTuple):
    """Rows under one score: scores (n,), minus infinity where it has none, qualities and costs (2, n)."""

    scores: Any
    quality: Any
    cost: Any

    def take(self, places: Any) -> Scored:
        return Scored(self.scores[places], self.quality[:, places], self.cost[:, places])

    def labelled(self) -> tuple[Any, Any]:
        return self.scores[None, :], self.quality

    def outcome(self, threshold: float | None, kind: str) -> dict[str, float]:
        """Share served, risk, and saving against always asking the frontier, of serving from here on."""
        if threshold is None:
            return {"served": 0.0, "risk": 0.0, "saving": 0.0}
        served = self.scores >= threshold
        lost = np.where(served, self.quality[1] - self.quality[0], 0.0).mean()
        wrong = (1.0 - self.quality[0])[served].mean() if served.any() else 0.0
        frontier = self.cost[1].sum()
        saving = (self.cost[1, served].sum() - self.cost[0].sum()) / frontier
        return {
            "served": float(served.mean()),
            "risk": float(wrong if kind == "error" else lost),
            "saving": float(saving),
        }


class Kinds:
    """All kinds of score, fitted to the same rows as calibration would; ``certifying`` rows will test them."""

    def __init__(self, pair: Pair, fit: Rows, certifying: int) -> None:
        self._fit, self._certifying = fit, certifying
        policy = self._policy = pair.policy(max_regret=0.01)
        self._places = places_of(fit, 0, "+".join(sorted(pair.signals)))
        out = {found.signal for found in refused(fit, self._places, 0, pair.cheap)}
        entry = _entry(fit, self._places, 0, policy, out, DELTA, certifying)
        self.fitted = entry.fitted
        self.base = "boosting" if entry.fitted["right"].scorer.trees is not None else "regression"

    def won(self, target: Target) -> str:
        """The kind that the contest picks for a target."""
        kinds = self.fitted if target.kind == "regret" else {"right": self.fitted["right"]}
        quality, cost = self._fit.quality[:, self._places], self._fit.cost[:, self._places]
        worth = {
            kind: reach(found.scores[None, :], quality, cost, target, DELTA, self._certifying).saving
            for kind, found in kinds.items()
        }
        return max(worth, key=worth.__getitem__)

    def fit_rows(self, kind: str) -> Scored:
        """The fit rows under out-of-fold scores."""
        scores = np.full(len(self._fit), -np.inf)
        scores[self._places] = self.fitted[kind].scores
        return Scored(scores, self._fit.quality, self._fit.cost)

    def score(self, kind: str, rows: Rows) -> Scored:
        """Other rows as serving would score them."""
        scores = scores_of(rows, [self.fitted[kind].scorer], [], [], self._policy)[0]
        return Scored(scores, rows.quality, rows.cost)

    def threshold(self, kind: str, certify: Scored, target: Target) -> float | None:
        """What calibration would certify on these rows."""
        fit = self.fit_rows(kind).labelled()
        return certified(fit, certify.labelled(), target, DELTA, sweep=EXACT)
