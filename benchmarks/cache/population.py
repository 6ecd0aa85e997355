"""Vectors and questions that ours and peers are measured with. Needs numpy alone: peers read it in
environments without the package."""

from __future__ import annotations

from typing import Any

import numpy as np

DIMENSIONS = 384
NEAR = 0.3
"""Standard deviation of a question around its cluster's centre, in parts of the centre's."""


def unit(rows: Any) -> Any:
    """Rows scaled to length one."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Clusters:
    """Questions in clusters of five. The i-th dimension has variance 1/i^``decay``; 0 is isotropic.

    ``shift`` moves all the centres the same way, as real embeddings are.
    """

    def __init__(self, count: int, decay: float = 0.0, shift: float = 0.0, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._scales = (np.arange(1, DIMENSIONS + 1) ** (-decay / 2)).astype(np.float32)
        drawn = self._random.standard_normal((max(count // 5, 1), DIMENSIONS), dtype=np.float32)
        self._centres = (drawn + np.float32(shift)) * self._scales

    def draw(self, count: int) -> Any:
        """So many questions, shape (count, d)."""
        chosen = self._centres[self._random.integers(0, len(self._centres), count)]
        noise = self._random.standard_normal((count, DIMENSIONS), dtype=np.float32) * self._scales
        return unit(chosen + np.float32(NEAR) * noise)


def stored(number: int) -> str:
    """Text of a stored question; its vector is found by the number at its end."""
    return f"What became of my order number {number}"


def asked(number: int) -> str:
    """Text of a question that is like a stored one."""
    return f"Please tell me about order {number}"
