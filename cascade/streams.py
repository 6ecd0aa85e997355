"""A streamed reply in the caller's hand: chunks while they last, then the decision."""

from __future__ import annotations

import queue
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

from cascade import background
from cascade.replies import Chunk
from cascade.types import Answer, Decision, Draft

Items = AsyncGenerator[dict[str, Any] | Answer]


class _Streamed:
    """``cascade`` and ``draft`` are there once the stream has ended, and None before."""

    cascade: Decision | None = None
    draft: Draft | None = None

    def _take(self, item: dict[str, Any] | Answer) -> Chunk | None:
        if isinstance(item, Answer):
            self.cascade, self.draft = item.decision, item.draft
            return None
        return Chunk(item)


class AsyncReplies(_Streamed):
    """Asynchronous iterator of chunks. ``aclose`` cancels what is under way."""

    def __init__(self, items: Items) -> None:
        self._items = items

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        chunk = self._take(await anext(self._items))
        if chunk is None:
            await self._items.aclose()
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Stop reading; the model's call is cancelled and the ledger told."""
        await self._items.aclose()

    async def __aenter__(self) -> AsyncReplies:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Replies(_Streamed):
    """Iterator of chunks for synchronous callers; ``close`` cancels what is under way.

    One task on the background loop reads the stream from end to end: stepping it by a call a chunk
    was the alternative, and breaks time limits, which belong to the task that set them.
    """

    def __init__(self, items: Items) -> None:
        self._queue: queue.SimpleQueue[dict[str, Any] | Answer | BaseException] = queue.SimpleQueue()
        self._task: Future[None] = background.start(self._read, items)

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if self._task is None or self.cascade is not None:
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        chunk = self._take(item)
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop reading; the model's call is cancelled and the ledger told."""
        self._task.cancel()

    def __enter__(self) -> Replies:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _read(self, items: Items) -> None:
        try:
            async for item in items:
                self._queue.put(item)
        except BaseException as error:
            self._queue.put(StopIteration() if isinstance(error, StopAsyncIteration) else error)
            if not isinstance(error, Exception):
                raise
