"""Anthropic's streamed events, read into OpenAI's chunks and written out of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from cascade.client.dialect import Native
from cascade.transports.reading import reply_of
from cascade.transports.streams import spoken

FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""OpenAI's finish reasons in Anthropic's words."""


class Reader:
    """Reads the events of one answer; its usage comes in two parts, at its beginning and its end."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}

    def chunk(self, piece: Any) -> dict[str, Any]:
        """One event as a chunk; one that OpenAI has no words for as a chunk that says nothing."""
        event: dict[str, Any] = piece.model_dump(mode="json", exclude_none=True)
        kind = event.get("type")
        if kind == "message_start":
            message = event["message"]
            self._usage = message.get("usage") or {}
            self._head = {"id": message.get("id"), "model": message.get("model")}
            return self._chunk({"role": "assistant"})
        if kind == "content_block_start":
            return self._chunk(self._begun(event["index"], event["content_block"]))
        if kind == "content_block_delta":
            return self._chunk(self._grown(event["index"], event["delta"]))
        if kind == "message_delta":
            self._usage |= event.get("usage") or {}
            return self._ended(event["delta"].get("stop_reason"))
        return self._chunk({})

    def _chunk(self, delta: dict[str, Any]) -> dict[str, Any]:
        return self._head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def _begun(self, index: int, block: dict[str, Any]) -> dict[str, Any]:
        if block.get("type") != "tool_use":
            return {"content": block["text"]} if block.get("text") else {}
        function = {"name": block.get("name"), "arguments": ""}
        return {"tool_calls": [{"index": index, "id": block.get("id"), "type": "function", "function": function}]}

    def _grown(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        if delta.get("type") == "input_json_delta":
            return {"tool_calls": [{"index": index, "function": {"arguments": delta.get("partial_json")}}]}
        return {"content": delta["text"]} if delta.get("text") else {}

    def _ended(self, reason: str | None) -> dict[str, Any]:
        reply = reply_of({"type": "message", "content": [], "stop_reason": reason, "usage": self._usage})
        finish = reply.choices[0].finish_reason if reply.choices else None
        usage = msgspec.to_builtins(reply.usage)
        return self._head | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage}


class Writer:
    """Writes the events of one answer: the client's own where it streamed them, else made of chunks.

    What comes before an answer's first word is held back: until then another model may take over,
    and its own beginning replaces this one.
    """

    def __init__(self, request_id: str) -> None:
        self._id = f"msg_{request_id}"
        self._begun = False
        self._held: list[Any] = []
        self._own = False
        self._block: dict[str, Any] | None = None
        self._index = -1
        self._finish = "end_turn"
        self._usage: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0}

    def feed(self, chunk: dict[str, Any]) -> Iterator[Any]:
        """The events that a chunk makes, if any."""
        self._own = isinstance(chunk, Native)
        if isinstance(chunk, Native):
            yield from self._passed(chunk)
            return
        if not self._begun and spoken(chunk):
            self._begun = True
            yield self._start(chunk.get("model"))
        choices = chunk.get("choices") or [{}]
        yield from self._grown(choices[0].get("delta") or {})
        self._finish = FINISH.get(choices[0].get("finish_reason") or "", self._finish)
        if usage := chunk.get("usage"):
            self._usage = _counted(usage)

    def end(self) -> Iterable[Any]:
        """The events that close the answer."""
        if self._own:
            yield from self._held
            return
        if not self._begun:
            yield self._start(None)
        yield from self._closed()
        delta = {"stop_reason": self._finish, "stop_sequence": None}
        yield _event("RawMessageDeltaEvent", type="message_delta", delta=delta, usage=self._usage)
        yield _event("RawMessageStopEvent", type="message_stop")

    def _passed(self, chunk: Native) -> Iterator[Any]:
        if chunk.piece.type == "message_start":
            self._held = []
        self._held.append(chunk.piece)
        self._begun = self._begun or spoken(chunk)
        if self._begun:
            yield from self._held
            self._held = []

    def _start(self, model: Any) -> Any:
        message = {"id": self._id, "type": "message", "role": "assistant", "model": model, "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": self._usage}
        return _event("RawMessageStartEvent", type="message_start", message=message)

    def _grown(self, delta: dict[str, Any]) -> Iterator[Any]:
        if text := delta.get("content") or delta.get("refusal"):
            yield from self._in({"type": "text", "text": "", "citations": None})
            yield self._delta({"type": "text_delta", "text": text})
        if delta.get("refusal"):
            self._finish = "refusal"
        for call in delta.get("tool_calls") or []:
            function = call.get("function") or {}
            if call.get("id"):
                yield from self._in({"type": "tool_use", "id": call["id"], "name": function.get("name"), "input": {}})
            if function.get("arguments"):
                yield self._delta({"type": "input_json_delta", "partial_json": function["arguments"]})

    def _in(self, block: dict[str, Any]) -> Iterator[Any]:
        """Open the block, unless it is open."""
        if block == self._block:
            return
        yield from self._closed()
        self._index, self._block = self._index + 1, block
        yield _event("RawContentBlockStartEvent", type="content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> Any:
        return _event("RawContentBlockDeltaEvent", type="content_block_delta", index=self._index, delta=delta)

    def _closed(self) -> Iterator[Any]:
        if self._block is not None:
            self._block = None
            yield _event("RawContentBlockStopEvent", type="content_block_stop", index=self._index)


def _counted(usage: dict[str, Any]) -> dict[str, Any]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": (usage.get("prompt_tokens") or 0) - cached,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.get("completion_tokens") or 0,
    }


def _event(name: str, **fields: Any) -> Any:
    import anthropic.types

    return getattr(anthropic.types, name).construct(**fields)
