"""Where a request lies for the semantic look-up: its context, and the vector of its question."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cascade.cache.identity import Identity
from cascade.cache.stored import Place, pack, small_digest
from cascade.embedding import Embedder
from cascade.types import Draft, Request

if TYPE_CHECKING:
    from cascade.cache.shelf import Vector


class Placing:
    """One embedder's view of requests; what it cannot place is None, counted as ``embed``."""

    def __init__(self, identity: Identity, embedder: Embedder, faults: Counter[str]) -> None:
        self._identity = identity
        self._embedder = embedder
        self._faults = faults

    def of(self, request: Request) -> tuple[bytes, Vector] | None:
        """Digest of the context, and unit vector of the last user turn, shape (d,)."""
        from cascade.cache.semantic import unit

        try:
            if not request.question:
                return None
            context = bytes.fromhex(self._identity.context(request, self._embedder.name))
            vector: Any = unit(self._embedder.embed([request.question])[0])
            if vector.size != self._embedder.dimensions:
                name, wanted = self._embedder.name, self._embedder.dimensions
                raise ValueError(f"{name} says {wanted} dimensions, gave {vector.size}")
            return context, vector
        except Exception:
            self._faults["embed"] += 1
            return None

    def place(self, request: Request, draft: Draft) -> Place | None:
        """The place of an answer to this request, as it is stored."""
        placed = self.of(request)
        if placed is None:
            return None
        context, vector = placed
        echo = small_digest(context, draft.text.encode(), pack(draft.tool_calls))
        return Place(embedder=self._embedder.name, context=context, echo=echo, vector=vector.tobytes())
