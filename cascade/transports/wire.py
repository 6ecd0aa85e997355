"""OpenAI's answer as it comes over the wire: the part that is read, and the rest on demand.

Decoding only what a ``Draft`` needs takes a fraction of the whole (log-probabilities make a body
thirty times larger, and most of that is the tokens' text). A typed struct with every field that
some server may add was the alternative: it costs more and still loses the field nobody knew of.
"""

from __future__ import annotations

import json
from typing import Any, Generic, TypeVar

import msgspec


class Token(msgspec.Struct):
    """Log-probability of one token. Some servers write NaN, null or a word for it."""

    logprob: float | str | None = None


class RankedToken(Token):
    """The same with the alternatives of its position."""

    top_logprobs: list[Token] | None = None


T = TypeVar("T", bound=Token)


class Logprobs(msgspec.Struct, Generic[T]):
    """Tokens of the answer, in order."""

    content: list[T] | None = None


class Function(msgspec.Struct):
    """A called function; ``arguments`` is JSON text, as the model wrote it."""

    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct):
    """A called tool of the free-text kind."""

    name: str | None = None
    input: str | None = None


class ToolCall(msgspec.Struct, omit_defaults=True):
    """One tool call in OpenAI's shape."""

    id: str | None = None
    type: str | None = None
    function: Function | None = None
    custom: Custom | None = None


class Message(msgspec.Struct):
    """``content`` is None for tool calls and for reasoning that never came to an answer.

    ``provider_specific_fields`` is where litellm puts a refusal.
    """

    content: str | list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    provider_specific_fields: dict[str, Any] | None = None


class Choice(msgspec.Struct, Generic[T]):
    """One of the answers; only the first is ever read."""

    message: Message | None = None
    finish_reason: str | None = None
    logprobs: Logprobs[T] | None = None


class PromptDetails(msgspec.Struct):
    """How much of the prompt was billed at a discount."""

    cached_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    """How much of the answer was thought and never shown, so has no log-probabilities."""

    reasoning_tokens: int | None = None


class Tokens(msgspec.Struct):
    """``usage`` as OpenAI writes it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Reply(msgspec.Struct, Generic[T]):
    """What is read of an answer. Without ``choices`` it is none, whatever its status said."""

    choices: list[Choice[T]] | None = None
    usage: Tokens | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    error: Any = None


AnyReply = Reply[Token] | Reply[RankedToken]

_plain = msgspec.json.Decoder(Reply[Token])
_ranked = msgspec.json.Decoder(Reply[RankedToken])


def decode(body: bytes, *, ranked: bool) -> AnyReply:
    """Decode a body; alternatives of each token only where ``ranked``.

    Raises ``ValueError`` when it is not JSON or not of this shape. Python's own servers write NaN
    and Infinity, which JSON has not: for them the second, slower reader, which knows the words.
    """
    decoder = _ranked if ranked else _plain
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(body), Reply[RankedToken])


def loads(data: bytes) -> Any:
    """Any JSON, or what Python's own servers write for it (NaN). Raises ``ValueError``."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return json.loads(data)


OPTIONAL = {
    *("audio", "content", "finish_reason", "function_call", "logprobs", "refusal", "role", "service_tier"),
    *("system_fingerprint", "tool_calls", "usage"),
}
"""Members that OpenAI's own client reads as None where the server left them out."""


class View:
    """A JSON object whose members are attributes, as in the providers' own clients."""

    __slots__ = ("_data",)

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in (data := self.to_dict()):
            return _view(data[name])
        if name in OPTIONAL:
            return None
        raise AttributeError(f"the answer has no {name!r}")

    def __getitem__(self, name: str) -> Any:
        return _view(self.to_dict()[name])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()!r})"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object itself, not a copy."""
        return self._data


def _view(value: Any) -> Any:
    if isinstance(value, dict):
        return View(value)
    return [_view(item) for item in value] if isinstance(value, list) else value


class Completion(View):
    """A chat completion as the server sent it, decoded when first looked into.

    ``completion.choices[0].message.content``, ``completion.usage``, ``completion.to_dict()``; what
    the server added of its own is there too.
    """

    __slots__ = ("_body",)

    def __init__(self, source: bytes | dict[str, Any]) -> None:
        super().__init__(source if isinstance(source, dict) else {})
        self._body = source if isinstance(source, bytes) else b""

    @property
    def body(self) -> bytes:
        """JSON text, as it came; encoded afresh where a stream was put together."""
        return self._body or msgspec.json.encode(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The whole answer in OpenAI's shape, not a copy."""
        if not self._data:
            self._data = loads(self._body)
        return self._data
