"""What the two libraries' clients have in common: how a call is read, and what a dialect must say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from cascade.asks import Call
from cascade.errors import ConfigError
from cascade.policy import nearest
from cascade.types import Draft, Message

OURS = ("slice", "tenant", "metadata", "stakes")
_OPTIONS = ("extra_headers", "extra_query", "timeout")
_UNSET = ("NotGiven", "Omit")  # what both libraries write for an argument that was not given


class Given(NamedTuple):
    """A call as the caller made it: ``own`` arguments in the client's dialect, and all the rest.

    ``options`` say how to reach the provider (headers, timeout), ``ours`` is what the caller says to
    the cascade.
    """

    own: dict[str, Any]
    options: dict[str, Any]
    ours: dict[str, Any]
    stream: bool
    stream_options: dict[str, Any]


class Asked(NamedTuple):
    """The same in OpenAI's words. ``whole`` is False where something had to be left out."""

    messages: list[Message]
    params: dict[str, Any]
    whole: bool = True


class Reader(Protocol):
    """Reads one streamed answer of the client's into chunks in OpenAI's shape."""

    def chunk(self, piece: Any) -> dict[str, Any]:
        """One piece as a chunk."""
        ...


class Writer(Protocol):
    """Writes chunks in OpenAI's shape as the pieces that the client's caller knows."""

    def feed(self, chunk: dict[str, Any]) -> Iterable[Any]:
        """The pieces that a chunk makes, if any."""
        ...

    def end(self) -> Iterable[Any]:
        """The pieces that close the answer, if any."""
        ...


class Dialect(Protocol):
    """One library's words for asking and answering."""

    provider: str

    def own_name(self, model: str) -> str | None:
        """The provider's name for a tier's model if the provider is the client's own, else None."""
        ...

    def asked(self, own: dict[str, Any]) -> Asked:
        """What is asked, in OpenAI's words."""
        ...

    def arguments(self, client: Any, own: dict[str, Any], asked: Asked, call: Call) -> dict[str, Any]:
        """The call in the client's words: the caller's own where the tier says nothing else."""
        ...

    def create(self, client: Any) -> Any:
        """The client's method that answers."""
        ...

    def built(self, draft: Draft, request_id: str, *, fresh: bool) -> Any:
        """The answer in the client's own type; the provider's object itself where it is ``fresh``."""
        ...

    def reader(self) -> Reader:
        """For one streamed answer."""
        ...

    def writer(self, given: Given, request_id: str) -> Writer:
        """For one streamed answer."""
        ...


class Native(dict[str, Any]):
    """A chunk in OpenAI's shape that remembers the client's own piece, out of which it was read."""

    __slots__ = ("piece",)

    def __init__(self, chunk: dict[str, Any], piece: Any) -> None:
        super().__init__(chunk)
        self.piece = piece


def given(arguments: Mapping[str, Any]) -> Given:
    """A call's keyword arguments, sorted out. ``ConfigError`` for what the cascade does not know."""
    own = {name: plain(value) for name, value in arguments.items() if type(value).__name__ not in _UNSET}
    options = {name: own.pop(name) for name in _OPTIONS if name in own}
    body = dict(own.pop("extra_body", None) or {})
    ours = dict(body.pop("cascade", None) or {})
    for name in ours:
        if name not in OURS:
            raise ConfigError(f"extra_body['cascade'] has no {name!r}{nearest(name, list(OURS))}")
    own.pop("model", None)
    stream, stream_options = bool(own.pop("stream", None)), own.pop("stream_options", None) or {}
    return Given(own | body, options, ours, stream, stream_options)


def plain(value: Any) -> Any:
    """The library's own objects among the arguments (an earlier answer, say) as JSON would have them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json", exclude_none=True)
    if hasattr(value, "__next__"):
        return [plain(item) for item in value]
    return value
