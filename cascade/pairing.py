"""Signal family ``pair``: which words may differ, as calibration learned it from labelled pairs.

``pair.logodds``: log-odds that a stored answer is right, from the words that both questions have and
those that one of them lacks, each word with a weight of its own; direction ``+``. What it adds to
``match`` is measured by ``python -m benchmarks cache pairs``; it helps most on topics that are often asked.
Weights on the products and differences of the two vectors found less, needed the embedder, and added
nothing to it. Words are hashed: a lock does not say what was asked.
"""

from __future__ import annotations

from zlib import crc32

from cascade.matching import Reading, read
from cascade.types import Hit, Record

FAMILY = "pair"
BUCKETS = 4096
"""Places that words are hashed to, once as shared and once as missing on one side; collisions cost little."""

FINEST = 127.0
"""Weights are whole numbers up to this, times the record's ``scale``: a byte a weight."""


class Pairing(Record, frozen=True, kw_only=True):
    """A logistic regression on the words of a pair, as it stands in a lock.

    ``weights`` holds 2 x ``BUCKETS`` int8 values: of words that both questions have, then of those that
    one of them lacks. A word's weight is its value times ``scale``.
    """

    weights: bytes
    scale: float
    intercept: float

    def score(self, question: str, stored: str) -> float:
        """Log-odds that the stored question's answer is right for the one asked. ``ValueError`` where
        the weights are not as many as there are places, as in a lock that somebody edited.
        """
        weights = memoryview(self.weights).cast("b")
        if len(weights) != 2 * BUCKETS:
            raise ValueError(f"{len(weights)} weights for {2 * BUCKETS} places")
        return self.intercept + self.scale * sum([weights[place] for place in places(read(question), read(stored))])

    def measure(self, question: str, hit: Hit) -> dict[str, float]:
        """The values of the family ``pair`` for a semantic hit; names without the family."""
        return {"logodds": self.score(question, hit.question)}


def places(one: Reading, other: Reading) -> list[int]:
    """Which of the weights speak: one for each word that occurs, whichever question came first."""
    shared = [_bucket(word) for word in one.distinct & other.distinct]
    return shared + [BUCKETS + _bucket(word) for word in one.distinct ^ other.distinct]


def _bucket(word: str) -> int:
    return crc32(word.encode()) % BUCKETS  # never a lone surrogate: those are no letters
