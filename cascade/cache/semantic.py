"""Nearest neighbours of a question, searched only where everything else is identical.

Plain numpy: sign bits choose, full rows decide. Graphs (faiss HNSW, usearch) answer faster still at 100,000
and are many times slower to fill, which every insert pays, and one more compiled dependency; comparing with
every row, in numpy or in faiss, is what they all are measured against.

Recall is that of questions with something like them in the store. Where nothing is near, all rows are about
equally far, and the nearest one is often missed for one that is hardly less similar. ``python -m benchmarks
cache speed`` measures both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cascade.cache.shelf import HOLE, Shelf, Vector


class SemanticIndex:
    """Cosine search over unit vectors in memory, a shelf for each context.

    Ids are those of the store, and never used twice; all vectors have ``dimensions`` values.
    ``nearest`` may be called by any thread at any time; the owner serialises everything else, and
    holds what ``nearest`` found against ``vector``, since the row may have changed meanwhile.
    """

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._shelves: dict[bytes, Shelf] = {}
        # Two dicts rather than one of pairs, which the garbage collector would visit one by one.
        self._shelf_of: dict[int, Shelf] = {}
        self._slot_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, id: int) -> bool:
        return id in self._slot_of

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._slot_of))

    def add(self, context: bytes, id: int, vector: Vector) -> None:
        """Let ``id`` be found near a unit vector of shape (d,); one that is there already stays as it is.

        Raises ValueError for a vector of another length.
        """
        if vector.shape != (self._dimensions,):
            raise ValueError(f"a vector of shape {vector.shape} among those of {self._dimensions} dimensions")
        self.fill([context], [id], vector[None])

    def fill(self, contexts: list[bytes], ids: list[int], rows: Vector) -> None:
        """Add many at once: ``rows`` has shape (n, d)."""
        by_context: dict[bytes, list[int]] = {}
        for i, (context, id) in enumerate(zip(contexts, ids, strict=True)):
            if id not in self._slot_of:
                by_context.setdefault(context, []).append(i)
        numbers = np.array(ids, np.int64)
        for context, chosen in by_context.items():
            shelf = self._shelves.get(context) or Shelf(context, self._dimensions)
            slots = shelf.add(numbers[chosen], rows[chosen])
            self._shelves[context] = shelf  # after it has rows: others may be looking
            added = [ids[i] for i in chosen]
            self._shelf_of.update(dict.fromkeys(added, shelf))
            self._slot_of.update(zip(added, slots, strict=True))

    def nearest(self, context: bytes, vector: Vector) -> tuple[int, float] | None:
        """The nearest id within ``context`` and its cosine similarity, or None if there is none."""
        shelf = self._shelves.get(context)
        if shelf is None:
            return None
        id, similarity = shelf.nearest(vector)
        return None if id == HOLE else (id, similarity)

    def vector(self, id: int) -> Vector | None:
        """A copy of the vector under ``id``, if it is there."""
        slot = self._slot_of.get(id)
        return None if slot is None else self._shelf_of[id].vector(slot)

    def remove(self, id: int) -> None:
        """Forget ``id``, if it is there."""
        slot = self._slot_of.pop(id, None)
        if slot is None:
            return
        shelf = self._shelf_of.pop(id)
        shelf.remove(slot)
        if not len(shelf):
            del self._shelves[shelf.context]

    def clear(self) -> None:
        """Forget everything."""
        self._shelves.clear()
        self._shelf_of.clear()
        self._slot_of.clear()


def unit(vector: npt.ArrayLike) -> Vector:
    """The direction of a vector of shape (d,). Raises ValueError where it has none."""
    row = np.asarray(vector, np.float32)
    length = float(np.linalg.norm(row)) if row.ndim == 1 else 0.0
    if not 0.0 < length < float("inf"):
        raise ValueError("a vector must be one-dimensional, finite and not zero")
    return row / np.float32(length)


def pair(asked: Vector, stored: Vector) -> Vector:
    """Both vectors, shape (2, d)."""
    return np.stack((asked, stored))
