"""Any provider's answer, read once into a ``Draft``.

Objects are known by their shape, so that reading one never imports the client it came from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from cascade.asks import Endpoint
from cascade.errors import ConfigError, UpstreamError
from cascade.prices import Price, cost, price_of
from cascade.transports import wire
from cascade.transports.faults import message_of, scrub
from cascade.types import Draft, Usage

IMPOSSIBLE = math.log(2.0**-149)
"""About -103. A smaller probability is zero to the float32 softmax it came from, so -inf and the
sentinel -9999 that servers write for it say no more than this. Kept as they are, one such token
would drown every mean; taken as absent, the draft that its own model holds impossible would look
as if nothing were known of it."""

_ROUNDING = 1e-2  # a probability may come out above one by the rounding of half precision, not by more

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class Origin(NamedTuple):
    """Whose answer it is: tier, model as declared, its price, and how long it took in seconds.

    ``provider`` is for errors: a host, or litellm's word.
    """

    tier: str
    model: str
    price: Price | None
    latency: float
    provider: str = ""


def price_for(endpoint: Endpoint) -> Price | None:
    """The endpoint's own price, else the map's, else None."""
    return Price(*endpoint.price) if endpoint.price else price_of(endpoint.model)


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Billed(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _AnthropicMessage(msgspec.Struct):
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: _Billed | None = None
    model: str | None = None


def read(raw: Any, *, tier: str, model: str, price: Price | None, latency: float) -> Draft:
    """Read an OpenAI, litellm or Anthropic object, a ``dict`` in either's shape, or a string.

    ``latency`` is in seconds. ``cost`` of the draft is None without a price, or where the answer
    does not say its tokens. Raises ``UpstreamError`` when the answer holds no choices, and
    ``ConfigError`` when it is none of these things.
    """
    if isinstance(raw, str):
        return Draft(tier=tier, model=model, text=raw, latency=latency, raw=raw)
    return draft_of(reply_of(raw), raw, Origin(tier, model, price, latency))


def reply_of(raw: Any) -> wire.AnyReply:
    """The part of a provider's answer that is read. Raises as ``read`` does."""
    try:
        return _reply(raw)
    except msgspec.ValidationError as error:
        raise UpstreamError(f"an answer that is no chat completion: {scrub(str(error))}") from None


def _reply(raw: Any) -> wire.AnyReply:
    if isinstance(raw, wire.Completion):
        raw = raw.to_dict()
    kind = raw.get("type") if isinstance(raw, dict) else getattr(raw, "type", None)
    if kind == "message":
        return _from_anthropic(msgspec.convert(raw, _AnthropicMessage, from_attributes=True))
    if not isinstance(raw, dict) and not hasattr(raw, "choices"):
        raise ConfigError(
            f"cannot read an answer of type {type(raw).__module__}.{type(raw).__qualname__}: return an "
            "OpenAI, Anthropic or litellm object, a dict in OpenAI's shape or a string, or pass read="
        )
    return msgspec.convert(raw, wire.Reply[wire.RankedToken], from_attributes=True)


def draft_of(reply: wire.AnyReply, raw: Any, origin: Origin) -> Draft:
    """The ``Draft`` of a decoded answer; see ``read``."""
    usage = _usage(reply.usage)
    counted = usage.prompt_tokens or usage.completion_tokens
    spent = cost(usage, origin.price) if origin.price and counted else None
    if not reply.choices or reply.choices[0].message is None:
        said = f": {scrub(message_of(reply.error))}" if reply.error else ""
        raise UpstreamError(
            f"{origin.model} answered without choices{said}",
            provider=origin.provider,
            status=200,
            billed=True if counted else None,
            cost=spent,
        )
    choice = reply.choices[0]
    message = choice.message or wire.Message()
    logprobs, top = _logprobs(choice.logprobs, _shown_tokens(reply.usage))
    return Draft(
        tier=origin.tier,
        model=origin.model,
        text=_text(message.content),
        tool_calls=[msgspec.to_builtins(call) for call in message.tool_calls or []],
        finish_reason=choice.finish_reason,
        refusal=message.refusal or (message.provider_specific_fields or {}).get("refusal"),
        logprobs=logprobs,
        top_logprobs=top,
        usage=usage,
        cost=spent,
        latency=origin.latency,
        fingerprint=reply.system_fingerprint or reply.model,
        raw=raw,
    )


def _text(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content or ""


def _usage(tokens: wire.Tokens | None) -> Usage:
    if tokens is None:
        return Usage()
    details = tokens.prompt_tokens_details
    return Usage(
        prompt_tokens=tokens.prompt_tokens or 0,
        completion_tokens=tokens.completion_tokens or 0,
        cached_tokens=(details and details.cached_tokens) or 0,
    )


def _shown_tokens(tokens: wire.Tokens | None) -> int:
    """How many tokens must have a log-probability; 0 where nobody says."""
    if tokens is None or not tokens.completion_tokens:
        return 0
    details = tokens.completion_tokens_details
    return tokens.completion_tokens - ((details and details.reasoning_tokens) or 0)


def _logprobs(
    found: wire.Logprobs[wire.Token] | wire.Logprobs[wire.RankedToken] | None, shown: int
) -> tuple[list[float] | None, list[list[float]] | None]:
    """Log-probabilities and their alternatives, each None unless all of it is sound.

    A list that misses tokens says nothing of those it misses, so it counts as absent. One token
    may be missing: the one that ended the answer.
    """
    tokens: Sequence[wire.Token] = (found and found.content) or ()
    if not tokens or len(tokens) < shown - 1:
        return None, None
    chosen = _sound([token.logprob for token in tokens])
    if chosen is None or not isinstance(tokens[0], wire.RankedToken):
        return chosen, None
    ranks: list[list[float]] = []
    for token in tokens:
        alternatives = token.top_logprobs if isinstance(token, wire.RankedToken) else None
        sound = _sound([other.logprob for other in alternatives]) if alternatives else None
        if sound is None:
            return chosen, None
        ranks.append(sorted(sound, reverse=True))
    return chosen, ranks


def _sound(values: list[float | str | None]) -> list[float] | None:
    """The values clipped to what a log-probability can be; None if one of them is none at all."""
    clipped = []
    for value in values:
        # NaN fails this comparison as well.
        if not isinstance(value, float) or not value <= _ROUNDING:
            return None
        clipped.append(min(0.0, max(value, IMPOSSIBLE)))
    return clipped


def _from_anthropic(message: _AnthropicMessage) -> wire.AnyReply:
    """An Anthropic message in OpenAI's words. Its ``input_tokens`` leave out what a cache served."""
    text = "".join(block.text or "" for block in message.content if block.type == "text")
    calls = [
        wire.ToolCall(
            id=block.id,
            type="function",
            function=wire.Function(name=block.name, arguments=msgspec.json.encode(block.input).decode()),
        )
        for block in message.content
        if block.type == "tool_use"
    ]
    billed = message.usage or _Billed()
    cached = billed.cache_read_input_tokens or 0
    prompt = (billed.input_tokens or 0) + cached + (billed.cache_creation_input_tokens or 0)
    refused = message.stop_reason == "refusal"
    return wire.Reply(
        choices=[
            wire.Choice(
                message=wire.Message(
                    content=text,
                    refusal=(text or "refused without a word") if refused else None,
                    tool_calls=calls or None,
                ),
                finish_reason=_FINISH.get(message.stop_reason or "", message.stop_reason),
            )
        ],
        usage=wire.Tokens(
            prompt_tokens=prompt,
            completion_tokens=billed.output_tokens,
            prompt_tokens_details=wire.PromptDetails(cached_tokens=cached),
        ),
        model=message.model,
    )
