"""One vector for one question: the look-up, the slice, the neighbours and the store ask for the same text."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from cascade.embedding.protocol import Embedder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

REMEMBERED = 256
"""Texts whose vectors are kept: a request is over before so many others have begun."""


class Remembered:
    """An embedder that embeds a text once while it is asked for again and again. Threads may share it.

    ``slow`` is the embedder's own word that it must not be called on an event loop.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self.slow: bool = getattr(embedder, "slow", False)

    @property
    def name(self) -> str:
        """The embedder's."""
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        """The embedder's."""
        return self._embedder.dimensions

    def embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """As the embedder; raises what it raises."""
        return self.embed_charged(texts)[0]

    def embed_charged(self, texts: list[str]) -> tuple[npt.NDArray[np.float32], float | None]:
        """The same, and dollars: 0.0 for what is remembered or made on this machine, None where unknown."""
        if len(texts) != 1:  # many at once are a fit, which asks for each text once
            return self._made(texts)
        (text,) = texts
        with self._lock:
            found = self._vectors.get(text)
        if found is not None:
            return found, 0.0
        made, dollars = self._made(texts)
        with self._lock:
            self._vectors[text] = made
            while len(self._vectors) > REMEMBERED:
                self._vectors.popitem(last=False)
        return made, dollars

    def forked(self) -> None:
        """In a forked child: the lock may have been held by a thread that is not here."""
        self._lock = threading.Lock()

    def _made(self, texts: list[str]) -> tuple[npt.NDArray[np.float32], float | None]:
        charged = getattr(self._embedder, "embed_charged", None)
        if charged is None:
            return self._embedder.embed(texts), 0.0
        vectors, dollars = charged(texts)
        return vectors, dollars
