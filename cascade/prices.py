"""What a model costs, out of litellm's packaged price map, and what one call cost.

The map is read as a file: importing litellm costs seconds, decoding four numbers an entry takes a
few milliseconds, once. A price that is not there is None. It is never guessed, and never zero: the
map's zeros mean "unpriced" or "free for now", and only the person who pays can tell which.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import msgspec

from cascade.types import Usage

_MAP = "model_prices_and_context_window_backup.json"
_FINE_TUNED = re.compile(r"^(ft:[^:]+)(:[^:]*){3}$")
_SPELT_LONGER = ("bedrock", "vertex_ai")  # the map knows their models as bedrock_converse, vertex_ai-...


class Price(msgspec.Struct, frozen=True):
    """US dollars a million tokens. ``cached_input`` is for prompt tokens read from a cache."""

    input: float
    output: float
    cached_input: float


class _Entry(msgspec.Struct):
    litellm_provider: str = ""
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cache_read_input_token_cost: float | None = None


@lru_cache(maxsize=1)
def _entries() -> dict[str, _Entry]:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    path = Path(spec.origin).with_name(_MAP)
    return msgspec.json.decode(path.read_bytes(), type=dict[str, _Entry]) if path.exists() else {}


@lru_cache(maxsize=1024)
def price_of(model: str) -> Price | None:
    """Price of ``model`` as one writes it for litellm (``gpt-5.5``, ``anthropic/claude-...``).

    None where the map has no entry, or none by the token, or a zero. Where it gives no discount
    for cached tokens they cost what others do: an upper bound. Surcharges for very long prompts
    and for writing a cache are not in a ``Price``.
    """
    entry = _entry_of(model)
    if entry is None or not entry.input_cost_per_token or not entry.output_cost_per_token:
        return None
    cached = entry.cache_read_input_token_cost
    per_token = (
        entry.input_cost_per_token,
        entry.output_cost_per_token,
        entry.input_cost_per_token if cached is None else cached,
    )
    return Price(*(round(dollars * 1e6, 9) for dollars in per_token))


def _entry_of(model: str) -> _Entry | None:
    """The map's entry, found as litellm does: by the full name, else without its own provider."""
    entries = _entries()
    if model in entries:
        return entries[model]
    provider, slash, name = model.partition("/")
    if not slash:
        tuned = _FINE_TUNED.match(model)
        return entries.get(tuned[1]) if tuned else None
    entry = _entry_of(name)
    # Another provider's price for a model of the same name would be a guess.
    if entry is None or not _same_provider(provider, entry.litellm_provider):
        return None
    return entry


def _same_provider(prefix: str, provider: str) -> bool:
    return prefix == provider or (prefix in _SPELT_LONGER and provider.startswith(prefix))


def cost(usage: Usage, price: Price) -> float:
    """US dollars of one call; cached prompt tokens at their own price."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    fresh = usage.prompt_tokens - cached
    return (fresh * price.input + cached * price.cached_input + usage.completion_tokens * price.output) / 1e6
