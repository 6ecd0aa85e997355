"""Scores for pairs, fitted as calibration fits them, and what a certified threshold on each lets through.

The contest's own part that picks the scorer is called by itself, since its public face reads the policy's sets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from benchmarks.cache.traffic import Part
from cascade.learning.contest import _base
from cascade.learning.features import refused
from cascade.learning.pairing import fit_pairing
from cascade.learning.rows import Rows, read_rows
from cascade.learning.threshold import certified
from cascade.matching import FAMILY as MATCH
from cascade.matching import measure
from cascade.pairing import FAMILY as PAIR
from cascade.pairing import Pairing
from cascade.policy import Policy, Target
from cascade.policyfile import parse_policy
from cascade.signals import extend
from cascade.types import CACHE, Draft, Hit, ModelOutcome, Outcome

DELTA = 0.05
LEVELS = (0.02, 0.05, 0.10, 0.20)
COSINE, MATCHED, PAIRED = "cosine", "match", "match and pair"
SCORES = (COSINE, MATCHED, PAIRED)
SIMILARITY = f"{MATCH}.similarity"


def policy(slices: tuple[str, ...]) -> Policy:
    """A frontier and a semantic cache before it."""
    tiers = [{"name": "frontier", "model": "frontier", "price": {"input": 1.0, "output": 1.0}}]
    made = {"name": "pairs", "target": {"max_error": 0.1}, "tiers": tiers, "slices": {name: {} for name in slices}}
    return parse_policy(made | {"cache": {"semantic": True}, "preroute": {"enabled": False}})


def rows_of(part: Part, similarities: Any, slices: list[str]) -> Rows:
    """The pairs as labelled outcomes of the cache, read as calibration reads them."""
    outcomes = [
        Outcome(
            id=f"{place:07}", slice=name, query=asked, propensity=1.0,
            models={CACHE: _stored(asked, stored, similarity, right), "frontier": ModelOutcome(correct=1, cost=1.0)},
        )
        for place, ((asked, stored), right, similarity, name) in enumerate(
            zip(part.pairs, part.right, similarities.tolist(), slices, strict=True)
        )
    ]  # fmt: skip
    return read_rows(outcomes, policy(tuple(sorted(set(slices)))))[0]


def _stored(asked: str, stored: str, similarity: float, right: bool) -> ModelOutcome:
    draft = Draft(tier=CACHE, model="")
    hit = Hit(key="", draft=draft, kind="semantic", similarity=similarity, question=stored)
    signals = {f"{MATCH}.{name}": value for name, value in measure(asked, hit).items()}
    return ModelOutcome(
        answer="kept", question=stored, correct=int(right), cost=0.0, signals=signals, families=[MATCH],
        finish_reason="stop",
    )  # fmt: skip


class Scored(NamedTuple):
    """One score of rows, (n,), and the qualities of the stored answers and of the frontier's, (2, n)."""

    scores: Any
    quality: Any

    def of(self, places: Any) -> Scored:
        return Scored(self.scores[places], self.quality[:, places])

    def labelled(self) -> tuple[Any, Any]:
        return self.scores[None, :], self.quality


class Fits:
    """Every score, fitted to the same rows as calibration would fit it."""

    def __init__(self, part: Part, rows: Rows) -> None:
        self._pairing, logodds = _pairing(part)
        self._rows = {COSINE: rows, MATCHED: rows, PAIRED: _extended(rows, logodds)}
        self.fitted = {name: _fitted(self._rows[name]) for name in (MATCHED, PAIRED)}

    @property
    def kind(self) -> str:
        """What kind of scorer won, for the score with everything."""
        return "regression" if self.fitted[PAIRED].scorer.trees is None else "boosting"

    def own(self, name: str) -> Scored:
        """The fit rows under a score, out of fold."""
        scores = _similarities(self._rows[name]) if name == COSINE else self.fitted[name].scores
        return Scored(scores, self._rows[name].quality)

    def score(self, name: str, part: Part, rows: Rows) -> Scored:
        """Other rows as serving would score them."""
        if name == COSINE:
            return Scored(_similarities(rows), rows.quality)
        if name == PAIRED and self._pairing is not None:
            rows = _extended(rows, [self._pairing.score(*pair) for pair in part.pairs])
        scorer = self.fitted[name].scorer
        scores = [scorer.score(found[0], where) for found, where in zip(rows.signals, rows.slices, strict=True)]
        return Scored(np.array(scores, dtype=float), rows.quality)


def _pairing(part: Part) -> tuple[Pairing | None, Any]:
    found = fit_pairing(part.pairs, part.right, np.ones(len(part.right)))
    return (None, None) if found is None else found


def _extended(rows: Rows, logodds: Any) -> Rows:
    if logodds is None:
        return rows
    made = [[extend(found[0], PAIR, {"logodds": value})] for found, value in zip(rows.signals, logodds, strict=True)]
    return replace(rows, signals=made)


def _fitted(rows: Rows) -> Any:
    places = list(range(len(rows)))
    out = {one.signal for one in refused(rows, places, 0, CACHE)}
    return _base(rows, places, 0, CACHE, out, rows.quality[0] > 0, np.ones(len(rows)))[1]


def _similarities(rows: Rows) -> Any:
    return np.array([found[0].values[SIMILARITY] for found in rows.signals])


def threshold(fit: Scored, certify: Scored, level: float, delta: float = DELTA) -> float | None:
    """What calibration would certify."""
    return certified(fit.labelled(), certify.labelled(), Target(max_error=level), delta)


def outcome(found: Scored, least: float | None) -> dict[str, float]:
    """Of rows that no step has seen: share served, share of the right answers found, share of wrong among served."""
    served = found.scores >= least if least is not None else np.zeros(len(found.scores), dtype=bool)
    right = found.quality[0] > 0
    wrong = float((~right)[served].mean()) if served.any() else float("nan")
    return {"hits": float(served.mean()), "recall": float(right[served].sum() / right.sum()), "wrong": wrong}
