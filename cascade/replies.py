"""What the caller gets in hand: an OpenAI-shaped object with the decision as ``.cascade``.

The decision is never an attribute of a provider's own object: those are pydantic models that take
extra attributes into their JSON. litellm's object is therefore given a subclass of its own class,
whose ``cascade`` lives outside its fields.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

from cascade.transports.wire import Completion
from cascade.types import Answer, Decision, Draft


class Reply(Completion):
    """A chat completion in OpenAI's shape; ``cascade`` is the ``Decision`` that served it."""

    __slots__ = ("_draft", "cascade")

    def __init__(self, source: bytes | Draft, decision: Decision) -> None:
        super().__init__(source if isinstance(source, bytes) else b"")
        self._draft = source if isinstance(source, Draft) else None
        self.cascade = decision

    def to_dict(self) -> dict[str, Any]:
        """The whole answer in OpenAI's shape, not a copy; put together when first looked into."""
        if not self._data and self._draft is not None:
            self._data = completion_of(self._draft, self.cascade.id)
        return super().to_dict()


class Chunk(Completion):
    """One chunk of a streamed completion in OpenAI's shape."""

    __slots__ = ()


def reply(answer: Answer) -> Any:
    """The caller's object: litellm's own where litellm answered, else a ``Reply``."""
    raw = answer.draft.raw
    if type(raw).__module__.startswith("litellm."):
        return _decided(raw, answer.decision)
    if isinstance(raw, Completion):
        return Reply(raw.body, answer.decision)
    return Reply(answer.draft, answer.decision)


def completion_of(draft: Draft, request_id: str) -> dict[str, Any]:
    """A draft as OpenAI would have written it, for answers that no provider's object is left of."""
    message: dict[str, Any] = {"role": "assistant", "content": draft.text or None}
    if draft.refusal is not None:
        message["refusal"] = draft.refusal
    if draft.tool_calls:
        message["tool_calls"] = draft.tool_calls
    usage = draft.usage
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": draft.model,
        "choices": [{"index": 0, "message": message, "finish_reason": draft.finish_reason or "stop", "logprobs": None}],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }


def _decided(raw: Any, decision: Decision) -> Any:
    own: Any = type(raw)
    object.__setattr__(raw, "__class__", _with_cascade(own))
    _decisions(raw)["cascade"] = decision
    return raw


@lru_cache(maxsize=8)
def _with_cascade(cls: type) -> type:
    def cascade(self: Any) -> Decision:
        decision: Decision = _decisions(self)["cascade"]
        return decision

    return type(cls.__name__, (cls,), {"cascade": property(cascade), "__module__": cls.__module__})


def _decisions(raw: Any) -> dict[str, Any]:
    """Pydantic's store for private attributes, which is in no dump and no equality of fields."""
    private: dict[str, Any] | None = object.__getattribute__(raw, "__pydantic_private__")
    if private is None:
        private = {}
        object.__setattr__(raw, "__pydantic_private__", private)
    return private
