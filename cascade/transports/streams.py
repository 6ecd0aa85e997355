"""Answers that arrive in pieces: server-sent events, and what they add up to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

from cascade.asks import Call
from cascade.errors import UpstreamError
from cascade.transports.faults import broken, timed_out
from cascade.transports.reading import Origin, draft_of, price_for, reply_of
from cascade.transports.wire import Completion
from cascade.types import Draft

_LINE_END = re.compile(rb"\r\n|\r|\n")
_TEXTS = ("content", "refusal", "reasoning_content")


class Events:
    """Parser of server-sent events that may be split anywhere, within a line end too."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of every event that ``piece`` completes."""
        if not piece:
            return
        if self._after_cr:
            piece = piece.removeprefix(b"\n")
        self._after_cr = piece.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + piece)
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                yield b"\n".join(self._data)
                self._data = []

    @property
    def torn(self) -> bool:
        """Whether the stream so far ends in the middle of an event."""
        return bool(self._rest.strip() or self._data)


class Assembly:
    """Chunks of one streamed answer in OpenAI's dialect, added up to the answer unstreamed."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[Any] = []
        self.finish_reason: str | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        """Take in one chunk. Raises ``TypeError`` or ``AttributeError`` for what is none."""
        for name in ("id", "created", "model", "system_fingerprint", "usage"):
            if chunk.get(name) is not None:
                self._head[name] = chunk[name]
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) == 0:
                self._add_choice(choice)

    def _add_choice(self, choice: dict[str, Any]) -> None:
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self._logprobs += (choice.get("logprobs") or {}).get("content") or []
        delta = choice.get("delta") or {}
        for name in _TEXTS:
            if isinstance(delta.get(name), str):
                self._texts.setdefault(name, []).append(delta[name])
        for part in delta.get("tool_calls") or []:
            self._add_call(part)

    def _add_call(self, part: dict[str, Any]) -> None:
        index = part.get("index")
        call = self._calls.setdefault(len(self._calls) if index is None else index, {"type": "function"})
        call.update({name: part[name] for name in ("id", "type") if part.get(name)})
        function = call.setdefault("function", {"name": "", "arguments": ""})
        for name in function:
            function[name] += (part.get("function") or {}).get(name) or ""

    def completion(self) -> dict[str, Any]:
        """The answer in OpenAI's shape, as if it had not been streamed."""
        texts = {name: "".join(parts) for name, parts in self._texts.items()}
        message: dict[str, Any] = {"role": "assistant", "content": None} | texts
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        choice["logprobs"] = {"content": self._logprobs} if self._logprobs else None
        return {"object": "chat.completion"} | self._head | {"choices": [choice]}


def spoken(chunk: dict[str, Any]) -> bool:
    """Does this chunk carry anything of an answer, after which no other model may take over?"""
    choices = chunk.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return bool(delta.get("content") or delta.get("tool_calls") or delta.get("refusal"))


class ChunkStream:
    """An answer under way; see ``cascade.asks.Stream``. The call begins with the first chunk asked for.

    The deadline covers the whole answer, and is set around each wait rather than around all of
    them: between two chunks the caller's own code runs, which no timeout of ours may interrupt.
    ``ready`` is awaited before its clock starts.
    """

    def __init__(
        self,
        call: Call,
        provider: str,
        chunks: AsyncGenerator[dict[str, Any], None],
        ready: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        self._call = call
        self._provider = provider
        self._chunks = chunks
        self._ready = ready
        self._assembly = Assembly()
        self._started: float | None = None
        self._deadline = 0.0
        self._begun = False
        self._draft: Draft | None = None

    def __aiter__(self) -> ChunkStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._started is None:
            if self._ready:
                await self._ready()
            self._started = time.perf_counter()
            self._deadline = asyncio.get_running_loop().time() + self._call.timeout
        try:
            async with asyncio.timeout_at(self._deadline):
                chunk = await anext(self._chunks)
            self._assembly.add(chunk)
        except StopAsyncIteration:
            self._draft = self._draft or self._whole(time.perf_counter() - self._started)
            raise
        except TimeoutError:
            raise self._told(timed_out(self._provider, self._call.timeout)) from None
        except (TypeError, AttributeError):
            await self.close()
            raise self._told(broken(self._provider, "streamed a chunk in no known shape")) from None
        except UpstreamError as error:
            raise self._told(error) from None
        self._begun = self._begun or spoken(chunk)
        return chunk

    def _told(self, error: UpstreamError) -> UpstreamError:
        """The error, saying whether the caller has part of the answer already."""
        error.delivered = self._begun and self._call.deliver == "live"
        return error

    def _whole(self, latency: float) -> Draft:
        call = self._call
        origin = Origin(call.tier, call.endpoint.model, price_for(call.endpoint), latency, self._provider)
        completion = self._assembly.completion()
        return draft_of(reply_of(completion), Completion(completion), origin)

    async def close(self) -> None:
        """Stop the answer where it is and drop its connection."""
        await self._chunks.aclose()

    @property
    def draft(self) -> Draft:
        """The whole answer. Raises ``RuntimeError`` before the end has been seen."""
        if self._draft is None:
            raise RuntimeError("the answer has not come to its end: iterate the stream first")
        return self._draft
