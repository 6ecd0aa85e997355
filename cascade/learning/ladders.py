"""A minimal policy for tiers that somebody names: recorded data has answers and costs, and no models to call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade.policy import Policy
from cascade.policyfile import parse_policy
from cascade.types import Outcome

SURVEYED = 200
"""Rows that are looked at to see which signals a data set brings."""


def minimal_policy(
    name: str,
    tiers: Sequence[str],
    target: dict[str, Any],
    *,
    signals: Sequence[str] | None = None,
    outcomes: Sequence[Outcome] = (),
    models: dict[str, dict[str, Any]] | None = None,
) -> Policy:
    """A policy of these tiers, cheapest first, with one signal set.

    ``signals`` are the families of the set; without it, those that most of the ``outcomes`` bring.
    ``models`` gives a tier's own table (model, base_url, price); a tier without one is its own model,
    at a price of 0: what recorded answers cost is recorded with them. Raises ``PolicyError``.
    """
    known = models or {}
    families = sorted(signals) if signals else families_of(outcomes, tiers[:-1])
    return parse_policy(
        {
            "name": name,
            "target": target,
            "tiers": [{"name": tier, **(known.get(tier) or _unpriced(tier))} for tier in tiers],
            "signals": {"sets": [families]},
            "cache": {"enabled": False},
        }
    )


def policy_toml(policy: Policy) -> str:
    """The policy as a short commented file that a person goes on with."""
    target = policy.target
    lines = [
        "# Written once by cascade; yours to edit. Thresholds live in the lock beside it.",
        f"name = {_quoted(policy.name)}",
        "",
        "[target]",
        f"max_{target.kind} = {target.level!r}",
        f"confidence = {target.confidence!r}",
        *([f"over = {_quoted(target.over)}"] if target.over != "all" else []),
        "",
        "[signals]",
        f"sets = {[sorted(families) for families in policy.signals.sets]!r}".replace("'", '"'),
        *([f"cost = {_table(policy.signals.cost)}"] if policy.signals.cost else []),
        "",
        "[preroute]",
        f"enabled = {str(policy.preroute.enabled).lower()}",
        "",
        "[cache]",
        "enabled = false",
    ]
    for tier in policy.tiers:
        lines += ["", "[[tiers]]", f"name = {_quoted(tier.name)}", f"model = {_quoted(tier.model)}"]
        if tier.base_url:
            lines.append(f"base_url = {_quoted(tier.base_url)}")
        if tier.api_key_env:
            lines.append(f"api_key_env = {_quoted(tier.api_key_env)}")
        if tier.params:
            lines.append(f"params = {_table(tier.params)}")
        if tier.price is not None:
            priced = f"price = {{ input = {tier.price.input!r}, output = {tier.price.output!r} }}"
            free = tier.price.input == tier.price.output == 0.0
            lines.append(f"{priced}  # dollars a million tokens{': write the real ones' if free else ''}")
    return "\n".join(lines) + "\n"


def families_of(outcomes: Sequence[Outcome], tiers: Sequence[str]) -> list[str]:
    """The signal families that at least half of the first rows bring for every one of these tiers."""
    some = outcomes[:SURVEYED]
    found: dict[str, int] = {}
    for outcome in some:
        models = [outcome.models[tier] for tier in tiers if tier in outcome.models]
        here = [set(m.families or {name.partition(".")[0] for name in m.signals}) for m in models]
        here = [
            names | ({"size"} if m.completion_tokens else set()) | ({"logprobs"} if m.logprobs else set())
            | ({"text"} if m.answer and not m.signals else set())
            for names, m in zip(here, models, strict=True)
        ]  # fmt: skip
        for name in set.intersection(*here) if here else set():
            found[name] = found.get(name, 0) + 1
    chosen = sorted(name for name, count in found.items() if 2 * count >= len(some))
    return chosen or ["text"]


def _unpriced(tier: str) -> dict[str, Any]:
    return {"model": tier, "price": {"input": 0.0, "output": 0.0}}


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _table(values: dict[str, Any]) -> str:
    return (
        "{ "
        + ", ".join(f"{_quoted(k)} = {_quoted(v) if isinstance(v, str) else _plain(v)}" for k, v in values.items())
        + " }"
    )


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
