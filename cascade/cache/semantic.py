"""Nearest neighbours of a question, searched only where everything else is identical."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cascade.cache.stored import Near
from cascade.embedding import Embedder

Vector = npt.NDArray[np.float32]


class SemanticIndex:
    """Exact search over unit vectors in memory, a matrix for each context.

    ``limit`` is the most vectors that it holds; beyond, the first that came goes first. Exact
    rather than a graph: below 100,000 vectors a scan is as fast end to end, and an insert is free.
    Not thread-safe: the owner serialises calls.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._shelves: dict[str, _Shelf] = {}
        self._context_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._context_of)

    def add(self, context: str, key: str, vector: npt.ArrayLike) -> None:
        """Let ``key`` be found near ``vector``, of shape (d,), instead of where it was before.

        Raises ValueError for a vector that has no direction or another d than its context's.
        """
        row = unit(vector)
        self.remove(key)
        shelf = self._shelves.setdefault(context, _Shelf(row.size))
        shelf.add(key, row)
        self._context_of[key] = context
        while len(self) > self._limit:
            self.remove(next(iter(self._context_of)))

    def nearest(self, context: str, vector: npt.ArrayLike) -> tuple[str, float] | None:
        """The nearest key within ``context`` and its cosine similarity, or None if there is none.

        Raises ValueError as ``add`` does.
        """
        shelf = self._shelves.get(context)
        return shelf.nearest(unit(vector)) if shelf else None

    def remove(self, key: str) -> None:
        """Forget ``key``, if it is there."""
        context = self._context_of.pop(key, None)
        if context is None:
            return
        self._shelves[context].remove(key)
        if not self._shelves[context].keys:
            del self._shelves[context]


class _Shelf:
    """The vectors of one context: rows of a matrix that doubles when it is full."""

    def __init__(self, dimensions: int) -> None:
        self.keys: list[str] = []
        self._slots: dict[str, int] = {}
        self._rows = np.empty((1, dimensions), np.float32)

    def add(self, key: str, row: Vector) -> None:
        count = len(self.keys)
        if count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[count] = row  # raises for another d, before anything is noted
        self._slots[key] = count
        self.keys.append(key)

    def remove(self, key: str) -> None:
        slot, last = self._slots.pop(key), self.keys.pop()
        if last != key:  # the last row moves into the gap
            self.keys[slot], self._slots[last] = last, slot
            self._rows[slot] = self._rows[len(self.keys)]

    def nearest(self, row: Vector) -> tuple[str, float]:
        similarities = self._rows[: len(self.keys)] @ row
        best = int(similarities.argmax())
        return self.keys[best], float(similarities[best])


class Neighbours:
    """A semantic index with the embedder that fills it and the similarity from which it answers."""

    def __init__(self, embedder: Embedder, threshold: float, size_limit: int) -> None:
        self._embedder = embedder
        self._threshold = threshold
        # As many bytes of vectors as of answers, so that one number bounds both.
        self._index = SemanticIndex(limit=size_limit // (4 * embedder.dimensions))

    @property
    def embedder(self) -> str:
        """Name of the embedder."""
        return self._embedder.name

    def place(self, context: str, question: str) -> Near:
        """Where the question lies.

        Raises whatever the embedder raises, and ValueError for what is no vector of its dimensions.
        """
        vector = unit(self._embedder.embed([question])[0])
        if vector.size != self._embedder.dimensions:
            raise ValueError(f"{self.embedder} says {self._embedder.dimensions} dimensions, gave {vector.size}")
        return Near(embedder=self.embedder, context=context, vector=vector.tobytes())

    def add(self, key: str, near: Near) -> None:
        """Let ``key`` be found; vectors of another embedder, or of other dimensions, are left out."""
        if near.embedder == self.embedder and len(near.vector) == 4 * self._embedder.dimensions:
            self._index.add(near.context, key, _vector(near))

    def nearest(self, near: Near) -> tuple[str, float] | None:
        """The nearest key and its similarity, where that reaches the threshold."""
        found = self._index.nearest(near.context, _vector(near))
        return found if found is not None and found[1] >= self._threshold else None

    def remove(self, key: str) -> None:
        """Forget ``key``, if it is there."""
        self._index.remove(key)


def _vector(near: Near) -> Any:
    return np.frombuffer(near.vector, np.float32)


def unit(vector: npt.ArrayLike) -> Vector:
    """The direction of a vector of shape (d,). Raises ValueError where it has none."""
    row = np.asarray(vector, np.float32)
    length = float(np.linalg.norm(row)) if row.ndim == 1 else 0.0
    if not 0.0 < length < float("inf"):
        raise ValueError("a vector must be one-dimensional, finite and not zero")
    return row / np.float32(length)
