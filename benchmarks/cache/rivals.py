"""Caches that see the same traffic: what each serves, and what it learns where it does not.

An exact repetition of what was answered before is served by identity in every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.cache.streams import Stream

NEIGHBOURS = 64
BLOCK = 512
MIDDLES = np.linspace(0.30, 1.10, 41)
STEEPNESS = np.array([5.0, 10.0, 20.0, 40.0, 80.0])


class Near:
    """The nearest stored question, exactly; each question's first neighbours are sorted once for all rivals."""

    def __init__(self, vectors: Any) -> None:
        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        some = min(NEIGHBOURS, len(vectors))
        self._first = np.empty((len(vectors), some), dtype=np.int32)
        for start in range(0, len(vectors), BLOCK):
            similar = self.vectors[start : start + BLOCK] @ self.vectors.T
            found = np.argpartition(-similar, some - 1, axis=1)[:, :some]
            order = np.argsort(-np.take_along_axis(similar, found, axis=1), axis=1)
            self._first[start : start + BLOCK] = np.take_along_axis(found, order, axis=1)

    def of(self, asked: int, held: Any) -> int | None:
        """The nearest of the texts that are ``held``, (n,) of bool; None where none is."""
        first = self._first[asked]
        stored = held[first]
        best = int(stored.argmax())
        if stored[best]:
            return int(first[best])
        if not held.any():
            return None
        return int(np.where(held, self.vectors @ self.vectors[asked], -np.inf).argmax())

    def similarity(self, asked: int, found: int) -> float:
        return float(self.vectors[asked] @ self.vectors[found])


class Rival(Protocol):
    """Serves a stored answer or not; told what would have been right wherever the frontier answered.

    ``learn`` says whether the new question becomes an entry that others may be answered from.
    """

    def serves(self, asked: int, found: int) -> bool: ...

    def learn(self, asked: int, found: int, right: bool) -> bool: ...


class Threshold:
    """Serves from a fixed value of a score on; None serves nothing."""

    def __init__(self, score: Callable[[int, int], float], least: float | None) -> None:
        self._score, self._least = score, least

    def serves(self, asked: int, found: int) -> bool:
        return self._least is not None and self._score(asked, found) >= self._least

    def learn(self, asked: int, found: int, right: bool) -> bool:
        return True


class Curves:
    """For each entry a logistic curve of "right" over similarity, learned from what was asked near it.

    The idea is that of vCache (arXiv 2502.03771), the means our own: the posterior over a grid of curves,
    all alike beforehand, in place of a maximum likelihood fit and its normal approximation. An entry is
    explored until the posterior's probability of a wrong answer at the asked similarity is within
    ``level``, which is more generous than a bound would be. A question that was answered like its
    neighbour is no entry of its own: so entries are asked more often.
    """

    def __init__(self, similarity: Callable[[int, int], float], level: float) -> None:
        self._similarity, self._level = similarity, level
        middles, steep = np.meshgrid(MIDDLES, STEEPNESS)
        self._middles, self._steep = middles.ravel(), steep.ravel()
        self._seen: dict[int, Any] = {}

    def serves(self, asked: int, found: int) -> bool:
        if found not in self._seen:
            return False
        logs = self._seen[found]
        weights = np.exp(logs - logs.max())
        wrong = 1.0 / (1.0 + np.exp(self._odds(asked, found)))
        return float(wrong @ weights) <= self._level * float(weights.sum())

    def learn(self, asked: int, found: int, right: bool) -> bool:
        odds = self._odds(asked, found)
        self._seen[found] = self._seen.get(found, 0.0) - np.logaddexp(0.0, -odds if right else odds)
        return not right

    def _odds(self, asked: int, found: int) -> Any:
        return self._steep * (self._similarity(asked, found) - self._middles)


class Tally(NamedTuple):
    """Of the counted requests: how many, served by identity, served as near, and wrongly."""

    requests: int
    exact: int
    near: int
    wrong: int


class Shelf:
    """What is stored: ``known`` by identity, ``held`` to be found by similarity as well; both (n,) of bool.

    Without ``identity`` a repetition is one more near question, of similarity 1.
    """

    def __init__(self, texts: int, *, identity: bool = True) -> None:
        self.identity = identity
        self.known, self.held = np.zeros(texts, dtype=bool), np.zeros(texts, dtype=bool)

    def fill(self, asked: Any) -> Shelf:
        self.known[asked] = self.held[asked] = True
        return self


def replay(traffic: Stream, near: Near, rival: Rival, shelf: Shelf, begin: int, counted: int) -> Tally:
    """Requests from ``begin`` on through one cache; those from ``counted`` on are tallied."""
    exact = served = wrong = 0
    for number, asked in enumerate(traffic.asked[begin:].tolist(), begin):
        counts = number >= counted
        if shelf.identity and shelf.known[asked]:
            exact += counts
            continue
        found = near.of(asked, shelf.held)
        right = found is not None and bool(traffic.needs[asked] == traffic.needs[found])
        if found is not None and rival.serves(asked, found):
            served, wrong = served + counts, wrong + (counts and not right)
            continue
        shelf.known[asked] = True
        shelf.held[asked] = found is None or rival.learn(asked, found, right)
    return Tally(len(traffic.asked) - counted, exact, served, wrong)
