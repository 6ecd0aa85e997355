"""Every hosted provider, through litellm: its knowledge of parameters and dialects is the point.

It is imported on first use only (it is slow and large) and does nothing here but one call: no retries,
caches, callbacks or messages of its own, no price map from the network. What a process that has
imported it before has set is left as it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

from cascade.asks import Call, Endpoint
from cascade.errors import ConfigError, UpstreamError
from cascade.transports.faults import broken, refused, retry_after, timed_out, unreachable
from cascade.transports.reading import Origin, draft_of, price_for, reply_of
from cascade.transports.streams import ChunkStream
from cascade.types import Draft

COMPROMISED = frozenset({"1.82.7", "1.82.8"})
"""Releases of litellm that carried somebody else's code; they must not even be imported."""

_importing = threading.Lock()
_SIGNED_IN_OTHERWISE = frozenset({"azure", "bedrock", "sagemaker", "vertex_ai", "ollama", "ollama_chat"})
_NEVER_CONNECTED = frozenset({"ConnectError", "ConnectTimeout", "ClientConnectorError", "gaierror"})
_INVENTED = frozenset({"APIConnectionError", "MidStreamFallbackError"})
_LATE_MODULES = ("openai.resources", "litellm.proxy._types", "litellm.types.utils")
_LATE_MODELS = ("Message", "Delta", "Choices", "StreamingChoices", "ModelResponse", "ModelResponseStream")
_QUIET = {"num_retries": 0, "max_retries": 0, "no-log": True, "cache": {"no-cache": True, "no-store": True}}
_LIMITS = ("max_tokens", "max_completion_tokens")


def refuse_compromised(release: str) -> None:
    """Raise ``ConfigError`` for a release of litellm that must not be imported."""
    if release in COMPROMISED:
        raise ConfigError(f"litellm {release} was compromised: remove it and rotate every key it could see")


@lru_cache(maxsize=1)
def load() -> Any:
    """The litellm module, imported quietly if this is its first use in the process."""
    from importlib.metadata import version  # brings e-mail, zip and CSV along

    with _importing:
        refuse_compromised(version("litellm"))
        if "litellm" in sys.modules:
            return import_module("litellm")
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own models' making, nothing a user could mend
            return _imported()


async def _loaded() -> Any:
    """``load`` in a thread: the other requests on this loop should not wait seconds for an import."""
    return load() if load.cache_info().currsize else await asyncio.to_thread(load)


def _imported() -> Any:
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    # It logs what it also raises, with the provider's text in full.
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    # What it would do at its first call: a second or two on the event loop, within that call's timeout.
    with suppress(ImportError, AttributeError):
        for late in _LATE_MODULES:
            import_module(late)
        for model in _LATE_MODELS:
            getattr(litellm.types.utils, model).model_rebuild()
    return litellm


class LiteLLMTransport:
    """Calls any model litellm knows; see ``cascade.asks.Transport``. ``raw`` is litellm's object."""

    async def complete(self, call: Call) -> Draft:
        """The whole answer. Raises ``UpstreamError``, or ``ConfigError`` for a missing key."""
        litellm = await _loaded()
        provider, arguments = _arguments(litellm, call)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(call.timeout):
                raw = await litellm.acompletion(**arguments)
        except Exception as error:
            raise translated(error, call, provider) from None
        latency = time.perf_counter() - started
        origin = Origin(call.tier, call.endpoint.model, price_for(call.endpoint), latency, provider)
        return draft_of(reply_of(raw), raw, origin)

    def stream(self, call: Call) -> ChunkStream:
        """The answer as it arrives; the same errors, while iterating."""
        return ChunkStream(call, call.endpoint.model.partition("/")[0], self._chunks(call), _loaded)

    async def close(self) -> None:
        """Nothing: litellm's connections are shared by the whole process and it closes them at exit."""

    async def _chunks(self, call: Call) -> AsyncGenerator[dict[str, Any], None]:
        litellm = load()
        provider, arguments = _arguments(litellm, call)
        answer = None
        try:
            answer = await litellm.acompletion(**arguments, stream=True, stream_options={"include_usage": True})
            async for chunk in answer:
                yield chunk.model_dump(exclude_none=True)
            # It ends a torn stream with a "stop" of its own; what the provider said is kept here.
            if getattr(answer, "received_finish_reason", "unknown") is None:
                raise broken(provider, "ended the stream before the answer was complete", 200)
        except Exception as error:
            raise translated(error, call, provider) from None
        finally:
            if answer is not None:
                await answer.aclose()


def _arguments(litellm: Any, call: Call) -> tuple[str, dict[str, Any]]:
    """Who provides the model, and what to give to ``acompletion``."""
    endpoint = call.endpoint
    provider = provider_of(litellm, endpoint.model)
    supported = _supported(litellm, endpoint.model)
    arguments: dict[str, Any] = dict(call.params)
    arguments.pop("stream", None)
    arguments.pop("stream_options", None)
    for ours, theirs in (_LIMITS, _LIMITS[::-1]):
        if ours in arguments and ours not in supported and theirs in supported:
            arguments.setdefault(theirs, arguments.pop(ours))
    if endpoint.logprobs and "logprobs" in supported:
        arguments["logprobs"] = True
        if endpoint.top_logprobs and "top_logprobs" in supported:
            arguments["top_logprobs"] = max(endpoint.top_logprobs, arguments.get("top_logprobs") or 0)
    arguments |= {"model": endpoint.model, "messages": call.messages, "timeout": call.timeout} | _QUIET
    arguments["api_key"] = key_of(litellm, endpoint, provider)
    if endpoint.base_url:
        arguments["api_base"] = endpoint.base_url
    return provider, arguments


def provider_of(litellm: Any, model: str) -> str:
    """Who provides the model; ``ConfigError`` where litellm cannot tell."""
    try:
        return str(litellm.get_llm_provider(model)[1])
    except Exception:
        raise ConfigError(
            f"litellm knows no provider of {model!r}: write it as provider/model, or give a base_url"
        ) from None


@lru_cache(maxsize=256)
def _supported(litellm: Any, model: str) -> frozenset[str]:
    return frozenset(litellm.get_supported_openai_params(model) or ())


def key_of(litellm: Any, endpoint: Endpoint, provider: str) -> str | None:
    """The endpoint's own key, or None where litellm finds the provider's usual one by itself.

    Checked before the call, since a missing key and a refused connection are the same exception
    there. Clouds that sign in by role or by file are left to say it themselves.
    """
    if endpoint.api_key_env:
        key = os.environ.get(endpoint.api_key_env, "").strip()
        missing = [] if key else [endpoint.api_key_env]
    else:
        key = ""
        missing = [] if provider in _SIGNED_IN_OTHERWISE else _missing(litellm, endpoint.model)
    if missing:
        raise ConfigError(f"{endpoint.model} needs its key in the environment: set {', '.join(missing)}")
    return key or None


def _missing(litellm: Any, model: str) -> list[str]:
    return list(litellm.validate_environment(model)["missing_keys"])


def translated(error: Exception, call: Call, provider: str) -> Exception:
    """Litellm's exception as ours, by its status and by what caused it."""
    if isinstance(error, UpstreamError | ConfigError):
        return error
    endpoint, kind, chain = call.endpoint, type(error).__name__, list(_chain(error))
    if any(type(cause).__name__ in _NEVER_CONNECTED for cause in chain):
        return unreachable(provider, f"no connection for {endpoint.model}")
    if isinstance(error, TimeoutError) or kind == "Timeout":
        return timed_out(provider, call.timeout)
    said = str(getattr(error, "message", None) or error).rpartition("Exception - ")[2]
    status = getattr(error, "status_code", None)
    headers = next(filter(None, map(_headers, chain)), {})
    # It calls everything that it cannot place a 500; where no header came, no such answer did.
    if kind in _INVENTED or not isinstance(status, int) or (status >= 500 and not headers):
        return broken(provider, f"failed {endpoint.model}: {said}")
    return refused(status, said, provider=provider, endpoint=endpoint, wait=retry_after(headers))


def _headers(error: BaseException) -> Mapping[str, str]:
    """Headers of the response behind an exception, wherever litellm or a client keeps them."""
    response = getattr(error, "response", None)
    return getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None) or {}


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
