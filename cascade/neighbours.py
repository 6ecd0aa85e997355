"""Signal family ``neighbours``: how did this tier do on the labelled questions nearest to this one?

The reference questions are frozen into the lock with the scorer that reads them: a set that grew
while serving would change what a certified score means. Vectors are kept as int8, 256 bytes a
question, which moves a cosine similarity by less than 0.01.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FAMILY = "neighbours"
LEAST_NEIGHBOURS = 5
SCALE = 127.0


class Neighbours(Record, frozen=True, kw_only=True):
    """Labelled questions of one tier, as they stand in a lock.

    ``vectors`` holds n x ``dimensions`` int8 values, row by row; ``failed`` one byte a row, 1 where
    the tier's answer was unacceptable. ``k`` is how many neighbours vote.
    """

    tier: str
    embedder: str
    dimensions: int
    k: int
    vectors: bytes
    failed: bytes


class Nearby:
    """Labelled questions unpacked for look-ups."""

    def __init__(self, record: Neighbours) -> None:
        import numpy as np

        packed = np.frombuffer(record.vectors, dtype=np.int8).reshape(-1, record.dimensions)
        self._vectors = packed.astype(np.float32) / SCALE
        self._failed = np.frombuffer(record.failed, dtype=np.uint8).astype(bool)
        self._k = record.k

    def measure(self, vector: Any, *, leave_out: int | None = None) -> dict[str, float] | None:
        """``failures``: share of failures among the k nearest, in [0, 1]. ``nearest``: cosine
        similarity of the nearest question. ``failure``: of the nearest failed one, -1 without any.

        ``leave_out`` is the row of the question itself, for rows that took part in the fit.
        None without a vector.
        """
        import numpy as np

        if vector is None:
            return None
        near: NDArray[np.float32] = self._vectors @ vector
        if leave_out is not None:
            near = near.copy()
            near[leave_out] = -1.0
        nearest = np.argpartition(-near, self._k - 1)[: self._k]
        failed = near[self._failed]
        return {
            "failures": float(self._failed[nearest].mean()),
            "nearest": float(near.max()),
            "failure": float(failed.max()) if len(failed) else -1.0,
        }


def pack(tier: str, embedder: str, vectors: Any, failed: Any) -> Neighbours | None:
    """A record of labelled questions; None when there are too few of them to be anybody's neighbours.

    ``vectors`` has shape (n, dimensions), unit length; ``failed`` (n,) of bool. ``k`` is the square
    root of n, the usual compromise between noise and blur.
    """
    import numpy as np

    k = int(len(failed) ** 0.5)
    if k < LEAST_NEIGHBOURS:
        return None
    return Neighbours(
        tier=tier,
        embedder=embedder,
        dimensions=vectors.shape[1],
        k=k,
        vectors=np.round(vectors * SCALE).astype(np.int8).tobytes(),
        failed=np.asarray(failed, dtype=np.uint8).tobytes(),
    )
