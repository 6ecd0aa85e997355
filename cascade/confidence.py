"""From raw signals to a calibrated probability, at run time: plain numbers, no scikit-learn.

A scorer is a standardised logistic regression exported as numbers: ``score`` is its log-odds, and
thresholds are compared with that. A calibrator turns the score into a probability for people, for
prices and for pre-routing; the promise never depends on it (statistics: only the ranking matters).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Literal

from cascade.types import Confidence, Record, Request, Signals

SLICE_FEATURE = "slice:"
"""A feature named ``slice:NAME`` is 1.0 for requests of that slice and 0.0 for all others."""


class Calibrator(Record, frozen=True, kw_only=True):
    """Score to probability.

    ``identity``: the logistic function of the score. ``platt``: of ``a * score + b``.
    ``isotonic``: the step function through ``knots`` (ascending scores) with ``values``.
    """

    kind: Literal["identity", "platt", "isotonic"] = "identity"
    a: float = 1.0
    b: float = 0.0
    knots: list[float] = []
    values: list[float] = []

    def probability(self, score: float) -> float:
        """Calibrated probability in [0, 1] of a raw score."""
        if self.kind == "isotonic":
            return self.values[max(bisect_right(self.knots, score) - 1, 0)]
        return logistic(self.a * score + self.b)


class Scorer(Record, frozen=True, kw_only=True):
    """One logistic regression for one tier and one signal set, as plain numbers.

    All lists have the length of ``features``; ``score`` is
    ``intercept + sum(weight * (value - mean) / scale)``, in log-odds.
    """

    id: str
    tier: str
    signal_set: str
    features: list[str]
    means: list[float]
    scales: list[float]
    weights: list[float]
    intercept: float
    calibrator: Calibrator = Calibrator()

    def score(self, signals: Signals, slice_name: str) -> float | None:
        """Log-odds that the draft is acceptable; None where a signal it needs is missing.

        Nothing is imputed: a missing value is no evidence in either direction.
        """
        values = signals.values
        total = self.intercept
        for name, mean, scale, weight in zip(self.features, self.means, self.scales, self.weights, strict=True):
            value = values.get(name)
            if value is None:
                if not name.startswith(SLICE_FEATURE):
                    return None
                value = 1.0 if name == SLICE_FEATURE + slice_name else 0.0
            total += weight * (value - mean) / scale
        return total if math.isfinite(total) else None

    def confidence(self, signals: Signals, slice_name: str) -> Confidence | None:
        """Score and calibrated probability with where they came from; None as for ``score``."""
        score = self.score(signals, slice_name)
        if score is None:
            return None
        return Confidence(
            probability=self.calibrator.probability(score),
            score=score,
            signal_set=self.signal_set,
            scorer=self.id,
        )


class Scout(Record, frozen=True, kw_only=True):
    """Before the call: the chance that a tier's draft would be accepted, from the question alone.

    ``break_even`` is the chance under which asking costs more than it saves, from the mean costs
    of the rows that fitted it.
    """

    tier: str
    scorer: Scorer
    break_even: float

    def hopeless(self, request: Request, slice_name: str) -> bool:
        """Is the predicted chance under the break-even?"""
        found = self.scorer.confidence(question_signals(request), slice_name)
        return found is not None and found.probability < self.break_even


def question_signals(request: Request) -> Signals:
    """What can be measured before any call: family ``question``.

    ``question.length``: log(1 + characters of the last user turn). ``question.digits``: share of
    its characters that are digits. ``question.turns``: messages of the conversation.
    """
    text = request.question
    digits = sum(map(text.count, "0123456789"))
    values = {
        "question.length": math.log1p(len(text)),
        "question.digits": digits / max(len(text), 1),
        "question.turns": float(len(request.messages)),
    }
    return Signals(values=values, families=("question",))


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow at either end."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)
