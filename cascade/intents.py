"""Which slice a request belongs to, when neither the caller nor a rule says: by its embedding.

A prototype classifier: each slice is the mean direction of a few examples that the policy gives
for it. The margin between the two nearest slices below which the answer is ``unknown`` is fitted by
leaving one example out at a time, so that no example would have been put into a wrong slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.errors import ConfigError
from cascade.policy import Policy
from cascade.types import Record

if TYPE_CHECKING:
    from cascade.embedding import Embedder

LEAST_EXAMPLES = 2
"""One example cannot be left out and leave anything behind."""


class Intents(Record, frozen=True, kw_only=True):
    """A fitted classifier. ``prototypes`` has shape (slices, dimensions), rows of unit length."""

    slices: list[str]
    prototypes: Any
    margin: float
    embedder: str

    def classify(self, vector: Any) -> str | None:
        """The slice of a question's vector, or None when the two nearest are too close to call."""
        if vector is None:
            return None
        best, margin = _nearest(self.prototypes, vector)
        return self.slices[best] if margin > self.margin else None


def fit_intents(policy: Policy, embedder: Embedder) -> Intents | None:
    """Fit from the policy's examples; None when no slice gives any.

    ``ConfigError`` when only one slice gives examples, or a slice gives too few.
    """
    import numpy as np

    examples = {name: declared.examples for name, declared in policy.slices.items() if declared.examples}
    if not examples:
        return None
    for name, texts in examples.items():
        if len(texts) < LEAST_EXAMPLES:
            raise ConfigError(f"slices.{name}.examples needs at least {LEAST_EXAMPLES} texts, it has {len(texts)}")
    if len(examples) == 1:
        raise ConfigError("one slice with examples leaves nothing to tell it from: give examples for a second")
    vectors = {name: embedder.embed(texts) for name, texts in examples.items()}
    slices = list(vectors)
    prototypes = np.stack([_direction(vectors[name]) for name in slices])
    mistaken = [0.0]
    for row, name in enumerate(slices):
        for left_out in range(len(vectors[name])):
            others = prototypes.copy()
            others[row] = _direction(np.delete(vectors[name], left_out, axis=0))
            best, margin = _nearest(others, vectors[name][left_out])
            if best != row:
                mistaken.append(margin)
    return Intents(slices=slices, prototypes=prototypes, margin=max(mistaken), embedder=embedder.name)


def _direction(vectors: Any) -> Any:
    import numpy as np

    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return mean / length if length > 0 else mean


def _nearest(prototypes: Any, vector: Any) -> tuple[int, float]:
    """Row of the nearest prototype and its lead over the second, in cosine similarity."""
    import numpy as np

    near = prototypes @ vector
    second, first = np.partition(near, -2)[-2:]
    return int(near.argmax()), float(first - second)
