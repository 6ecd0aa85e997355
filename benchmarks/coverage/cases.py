"""What is simulated: populations, targets, numbers of rows, and the methods that each is put to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.coverage import methods
from benchmarks.coverage.methods import Labelled, Method, Rows
from cascade.learning.drawn import thinned
from cascade.policy import Target
from cascade.simulate import (
    GRADED_PAIRS,
    LADDER,
    OVERCONFIDENT,
    PAIRED,
    TIED,
    TYPICAL,
    WEAK,
    Judge,
    Population,
)

DELTA = 0.05


class Way(NamedTuple):
    """A method, its name in the table, and whether it promises anything."""

    name: str
    method: Method
    promises: bool = True


class Case(NamedTuple):
    """One setting. ``n`` rows of each population; several are slices, each certified at its share of delta.

    With a ``judge`` labels are its verdicts, and the promise is about them. ``labelled`` are the
    chances that a row gets its label, at a score under 3 and from there on.
    """

    name: str
    populations: tuple[Population, ...]
    target: Target
    n: int
    ways: tuple[Way, ...]
    judge: Judge | None = None
    labelled: tuple[float, float] | None = None

    def draw(self, population: Population, random: np.random.Generator, name: str) -> Rows:
        """Rows of one repetition, labelled as the case says."""
        fit, _ = self._labelled(population, random, f"{name}f")
        certify, raw = self._labelled(population, random, f"{name}c")
        return Rows(fit, certify, raw)

    def _labelled(self, population: Population, random: np.random.Generator, name: str) -> tuple[Labelled, Labelled]:
        scores, quality = population.draw(self.n, random)
        if self.judge is not None:
            quality = self.judge.verdicts(quality, random)
        if self.labelled is None:
            return (scores, quality), (scores, quality)
        below, above = self.labelled
        chance = np.where(scores[0] >= 3.0, above, below)
        seen = np.flatnonzero(random.random(self.n) < chance)
        kept = seen[thinned(chance[seen].tolist(), [f"{name}{i}" for i in seen])]
        return (scores[:, kept], quality[:, kept]), (scores[:, seen], quality[:, seen])


NAIVE = Way("naive: empirical threshold", methods.naive, promises=False)
OURS = Way("ours, fit set of n", methods.ours)
ERROR = (
    NAIVE,
    Way("textbook: strictest first", methods.strictest_first),
    OURS,
    Way("ours, 40/60 split of n", methods.ours_split),
    Way("ours, no fit set", methods.ours_without_fit),
)
REGRET = (
    NAIVE,
    Way("exact binomial, losses alone", methods.binomial),
    Way("ours: exact paired, fit set of n", methods.ours),
    Way("betting", methods.betting),
)


def cases() -> list[Case]:
    """All of them, in the order of the table."""
    made = [
        Case(population.name, (population,), Target(max_error=0.05), n, ERROR)
        for population in (TYPICAL, WEAK, OVERCONFIDENT)
        for n in (300, 1000, 5000)
    ]
    made += [
        Case(PAIRED.name, (PAIRED,), Target(max_regret=level), n, REGRET)
        for level in (0.01, 0.02)
        for n in (300, 1000, 3000)
    ]
    graded = (NAIVE, Way("ours: betting, fit set of n", methods.ours))
    five = (TYPICAL, WEAK, OVERCONFIDENT, PAIRED, TIED)
    judge = Judge(catches=0.9, passes=0.99)
    chosen = (NAIVE, OURS, Way("the same rows, not thinned", methods.unthinned, promises=False))
    return [
        *made,
        Case(GRADED_PAIRS.name, (GRADED_PAIRS,), Target(max_regret=0.02), 1000, graded),
        Case(LADDER.name, (LADDER,), Target(max_error=0.05), 1000, (NAIVE, OURS)),
        Case("five slices, each at delta/5", five, Target(max_error=0.05), 1000, (NAIVE, OURS)),
        Case(TIED.name, (TIED,), Target(max_error=0.05), 1000, ERROR),
        Case("A, judged, labels drawn unevenly", (TYPICAL,), Target(max_error=0.05), 20_000, chosen, judge, (0.1, 0.4)),
    ]


def accept(case: Case, place: int, threshold: float | None) -> tuple[float, float]:
    """True share served and true risk of the threshold found for one population of a case."""
    if threshold is None:
        return 0.0, 0.0
    law = case.populations[place].law(case.judge)
    return float(law.served(threshold)), float(law.risk(threshold, case.target.kind))


def oracle(case: Case) -> float:
    """What could be served if the risk were known: the mean over the case's populations."""
    found: Any = [p.law(case.judge).oracle(case.target.kind, case.target.level) for p in case.populations]
    return float(np.mean(found))
