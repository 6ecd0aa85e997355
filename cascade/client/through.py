"""Calls of the client's own provider, through the client; all others on their ordinary way."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from cascade import background
from cascade.asks import Call, Stream, Transport
from cascade.callers import CallersCode, Home, from_thread
from cascade.client.dialect import Asked, Dialect, Given, Native
from cascade.errors import CascadeError, ConfigError, UpstreamError
from cascade.transports.faults import broken, message_of, refused, retry_after, timed_out, unreachable
from cascade.transports.reading import Origin, draft_of, price_for, reply_of
from cascade.transports.streams import ChunkStream
from cascade.types import Draft

_NEVER_CONNECTED = frozenset({"ConnectError", "ConnectTimeout", "gaierror"})
_TOO_LATE = frozenset({"APITimeoutError", "TimeoutException", "TimeoutError"})
_PHASES = ("connect", "read", "write", "pool")


class ThroughClient(CallersCode):
    """The transport of one call. ``silent`` are models that refused to give log-probabilities."""

    def __init__(
        self,
        client: Any,
        dialect: Dialect,
        given: Given,
        asked: Asked,
        *,
        rest: Transport,
        silent: set[str],
        home: Home,
    ) -> None:
        super().__init__(home)
        self._client = client
        self._dialect = dialect
        self._given = given
        self._asked = asked
        self._rest = rest
        self._silent = silent

    def complete_here(self, call: Call) -> Draft:
        """The whole answer in this thread where the client gives it, else from the background loop."""
        if self._own_name(call) is None:
            return background.call(self._rest.complete, call)
        return super().complete_here(call)

    async def complete(self, call: Call) -> Draft:
        """The whole answer. Raises ``UpstreamError`` or ``ConfigError``."""
        if self._own_name(call) is None:
            return await self._rest.complete(call)
        try:
            async with asyncio.timeout(call.timeout):
                return await super().complete(call)
        except TimeoutError as error:
            raise self.failed(call, error) from None

    def stream(self, call: Call) -> Stream:
        """The answer as it arrives; errors come while iterating."""
        if self._own_name(call) is None:
            return self._rest.stream(call)
        return ChunkStream(call, self._dialect.provider, self._chunks(call))

    def work(self, call: Call) -> Callable[..., Any]:
        """The client's own method with all its arguments."""
        name = self._own_name(call)
        options: dict[str, Any] = {"max_retries": 0}  # the flow's own are steps that the ledger sees
        if call.endpoint.api_key_env is not None:
            options["api_key"] = _key(call.endpoint.api_key_env)
        client = self._client.with_options(**options)
        arguments = self._dialect.arguments(client, self._given.own, self._asked, call)
        if name in self._silent:
            arguments = {k: v for k, v in arguments.items() if k not in ("logprobs", "top_logprobs")}
        arguments |= self._given.options | {"model": name}
        arguments["timeout"] = _shorter(self._given.options.get("timeout", client.timeout), call.timeout)
        return functools.partial(self._dialect.create(client), **arguments)

    def drafted(self, call: Call, found: Any, latency: float) -> Draft:
        """The client's object, read."""
        endpoint, provider = call.endpoint, self._dialect.provider
        origin = Origin(call.tier, endpoint.model, price_for(endpoint), latency, provider)
        return draft_of(reply_of(found), found, origin)

    def told(self, call: Call, error: Exception) -> CascadeError:
        """The client's exception as ours, by its name: neither library is imported for it."""
        if isinstance(error, CascadeError):
            return error
        if isinstance(error, TypeError):
            return ConfigError(f"the {self._dialect.provider} client does not take these arguments: {error}")
        found = _upstream(error, call, self._dialect.provider)
        name = self._own_name(call) or ""
        wanted = call.endpoint.logprobs and name not in self._silent
        if wanted and found.status in (400, 422) and "logprob" in str(found).lower():
            # No list of models stays true for long, and a refusal costs nothing: ask again without.
            self._silent.add(name)
            found.retryable, found.retry_after = True, 0.0
        return found

    def _own_name(self, call: Call) -> str | None:
        return None if call.endpoint.base_url else self._dialect.own_name(call.endpoint.model)

    async def _chunks(self, call: Call) -> AsyncGenerator[dict[str, Any], None]:
        self.raised, reader, finished = None, self._dialect.reader(), False
        begin = functools.partial(self.work(call), stream=True)
        try:
            async with aclosing(_pieces(begin, self._home)) as pieces:
                async for piece in pieces:
                    chunk = Native(reader.chunk(piece), piece)
                    finished = finished or any(c.get("finish_reason") for c in chunk.get("choices") or ())
                    yield chunk
        except Exception as error:
            raise self.failed(call, error) from error
        if not finished:
            raise broken(self._dialect.provider, "ended the stream before the answer was complete", 200)


async def _pieces(begin: Callable[[], Any], home: Home) -> AsyncGenerator[Any]:
    """What the client streams; a synchronous one in a thread of its own."""
    if home is None:
        async with aclosing(from_thread(begin)) as pieces:
            async for piece in pieces:
                yield piece
        return
    stream = await begin()
    try:
        async for piece in stream:
            yield piece
    finally:
        await stream.close()


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{variable} is not set: the tier wants its key from there")
    return key


def _shorter(own: Any, seconds: float) -> Any:
    """The shorter of the client's own time limit and the tier's; phase by phase where it has phases."""
    if own is None or isinstance(own, int | float):
        return seconds if own is None else min(own, seconds)
    phases = {phase: getattr(own, phase) for phase in _PHASES}
    return type(own)(**{phase: seconds if limit is None else min(limit, seconds) for phase, limit in phases.items()})


def _upstream(error: Exception, call: Call, provider: str) -> UpstreamError:
    names = {cls.__name__ for cls in type(error).__mro__}
    if {type(cause).__name__ for cause in _causes(error)} & _NEVER_CONNECTED:
        return unreachable(provider, f"no connection for {call.endpoint.model}")
    if names & _TOO_LATE:
        return timed_out(provider, call.timeout)
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or status < 400:
        return broken(provider, f"failed {call.endpoint.model}: {type(error).__name__}: {error}", status)
    body = getattr(error, "body", None)
    said = message_of(body) if isinstance(body, dict) else str(error)
    wait = retry_after(getattr(getattr(error, "response", None), "headers", None) or {})
    return refused(status, said, provider=provider, endpoint=call.endpoint, wait=wait)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
