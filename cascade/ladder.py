"""The tiers made callable: endpoints, prices and prompts compiled once from a policy.

Resolving a price here, when the policy loads, is what makes an unknown price the user's error then
and not a zero in somebody's savings later.
"""

from __future__ import annotations

from typing import Any

from cascade.asks import Call, Deliver, Endpoint
from cascade.decide import LENGTH_LIMITS
from cascade.errors import ConfigError
from cascade.lock import digest
from cascade.policy import Model, Policy, Tier
from cascade.prices import price_of
from cascade.types import Message, Request

CHARACTERS_PER_TOKEN = 4.0
"""English text, for an estimate before the call; what is charged afterwards is what was counted."""


class Ladder:
    """What is needed to call the tiers of one policy. ``ConfigError`` when a price is unknown.

    ``priced`` False leaves prices out, for callers who bring their own (``usage=`` of a wrap).
    """

    def __init__(self, policy: Policy, *, priced: bool = True) -> None:
        self._endpoints: dict[str, list[Endpoint]] = {}
        for tier in policy.tiers:
            wants = tier is not policy.last and tier.logprobs
            self._endpoints[tier.name] = [_endpoint(tier, m, wants, priced) for m in (tier, *tier.fallbacks)]
        self.identity = digest([tier.model_dump(mode="json") for tier in policy.tiers])

    def endpoint(self, tier: Tier, model: Model) -> Endpoint:
        """Where a call of this tier to this model goes."""
        place = 0 if model is tier else 1 + [m is model for m in tier.fallbacks].index(True)
        return self._endpoints[tier.name][place]

    def call(
        self,
        request: Request,
        slice_name: str,
        tier: Tier,
        model: Model,
        deliver: Deliver,
        timeout: float,
        max_tokens: int | None = None,
    ) -> Call:
        """One call, ready to be asked for.

        The tier's own parameters win over the caller's, because they are what was certified; a
        limit on the answer's length is the caller's to set, and ``max_tokens`` a rescue's.
        """
        params = {**request.params, **tier.params, **(model.params if model is not tier else {})}
        limit = {"max_tokens": max_tokens} if max_tokens is not None else _limit(request.params)
        if limit is not None:
            params = {k: v for k, v in params.items() if k not in LENGTH_LIMITS} | limit
        return Call(
            tier=tier.name,
            endpoint=self.endpoint(tier, model),
            messages=messages_for(tier, slice_name, request.messages),
            params=params,
            timeout=timeout,
            deliver=deliver,
        )

    def estimate(self, call: Call) -> float:
        """Dollars that a call is expected to cost at most, from lengths alone; 0.0 when unpriced.

        An answer whose length nobody limits counts with its prompt only.
        """
        price = call.endpoint.price
        if price is None:
            return 0.0
        characters = sum(len(str(message.get("content") or "")) for message in call.messages)
        tokens_out = next(iter((_limit(call.params) or {}).values()), 0)
        return (characters / CHARACTERS_PER_TOKEN * price[0] + tokens_out * price[1]) / 1e6


def messages_for(tier: Tier, slice_name: str, messages: list[Message]) -> list[Message]:
    """The caller's messages under the tier's prompt, which takes the system message's place."""
    prompt = tier.prompts.get(slice_name, tier.prompt)
    if prompt is None:
        return messages
    system = [m for m in messages if m.get("role") in ("system", "developer")]
    rest = [m for m in messages if m.get("role") not in ("system", "developer")]
    own = "\n".join(str(m.get("content") or "") for m in system)
    return [{"role": "system", "content": prompt.replace("{system}", own)}, *rest]


def _limit(params: dict[str, Any]) -> dict[str, Any] | None:
    """The limit on the answer's length among some parameters, under the name it was given."""
    for key in LENGTH_LIMITS if params else ():
        if params.get(key):
            return {key: params[key]}
    return None


def _endpoint(tier: Tier, model: Model, logprobs: bool, priced: bool) -> Endpoint:
    price = model.price or (price_of(model.model) if priced else None)
    if price is None and priced:
        raise ConfigError(
            f"no price is known for {model.model!r} (tier {tier.name!r}): "
            f"add price = {{ input = ..., output = ... }} in dollars a million tokens"
        )
    cached = None if price is None else (price.input if price.cached_input is None else price.cached_input)
    return Endpoint(
        model=model.model,
        base_url=model.base_url,
        api_key_env=model.api_key_env,
        price=None if price is None or cached is None else (price.input, price.output, cached),
        logprobs=logprobs,
        top_logprobs=tier.top_logprobs if logprobs else 0,
    )
