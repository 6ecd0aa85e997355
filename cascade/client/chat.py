"""OpenAI's client: its arguments are what the flow speaks, so little is to be said."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from cascade.asks import Call
from cascade.client.dialect import Asked, Given, Native
from cascade.decide import LENGTH_LIMITS
from cascade.replies import completion_of
from cascade.transports.wire import Completion
from cascade.types import Draft

_BARE = re.compile(r"(ft:)?(gpt-|chatgpt-|o\d)")  # names that stand for OpenAI without saying so
_NEW_LIMIT = ("openai.com", "azure.com")  # they take max_completion_tokens, the others max_tokens


class Chat:
    """OpenAI's chat completions; see ``Dialect``. ``provider`` is ``openai`` or ``azure``."""

    def __init__(self, provider: str = "openai") -> None:
        self.provider = provider

    def own_name(self, model: str) -> str | None:
        """``gpt-x`` for ``openai/gpt-x`` and for ``gpt-x``; None for other providers' models."""
        provider, slash, name = model.partition("/")
        if slash:
            return name if provider == self.provider else None
        return model if self.provider == "openai" and _BARE.match(model) else None

    def asked(self, own: dict[str, Any]) -> Asked:
        """The arguments as they are."""
        return Asked(own.get("messages") or [], {k: v for k, v in own.items() if k != "messages"})

    def arguments(self, client: Any, own: dict[str, Any], asked: Asked, call: Call) -> dict[str, Any]:
        """The call's arguments; what the method does not know goes into the body all the same."""
        params, endpoint = dict(call.params), call.endpoint
        limit = LENGTH_LIMITS[0 if client.base_url.host.endswith(_NEW_LIMIT) else 1]
        for name in LENGTH_LIMITS:
            if name in params and name != limit:
                # Servers that do not know the new name ignore it, and an ignored limit is a bill.
                params.setdefault(limit, params.pop(name))
        if endpoint.logprobs:
            params["logprobs"] = True
            if endpoint.top_logprobs:
                params["top_logprobs"] = max(endpoint.top_logprobs, params.get("top_logprobs") or 0)
        if call.deliver == "live":
            params["stream_options"] = {"include_usage": True}
        return split(self.create(client), params | {"messages": call.messages})

    def create(self, client: Any) -> Any:
        """``chat.completions.create``."""
        return client.chat.completions.create

    def built(self, draft: Draft, request_id: str, *, fresh: bool) -> Any:
        """A ``ChatCompletion``."""
        from openai.types.chat import ChatCompletion

        raw: Any = draft.raw if fresh else None
        if isinstance(raw, ChatCompletion):
            return raw
        if isinstance(raw, Completion) or type(raw).__module__.startswith("litellm."):
            return ChatCompletion.construct(**raw.to_dict())
        return ChatCompletion.construct(**completion_of(draft, request_id))

    def reader(self) -> Reader:
        """Chunks are chunks."""
        return Reader()

    def writer(self, given: Given, request_id: str) -> Writer:
        """Writes ``ChatCompletionChunk`` objects, with usage only where it was asked for."""
        return Writer(request_id, usage=bool(given.stream_options.get("include_usage")))


class Reader:
    """Reads ``ChatCompletionChunk`` objects."""

    def chunk(self, piece: Any) -> dict[str, Any]:
        """The same as a dict."""
        found: dict[str, Any] = piece.model_dump(mode="json", exclude_none=True)
        return found


class Writer:
    """Writes ``ChatCompletionChunk`` objects: the client's own where it streamed them."""

    def __init__(self, request_id: str, *, usage: bool) -> None:
        self._head: dict[str, Any] = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk"}
        self._head["created"] = int(time.time())
        self._usage = usage

    def feed(self, chunk: dict[str, Any]) -> Iterable[Any]:
        """One chunk for one; a chunk without choices is only for those who asked for usage."""
        from openai.types.chat import ChatCompletionChunk

        if chunk.get("usage") and not chunk.get("choices") and not self._usage:
            return
        yield chunk.piece if isinstance(chunk, Native) else ChatCompletionChunk.construct(**self._head | chunk)

    def end(self) -> Iterable[Any]:
        """Nothing: the last chunk has said it."""
        return ()


def split(create: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with those that the method has no name for under ``extra_body``."""
    known = _known(create.__func__)
    unknown = {name: value for name, value in arguments.items() if name not in known}
    named = {name: value for name, value in arguments.items() if name in known}
    return named | {"extra_body": unknown} if unknown else named


@lru_cache(maxsize=8)
def _known(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
