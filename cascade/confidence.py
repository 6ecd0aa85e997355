"""From raw signals to a calibrated probability, at run time: plain numbers, no scikit-learn.

A scorer gives a draft a ``score``, which thresholds are compared with, and the log-odds that it is
acceptable, which a calibrator turns into a probability for people, for prices and for pre-routing.
The promise never depends on that probability (statistics: only the ranking matters).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from operator import mul
from struct import pack, unpack
from typing import Literal

from cascade.types import Confidence, Record, Request, Signals

SLICE_FEATURE = "slice:"
"""A feature named ``slice:NAME`` is 1.0 for requests of that slice and 0.0 for all others."""

LOGIT_FEATURE = "logit:"
"""``logit:SIGNAL`` stretches the ends of a signal in [0, 1], where most of its news is."""

CROSSED = "*"
"""``slice:NAME*SIGNAL`` is the signal in that slice and 0.0 in all others."""

SMOOTHED = 0.005
"""Keeps the logit of 0 and of 1 finite: half a per cent is added to both sides."""


class Calibrator(Record, frozen=True, kw_only=True):
    """Log-odds to probability.

    ``identity``: their logistic function. ``platt``: of ``a * x + b``. ``beta``: of
    ``a * log p - b * log(1 - p) + c`` with p the logistic function of x (Kull et al. 2017).
    ``isotonic``: the step function through ``knots`` (ascending log-odds) with ``values``.
    """

    kind: Literal["identity", "platt", "beta", "isotonic"] = "identity"
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    knots: list[float] = []
    values: list[float] = []

    def probability(self, logodds: float) -> float:
        """Calibrated probability in [0, 1] of raw log-odds."""
        if self.kind == "isotonic":
            return self.values[max(bisect_right(self.knots, logodds) - 1, 0)]
        if self.kind == "beta":
            return logistic(-self.a * softplus(-logodds) + self.b * softplus(logodds) + self.c)
        return logistic(self.a * logodds + self.b)


class Gain(Record, frozen=True, kw_only=True):
    """Multinomial logistic regression of the pair: is the last tier's answer better, worse, or as good?

    Log-odds against "as good", over the scorer's standardised features: ``loses`` that the draft is
    the worse answer, ``wins`` that it is the better one.
    """

    loses: list[float]
    loses_intercept: float
    wins: list[float]
    wins_intercept: float

    def expected(self, x: list[float]) -> float:
        """Expected quality of the draft less that of the last tier's answer, in (-1, 1)."""
        loses = math.exp(min(self.loses_intercept + dot(self.loses, x), 500.0))
        wins = math.exp(min(self.wins_intercept + dot(self.wins, x), 500.0))
        return (wins - loses) / (1.0 + wins + loses)


class Price(Record, frozen=True, kw_only=True):
    """What the last tier's answer will cost, relative to its mean, from what is known before it.

    exp(``intercept`` + sum of ``weights`` times the named signals, which are lengths).
    """

    features: list[str]
    weights: list[float]
    intercept: float

    def predicted(self, values: Mapping[str, float]) -> float | None:
        """Positive; None where a length is missing."""
        total = self.intercept
        for name, weight in zip(self.features, self.weights, strict=True):
            value = values.get(name)
            if value is None:
                return None
            total += weight * value
        return math.exp(min(max(total, -50.0), 50.0))


class Trees(Record, frozen=True, kw_only=True):
    """Gradient-boosted trees over raw features, as arrays; node i of tree t stands at ``[t][i]``.

    A leaf has feature -1. A value goes left when it is at most ``thresholds``; both are single
    precision, as where they were fitted.
    """

    intercept: float
    features: list[list[int]]
    thresholds: list[list[float]]
    left: list[list[int]]
    right: list[list[int]]
    values: list[list[float]]

    def logodds(self, x: list[float]) -> float:
        """Sum over all trees of the leaf that ``x`` falls into."""
        single = unpack(f"{len(x)}f", pack(f"{len(x)}f", *x))
        total = self.intercept
        for feature, threshold, left, right, value in zip(
            self.features, self.thresholds, self.left, self.right, self.values, strict=True
        ):
            node = 0
            while (index := feature[node]) >= 0:
                node = left[node] if single[index] <= threshold[node] else right[node]
            total += value[node]
        return total


class Reading:
    """How the features of one scorer are read from the signals of drafts of one slice.

    Each feature becomes ``weight * (value - mean) / scale``. Whatever depends on the slice alone is
    worked out here once: most features of a scorer that knows many slices are 0.0 in any one of them.
    ``ValueError`` where the lists differ in length.
    """

    __slots__ = ("_logits", "_needed", "_signals", "_still")

    def __init__(self, scorer: Scorer, weights: list[float], slice_name: str | None) -> None:
        self._still: list[float] = []
        self._signals: list[tuple[int, str, float, float, float]] = []
        self._logits: list[tuple[int, str, float, float, float]] = []
        needed: dict[str, None] = {}
        columns = zip(scorer.features, scorer.means, scorer.scales, weights, strict=True)
        for place, (name, mean, scale, weight) in enumerate(columns):
            of_slices = name.startswith(SLICE_FEATURE)
            crossed = of_slices and CROSSED in name
            signal = name.partition(CROSSED)[2] if crossed else name
            bare = signal.removeprefix(LOGIT_FEATURE)
            here = of_slices and _place(name) == slice_name
            self._still.append(weight * (float(here and not crossed) - mean) / scale)
            if crossed and not here:
                needed[bare] = None
            elif crossed or not of_slices:
                (self._signals if bare == signal else self._logits).append((place, bare, mean, scale, weight))
        self._needed = tuple(needed)

    def read(self, values: Mapping[str, float]) -> list[float] | None:
        """The features in their order; None where a signal is missing, be it one that counts for nothing here."""
        found = self._still.copy()
        try:
            for place, name, mean, scale, weight in self._signals:
                found[place] = weight * (values[name] - mean) / scale
            for place, name, mean, scale, weight in self._logits:
                found[place] = weight * (logit(values[name]) - mean) / scale
            for name in self._needed:
                values[name]
        except KeyError:
            return None
        return found


class Scorer(Record, frozen=True, kw_only=True, dict=True):
    """What one tier's drafts with one signal set are scored by, as plain numbers.

    All lists have the length of ``features``. The log-odds that a draft is acceptable are
    ``intercept + sum(weight * (value - mean) / scale)``, or the sum of ``trees`` where boosting won.
    The score is those log-odds; with ``gain`` the expected quality difference to the last tier,
    divided by the last tier's predicted ``price`` where there is one.
    """

    id: str
    tier: str
    signal_set: str
    features: list[str]
    means: list[float]
    scales: list[float]
    weights: list[float]
    intercept: float
    trees: Trees | None = None
    gain: Gain | None = None
    price: Price | None = None
    calibrator: Calibrator = Calibrator()

    def score(self, signals: Signals, slice_name: str) -> float | None:
        """What the threshold is compared with; None where a signal it needs is missing.

        Nothing is imputed: a missing value is no evidence in either direction.
        """
        found = self._scored(signals.values, slice_name)
        return None if found is None else found[0]

    def confidence(self, signals: Signals, slice_name: str) -> Confidence | None:
        """Score and calibrated probability with where they came from; None as for ``score``."""
        found = self._scored(signals.values, slice_name)
        if found is None:
            return None
        return Confidence(
            probability=self.calibrator.probability(found[1]),
            score=found[0],
            signal_set=self.signal_set,
            scorer=self.id,
        )

    def _read(self, values: Mapping[str, float], slice_name: str) -> list[float] | None:
        """The features, less their means, over their scales, and in a regression times their weights."""
        if not self._derived.isdisjoint(values):
            return self._named_outright(values, slice_name)
        readings = self._readings
        return (readings.get(slice_name) or readings[None]).read(values)

    def _named_outright(self, values: Mapping[str, float], slice_name: str) -> list[float] | None:
        """The same where derived features stand among the signals: what is named counts as it is."""
        found: list[float] = []
        for name, mean, scale, weight in zip(self.features, self.means, self.scales, self._factors, strict=True):
            value = values.get(name)
            if value is None and (value := derived(name, values, slice_name)) is None:
                return None
            found.append(weight * (value - mean) / scale)
        return found

    @property
    def _regression(self) -> bool:
        return self.gain is None and self.trees is None

    @property
    def _factors(self) -> list[float]:
        return self.weights if self._regression else [1.0] * len(self.features)

    @cached_property
    def _readings(self) -> dict[str | None, Reading]:
        """How the features are read: for each slice that some feature names, and under None for all others."""
        named = {_place(name) for name in self.features if name.startswith(SLICE_FEATURE)}
        return {place: Reading(self, self._factors, place) for place in (None, *sorted(named))}

    @cached_property
    def _derived(self) -> frozenset[str]:
        return frozenset(name for name in self.features if name.startswith((SLICE_FEATURE, LOGIT_FEATURE)))

    def _scored(self, values: Mapping[str, float], slice_name: str) -> tuple[float, float] | None:
        """Score and raw log-odds. The plain regression is one loop: it is what most requests wait for."""
        x = self._read(values, slice_name)
        if x is None:
            return None
        if self.gain is None and self.trees is None:
            logodds = self.intercept
            for term in x:  # not sum(), which rounds otherwise from Python 3.12 on
                logodds += term
            score = logodds
        else:
            logodds = self.intercept + dot(self.weights, x) if self.trees is None else self.trees.logodds(x)
            score = logodds if self.gain is None else self.gain.expected(x)
        if self.price is not None:
            price = self.price.predicted(values)
            if price is None:
                return None
            score /= price
        return (score, logodds) if math.isfinite(score) else None


def _place(feature: str) -> str:
    """The slice that a feature of slices names."""
    return feature.removeprefix(SLICE_FEATURE).partition(CROSSED)[0]


def derived(name: str, values: Mapping[str, float], slice_name: str) -> float | None:
    """A feature made of signals and the slice, by its name; None where its signal is missing."""
    if name.startswith(SLICE_FEATURE):
        if CROSSED not in name:
            return 1.0 if name == SLICE_FEATURE + slice_name else 0.0
        place, _, signal = name.removeprefix(SLICE_FEATURE).partition(CROSSED)
        value = values.get(signal) if signal in values else derived(signal, values, slice_name)
        return None if value is None else value * (place == slice_name)
    if name.startswith(LOGIT_FEATURE):
        value = values.get(name.removeprefix(LOGIT_FEATURE))
        return None if value is None else logit(value)
    return None


def logit(p: float) -> float:
    """Log-odds of a share in [0, 1], kept finite at both ends; see ``SMOOTHED``."""
    p = min(max(p, 0.0), 1.0)
    return math.log((p + SMOOTHED) / (1.0 - p + SMOOTHED))


def dot(weights: list[float], x: list[float]) -> float:
    """Sum of products; ``ValueError`` where the lengths differ, as in a lock that somebody edited."""
    if len(weights) != len(x):
        raise ValueError(f"{len(weights)} weights for {len(x)} features")
    return float(sum(map(mul, weights, x)))


class Scout(Record, frozen=True, kw_only=True):
    """Before the call: the chance that a tier's draft would be accepted, from the question alone.

    That of the cache speaks of the check of a stored answer, from the answer's free signals.
    ``break_even`` is the chance under which asking costs more than it saves, from the mean costs
    of the rows that fitted it.
    """

    tier: str
    scorer: Scorer
    break_even: float

    def hopeless(self, signals: Signals, slice_name: str) -> bool:
        """Is the chance, predicted from the question's signals, under the break-even?"""
        found = self.scorer.confidence(signals, slice_name)
        return found is not None and found.probability < self.break_even

    def promising(self, signals: Signals, slice_name: str) -> bool:
        """Does the chance, predicted from these signals, reach the break-even? Not where one is missing."""
        found = self.scorer.confidence(signals, slice_name)
        return found is not None and found.probability >= self.break_even


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


def softplus(x: float) -> float:
    """log(1 + exp(x)) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
