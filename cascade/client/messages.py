"""Anthropic's client: its messages in OpenAI's words for checks, signals and cache, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from cascade.asks import Call
from cascade.client.chat import split
from cascade.client.dialect import Asked, Given
from cascade.client.events import FINISH, Reader, Writer
from cascade.decide import LENGTH_LIMITS
from cascade.types import Draft, Message, text_of

_BARE = re.compile(r"claude-")  # names that stand for Anthropic without saying so
_RENAMED = {"stop_sequences": "stop"}
_PRIVATE = ("thinking", "redacted_thinking")  # signed for its own provider; no other can read it


class Messages:
    """Anthropic's messages; see ``Dialect``."""

    provider = "anthropic"

    def own_name(self, model: str) -> str | None:
        """``claude-x`` for ``anthropic/claude-x`` and for ``claude-x``; None for other providers' models."""
        provider, slash, name = model.partition("/")
        if slash:
            return name if provider == self.provider else None
        return model if _BARE.match(model) else None

    def asked(self, own: dict[str, Any]) -> Asked:
        """The arguments in OpenAI's words; not the whole of them where a turn holds private thinking."""
        turns = own.get("messages") or []
        messages = [{"role": "system", "content": own["system"]}] if own.get("system") else []
        messages += [message for turn in turns for message in _turn(turn)]
        params = {_RENAMED.get(k, k): v for k, v in own.items() if k not in ("messages", "system")}
        _translate(params)
        return Asked(messages, params, not any(_kind(b) in _PRIVATE for turn in turns for b in _blocks(turn)))

    def arguments(self, client: Any, own: dict[str, Any], asked: Asked, call: Call) -> dict[str, Any]:
        """The caller's own arguments, but for what the tier sets: its parameters, its prompt."""
        changed = {k: v for k, v in call.params.items() if k not in asked.params or asked.params[k] != v}
        if (stop := changed.pop("stop", None)) is not None:
            changed["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        for name in LENGTH_LIMITS:
            if name in changed:
                changed["max_tokens"] = changed.pop(name)
        if call.messages is not asked.messages:  # the tier's prompt is all that changes messages
            changed["system"] = "\n".join(text_of(m) for m in call.messages if m["role"] == "system")
        return split(self.create(client), own | changed)

    def create(self, client: Any) -> Any:
        """``messages.create``."""
        return client.messages.create

    def built(self, draft: Draft, request_id: str, *, fresh: bool) -> Any:
        """A ``Message``."""
        from anthropic.types import Message as Built

        if fresh and isinstance(draft.raw, Built):
            return draft.raw
        cached = min(draft.usage.cached_tokens, draft.usage.prompt_tokens)
        return Built.construct(
            id=f"msg_{request_id}",
            type="message",
            role="assistant",
            model=draft.model,
            content=list(_content(draft)),
            stop_reason="refusal" if draft.refusal else FINISH.get(draft.finish_reason or "stop", "end_turn"),
            stop_sequence=None,
            usage={
                "input_tokens": draft.usage.prompt_tokens - cached,
                "cache_read_input_tokens": cached,
                "output_tokens": draft.usage.completion_tokens,
            },
        )

    def reader(self) -> Reader:
        """Reads Anthropic's events."""
        return Reader()

    def writer(self, given: Given, request_id: str) -> Writer:
        """Writes Anthropic's events."""
        return Writer(request_id)


def _content(draft: Draft) -> Iterator[dict[str, Any]]:
    if draft.text or draft.refusal:
        yield {"type": "text", "text": draft.text or draft.refusal}
    for call in draft.tool_calls:
        function = call.get("function") or {}
        yield {
            "type": "tool_use",
            "id": call.get("id"),
            "name": function.get("name"),
            "input": _input(function.get("arguments") or "{}"),
        }


def _input(arguments: str) -> Any:
    """The arguments of a call; none where the answer was cut off within them."""
    try:
        return msgspec.json.decode(arguments)
    except ValueError:
        return {}


def _turn(turn: Any) -> Iterator[Message]:
    """One of Anthropic's turns: results of tools are messages of their own for OpenAI, and come first."""
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), list):
        yield turn
        return
    blocks = turn["content"]
    for block in blocks:
        if _kind(block) == "tool_result":
            content = block.get("content") or ""
            said = content if isinstance(content, str) else [_part(part) for part in content]
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": said}
    apart = ("tool_result", "tool_use", *_PRIVATE)
    parts = [_part(block) for block in blocks if _kind(block) not in apart]
    calls = [_tool_call(block) for block in blocks if _kind(block) == "tool_use"]
    if parts or calls:
        message = {"role": turn.get("role"), "content": parts or None}
        yield message | {"tool_calls": calls} if calls else message


def _blocks(turn: Any) -> list[Any]:
    content = turn.get("content") if isinstance(turn, dict) else None
    return content if isinstance(content, list) else []


def _kind(block: Any) -> Any:
    return block.get("type") if isinstance(block, dict) else None


def _part(block: Any) -> Any:
    """An image in OpenAI's shape; text is the same in both, and what neither knows stays as it is."""
    source = block.get("source") if _kind(block) == "image" else None
    if not isinstance(source, dict):
        return block
    url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


def _translate(params: dict[str, Any]) -> None:
    """Tools, their choice, the output's schema and the user in OpenAI's words, in place."""
    if params.get("tools"):
        params["tools"] = [_tool(tool) for tool in params["tools"]]
    choice = params.get("tool_choice")
    if isinstance(choice, dict):
        words = {"auto": "auto", "any": "required", "none": "none"}
        named = {"type": "function", "function": {"name": choice.get("name")}}
        params["tool_choice"] = words.get(choice.get("type", ""), named)
        if choice.get("disable_parallel_tool_use"):
            params["parallel_tool_calls"] = False
    output: Any = params.get("output_config")
    wanted = output.get("format") if isinstance(output, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        del params["output_config"]
        params |= {name: value for name, value in output.items() if name != "format"}
        schema = {"name": "answer", "schema": wanted.get("schema")}
        params["response_format"] = {"type": "json_schema", "json_schema": schema}
    user = params.get("metadata")
    if isinstance(user, dict) and user.get("user_id"):
        del params["metadata"]
        params["user"] = user["user_id"]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "input_schema" not in tool:  # a tool of the provider's own
        return tool
    function = {"name": tool.get("name"), "parameters": tool["input_schema"]}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}
