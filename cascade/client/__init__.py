"""The user's own OpenAI or Anthropic client, cascaded: their code stays, and the types it gets back.

``wrap_client`` returns the client with one method replaced, ``chat.completions.create`` or
``messages.create``. A tier of the client's own provider is called through the client, with its
address, key, headers and limits; any other goes its ordinary way, and the answer is built into the
client's own type. So the policy may switch providers under the caller's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade.callers import Engine
from cascade.client.calls import AsyncCalls, Calls, Defaults
from cascade.client.chat import Chat
from cascade.client.dialect import Dialect
from cascade.client.messages import Messages
from cascade.client.surface import over_anthropic, over_openai
from cascade.errors import ConfigError

__all__ = ["wrap_client"]


def wrap_client(
    cascade: Engine,
    client: Any,
    *,
    slice: str | None = None,
    tenant: str = "",
    metadata: Mapping[str, str] | None = None,
    stakes: str | None = None,
) -> Any:
    """``client`` (OpenAI, AsyncOpenAI, Anthropic, AsyncAnthropic), cascaded; it passes for the client.

    The keywords are what a call that names none of its own has; one call names its own by
    ``extra_body={"cascade": {"slice": ..., "tenant": ..., "metadata": ..., "stakes": ...}}``, which
    is taken out again. ``last()`` is the decision of the latest call in this context. With
    ``stream=True`` the call returns an iterator of the client's own chunks or events, with ``close``.

    ``model`` is ignored: the policy chooses it. Retries are the policy's, time limits the shorter of
    the tier's and the client's; ``extra_headers`` and ``extra_query`` go with the client's own calls
    and keep the request out of the cache. ``with_options`` and ``copy`` return cascaded clients.
    What would go around the cascade (``parse``, the ``stream`` helper, raw and streaming responses)
    raises ``ConfigError``; whatever is no chat (embeddings, files, token counts, the Responses API)
    is the client's own, as before.

    Calls raise ``ConfigError``, ``UpstreamError`` (from the client's own error where that was the
    last word) and ``BudgetError``. Raises ``ConfigError`` here for any other object.
    """
    defaults = Defaults(slice, tenant, dict(metadata or {}), stakes)
    provider, asynchronous = _kind(client)
    dialect: Dialect = Messages() if provider == "anthropic" else Chat(provider)
    calls = (AsyncCalls if asynchronous else Calls)(cascade, dialect, defaults)
    return over_anthropic(client, calls) if provider == "anthropic" else over_openai(client, calls)


_KINDS = {
    ("openai", "AzureOpenAI"): ("azure", False),
    ("openai", "AsyncAzureOpenAI"): ("azure", True),
    ("openai", "OpenAI"): ("openai", False),
    ("openai", "AsyncOpenAI"): ("openai", True),
    ("anthropic", "Anthropic"): ("anthropic", False),
    ("anthropic", "AsyncAnthropic"): ("anthropic", True),
}


def _kind(client: Any) -> tuple[str, bool]:
    """Whose models it calls, and whether it is asynchronous; known by name, so that nothing is imported."""
    for cls in type(client).__mro__:
        kind = _KINDS.get((cls.__module__.partition(".")[0], cls.__name__))
        if kind is not None:
            return kind
    found = f"{type(client).__module__}.{type(client).__qualname__}"
    raise ConfigError(
        f"cascade.client takes an OpenAI, AsyncOpenAI, Anthropic or AsyncAnthropic client, not {found}; "
        "cascade.wrap takes any function"
    )
