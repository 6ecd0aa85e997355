"""Servers that speak OpenAI's dialect at a ``base_url``: vLLM, llama.cpp, Ollama, one's own.

One pooled aiohttp call and one typed decoding; `python -m benchmarks speed` holds it against litellm.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cascade.asks import Call, Endpoint
from cascade.errors import ConfigError, UpstreamError
from cascade.transports.faults import broken, message_in, refused, retry_after, timed_out, unreachable
from cascade.transports.pool import Sessions
from cascade.transports.reading import Origin, draft_of, price_for
from cascade.transports.streams import ChunkStream, Events
from cascade.transports.wire import Completion, decode, loads
from cascade.types import Draft

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

_TRANSLATING_HOSTS = ("openai.com", "azure.com")  # they take max_completion_tokens, the others max_tokens
_LAST_BYTES = 0.2  # seconds that a finished stream gets to end its connection properly


class DirectTransport:
    """Calls an endpoint's ``base_url``; see ``cascade.asks.Transport``. Safe across loops and forks."""

    def __init__(self) -> None:
        self._sessions = Sessions()

    async def complete(self, call: Call) -> Draft:
        """The whole answer. Raises ``UpstreamError``, or ``ConfigError`` for a missing key."""
        target = _target(call.endpoint.base_url)
        self._sessions.get()  # the first one imports aiohttp, which is no part of the provider's time
        started = time.perf_counter()
        try:
            async with asyncio.timeout(call.timeout), self._post(call, target, stream=False) as response:
                body = await response.read()
        except TimeoutError:
            raise timed_out(target.host, call.timeout) from None
        return _draft(call, body, target.host, time.perf_counter() - started)

    def stream(self, call: Call) -> ChunkStream:
        """The answer as it arrives; the same errors, while iterating."""
        target = _target(call.endpoint.base_url)
        return ChunkStream(call, target.host, self._chunks(call, target))

    async def close(self) -> None:
        """Close the running loop's connections."""
        await self._sessions.close()

    @asynccontextmanager
    async def _post(self, call: Call, target: _Target, *, stream: bool) -> AsyncIterator[ClientResponse]:
        """The response to the call, if it is a success; everything else becomes an error here."""
        import aiohttp

        body, headers = _body(call, target.host, stream=stream), _headers(call.endpoint)
        # A redirect would take the key along to wherever it points.
        post = self._sessions.get().post(target.url, data=body, headers=headers, allow_redirects=False)
        try:
            async with post as response:
                if response.status != 200:
                    raise await _refusal(response, call.endpoint, target.host)
                yield response
        except aiohttp.ClientConnectorError as error:
            raise unreachable(target.host, str(error)) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            what = str(error) or type(error).__name__
            raise broken(target.host, f"cut the connection half way: {what}") from None

    async def _chunks(self, call: Call, target: _Target) -> AsyncGenerator[dict[str, Any], None]:
        events, finished = Events(), False
        # Left half way, the response's own exit drops the connection, and so stops the server.
        async with self._post(call, target, stream=True) as response:
            async for piece in response.content.iter_any():
                for data in events.feed(piece):
                    if data == b"[DONE]":
                        await _read_out(response)
                        return
                    chunk = _chunk(data, target.host)
                    finished = finished or any(c.get("finish_reason") for c in chunk.get("choices") or ())
                    yield chunk
        if events.torn or not finished:
            raise broken(target.host, "ended the stream before the answer was complete", 200)


class _Target(NamedTuple):
    url: URL
    host: str


@lru_cache(maxsize=256)
def _target(base_url: str | None) -> _Target:
    from yarl import URL

    try:
        url = URL((base_url or "").rstrip("/") + "/chat/completions")
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"base_url {base_url!r} is no http address such as http://localhost:8000/v1")
    return _Target(url, url.authority.rpartition("@")[2])


def _body(call: Call, host: str, *, stream: bool) -> bytes:
    endpoint = call.endpoint
    payload = {"model": endpoint.model, "messages": call.messages} | call.params
    payload.pop("stream", None)
    payload.pop("stream_options", None)
    if "max_completion_tokens" in payload and not host.endswith(_TRANSLATING_HOSTS):
        # Servers that do not know the new name ignore it, and an ignored limit is a bill.
        payload.setdefault("max_tokens", payload.pop("max_completion_tokens"))
    if endpoint.logprobs:
        payload["logprobs"] = True
        if endpoint.top_logprobs:
            payload["top_logprobs"] = max(endpoint.top_logprobs, payload.get("top_logprobs") or 0)
    if stream:
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        return msgspec.json.encode(payload)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"messages or parameters cannot be written as JSON: {error}") from None


def _headers(endpoint: Endpoint) -> dict[str, str] | None:
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise ConfigError(f"{endpoint.api_key_env} is not set: {endpoint.model} needs its key there")
    return {"Authorization": f"Bearer {key}"}


async def _refusal(response: ClientResponse, endpoint: Endpoint, host: str) -> UpstreamError:
    said = message_in(await response.read())
    return refused(response.status, said, provider=host, endpoint=endpoint, wait=retry_after(response.headers))


def _draft(call: Call, body: bytes, host: str, latency: float) -> Draft:
    endpoint = call.endpoint
    try:
        reply = decode(body, ranked=endpoint.top_logprobs > 0)
    except (ValueError, RecursionError):
        start = body[:80].decode("utf-8", "replace")
        raise broken(host, f"answered 200 with a body that is no chat completion: {start!r}", 200) from None
    origin = Origin(call.tier, endpoint.model, price_for(endpoint), latency, host)
    return draft_of(reply, Completion(body), origin)


def _chunk(data: bytes, host: str) -> dict[str, Any]:
    try:
        chunk = loads(data)
    except (ValueError, RecursionError):
        raise broken(host, "streamed an event that is not JSON", 200) from None
    if not isinstance(chunk, dict):
        raise broken(host, "streamed an event that is no chunk of an answer", 200)
    if chunk.get("error"):
        raise broken(host, f"broke off the stream: {message_in(data)}", 200)
    return chunk


async def _read_out(response: ClientResponse) -> None:
    """Let the last empty chunk arrive, so that the connection can serve the next call."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_BYTES):
            await response.content.read()
