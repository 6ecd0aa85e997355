"""What anything must do that maps texts to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Embedder(Protocol):
    """Anything that maps texts to vectors.

    ``name`` changes whenever the vectors do (model, version, dimensions): stored vectors are
    compared only with those of the same name. One with an attribute ``slow`` that is true takes
    milliseconds or a network, and is called in a thread rather than on an event loop; one with a method
    ``embed_charged`` says with the vectors what they cost.
    """

    @property
    def name(self) -> str:
        """What the vectors are bound to."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), unit length; a text without tokens is zero."""
        ...


def encodable(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair: those have no UTF-8, and raise."""
    return text.encode("utf-8", "replace").decode()
