"""Where a request lies for the semantic look-up: its context, and the vector of its question."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade.cache.identity import Identity
from cascade.cache.stored import Place, pack, small_digest
from cascade.embedding import Embedder
from cascade.types import Draft, Request

if TYPE_CHECKING:
    from cascade.cache.shelf import Vector


class Placed(NamedTuple):
    """Digest of the context, unit vector (d,) of the question, and the dollars that it cost (None: unknown)."""

    context: bytes
    vector: Vector
    cost: float | None


class Placing:
    """One embedder's view of requests; what it cannot place is None, counted as ``embed``."""

    def __init__(self, identity: Identity, embedder: Embedder, faults: Counter[str]) -> None:
        self._identity = identity
        self._embedder = embedder
        self._faults = faults

    def of(self, request: Request) -> Placed | None:
        """Where the last user turn lies."""
        from cascade.cache.semantic import unit

        try:
            if not request.question:
                return None
            context = bytes.fromhex(self._identity.context(request, self._embedder.name))
            vectors, cost = self._embedded(request.question)
            vector: Any = unit(vectors[0])
            if vector.size != self._embedder.dimensions:
                name, wanted = self._embedder.name, self._embedder.dimensions
                raise ValueError(f"{name} says {wanted} dimensions, gave {vector.size}")
            return Placed(context, vector, cost)
        except Exception:
            self._faults["embed"] += 1
            return None

    def place(self, request: Request, draft: Draft) -> Place | None:
        """The place of an answer to this request, as it is stored."""
        placed = self.of(request)
        if placed is None:
            return None
        context, vector, _ = placed
        echo = small_digest(context, draft.text.encode(), pack(draft.tool_calls))
        return Place(embedder=self._embedder.name, context=context, echo=echo, vector=vector.tobytes())

    def _embedded(self, text: str) -> tuple[Any, float | None]:
        charged = getattr(self._embedder, "embed_charged", None)
        return charged([text]) if charged is not None else (self._embedder.embed([text]), 0.0)
