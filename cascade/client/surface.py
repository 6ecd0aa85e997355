"""What a wrapped client looks like from outside: the client, with a few attributes replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from cascade.client.calls import AsyncCalls, Calls
from cascade.errors import ConfigError

_RAW = ("with_raw_response", "with_streaming_response")
_AROUND = ("parse", "stream", *_RAW)


class Facade:
    """An object with some attributes replaced; all others, and ``isinstance``, are the object's own.

    A subclass made on the fly was the alternative: it would have to copy the client, and what the
    user sets on the one would not reach the other.
    """

    __slots__ = ("_own", "_replaced")

    def __init__(self, own: Any, **replaced: Any) -> None:
        object.__setattr__(self, "_own", own)
        object.__setattr__(self, "_replaced", replaced)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._own)

    def __getattr__(self, name: str) -> Any:
        replaced = self._replaced
        return replaced[name] if name in replaced else getattr(self._own, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._own, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._own), *self._replaced})

    def __repr__(self) -> str:
        return f"<cascaded {self._own!r}>"

    def __enter__(self) -> Facade:
        self._own.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._own.__exit__(*error)

    async def __aenter__(self) -> Facade:
        await self._own.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._own.__aexit__(*error)


class Refused:
    """An attribute that would reach the provider around the cascade: any use of it says so."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Raise ``ConfigError``."""
        raise ConfigError(
            f"{self._name} is not cascaded: use create, with response_format or stream=True for what it "
            "does, or call it on the client that was wrapped"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self()


def over_openai(client: Any, calls: Calls | AsyncCalls) -> Facade:
    """An OpenAI client whose chat completions are cascaded, under ``beta`` as well."""
    completions = _cascaded(client.chat.completions, calls.through(client), "chat.completions")
    chat = Facade(client.chat, completions=completions, **_refused("chat", _RAW))
    return _client(client, calls, over_openai, chat=chat, beta=Facade(client.beta, chat=chat))


def over_anthropic(client: Any, calls: Calls | AsyncCalls) -> Facade:
    """An Anthropic client whose messages are cascaded; those of ``beta`` have types of their own."""
    messages = _cascaded(client.messages, calls.through(client), "messages")
    return _client(client, calls, over_anthropic, messages=messages)


def _cascaded(resource: Any, create: Callable[..., Any], name: str) -> Facade:
    return Facade(resource, create=create, **_refused(name, _AROUND))


def _client(client: Any, calls: Calls | AsyncCalls, over: Callable[..., Facade], **replaced: Any) -> Facade:
    def copy(**options: Any) -> Facade:
        return over(client.copy(**options), calls)

    again = {"copy": copy, "with_options": copy}
    return Facade(client, last=calls.last, **again, **replaced, **_refused("client", _RAW))


def _refused(owner: str, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: Refused(f"{owner}.{name}") for name in names}
