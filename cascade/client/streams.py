"""A streamed answer in the hands of a client's caller: an iterator of the client's own pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from cascade.client.dialect import Writer
from cascade.errors import UpstreamError
from cascade.streams import AsyncReplies, Replies
from cascade.types import Decision

Remember = Callable[[Decision], None]
Explain = Callable[[UpstreamError], None]


class Stream:
    """Iterator of OpenAI's chunks or Anthropic's events; ``close`` cancels what is under way."""

    def __init__(self, replies: Replies, writer: Writer, remember: Remember, explain: Explain) -> None:
        self._replies = replies
        self._pieces = self._written(writer, remember, explain)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._pieces)

    def close(self) -> None:
        """Stop reading; the model's call is cancelled and the ledger told."""
        self._replies.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _written(self, writer: Writer, remember: Remember, explain: Explain) -> Iterator[Any]:
        try:
            for chunk in self._replies:
                yield from writer.feed(chunk.to_dict())
        except UpstreamError as error:
            explain(error)
            raise
        if self._replies.cascade is not None:
            remember(self._replies.cascade)
        yield from writer.end()


class AsyncStream:
    """The same for asyncio."""

    def __init__(self, replies: AsyncReplies, writer: Writer, remember: Remember, explain: Explain) -> None:
        self._replies = replies
        self._pieces = self._written(writer, remember, explain)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._pieces)

    async def close(self) -> None:
        """Stop reading; the model's call is cancelled and the ledger told."""
        await self._replies.aclose()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _written(self, writer: Writer, remember: Remember, explain: Explain) -> AsyncIterator[Any]:
        try:
            async for chunk in self._replies:
                for piece in writer.feed(chunk.to_dict()):
                    yield piece
        except UpstreamError as error:
            explain(error)
            raise
        if self._replies.cascade is not None:
            remember(self._replies.cascade)
        for piece in writer.end():
            yield piece
