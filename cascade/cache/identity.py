"""Which requests are the same question: digests of everything that can change the answer."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from typing import Any

import msgspec

from cascade.language import language_of
from cascade.types import Message, Request

DELIVERY = frozenset({"stream", "stream_options", "timeout"})
"""Parameters that say how an answer is delivered, not what it is."""

# msgpack rather than JSON for the canonical form: JSON writes NaN as null and bytes as text, so two
# different requests could share a key. Sorting holds at every depth.
_canonical = msgspec.msgpack.Encoder(order="sorted").encode


class Identity:
    """Digests of requests to one tier ladder.

    ``ladder`` is the engine's digest of its tiers. ``metadata`` names the metadata that can change
    an answer (that rules of slices, stakes or required context read); None means all of it. All is
    the safe default: leaving one out that matters would answer a question with another's answer,
    while one too many only costs hits.
    """

    def __init__(self, ladder: str, metadata: Collection[str] | None = None) -> None:
        self._ladder = ladder
        self._metadata = None if metadata is None else frozenset(metadata)

    def key(self, request: Request) -> str:
        """64 hexadecimal digits, equal only for requests that must get the same answer.

        Raises TypeError, ValueError, OverflowError or RecursionError for a request that holds
        something without a canonical form (an object, a key that is not a string): it has no key.
        """
        return _digest([*self._frame(request), request.messages])

    def context(self, request: Request, embedder: str) -> str:
        """The same for everything but the text of the last user turn, whose language it does hold.

        Raises as ``key`` does, and ``ConfigError`` where no language can be told.
        """
        return _digest([*self._frame(request), _blanked(request.messages), embedder, language_of(request.question)])

    def _frame(self, request: Request) -> list[Any]:
        params, metadata = request.params, request.metadata
        if not DELIVERY.isdisjoint(params):
            params = {name: value for name, value in params.items() if name not in DELIVERY}
        if metadata and self._metadata is not None:
            metadata = {name: value for name, value in metadata.items() if name in self._metadata}
        # One encoded list: lengths are part of it, so no field can run over into the next.
        return [self._ladder, request.tenant, request.slice, request.stakes, metadata, params]


def _digest(value: list[Any]) -> str:
    # 32 bytes: a caller may try to make two of its questions collide, so not the cheapest hash.
    return blake2b(_canonical(value), digest_size=32).hexdigest()


def _blanked(messages: list[Message]) -> list[Message]:
    """The messages with the text of the last user turn taken out; its images and files stay."""
    last = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=None)
    if last is None:
        return messages
    content = messages[last].get("content")
    rest = [_textless(part) for part in content] if isinstance(content, list) else None
    return [*messages[:last], {**messages[last], "content": rest}, *messages[last + 1 :]]


def _textless(part: Any) -> Any:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return {**part, "text": None}
    return part
