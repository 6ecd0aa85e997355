"""A minimal policy for tiers that somebody names: recorded data has answers and costs, and no models to call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade.policy import Policy
from cascade.policyfile import parse_policy
from cascade.types import Outcome

SURVEYED = 200
"""Rows that are looked at to see which signals a data set brings."""


SHOWN = {"name", "model", "base_url", "api_key_env", "params", "price"}
"""What a written tier says of itself."""


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
    import tomlkit

    target = policy.target
    page = tomlkit.document()
    page.add(tomlkit.comment("Written once by cascade; yours to edit. Thresholds live in the lock beside it."))
    page["name"] = policy.name
    page["target"] = {f"max_{target.kind}": target.level, "confidence": target.confidence, "over": target.over}
    page["signals"] = {"sets": policy.signals.sets, "cost": policy.signals.cost}
    page["preroute"] = {"enabled": policy.preroute.enabled}
    page["cache"] = {"enabled": policy.cache.enabled}
    ladder = tomlkit.aot()
    for tier in policy.tiers:
        table = tomlkit.table()
        shown = tier.model_dump(
            exclude_none=True, include={"name", "model", "base_url", "api_key_env", "params", "price"}
        )
        for key, value in shown.items():
            if value != {}:
                inline = tomlkit.inline_table()
                table[key] = inline.update(value) or inline if isinstance(value, dict) else value
        if tier.price is not None:
            free = "" if tier.price.input or tier.price.output else ": write the real ones"
            table["price"].comment(f"dollars a million tokens{free}")
        ladder.append(table)
    page["tiers"] = ladder
    return tomlkit.dumps(page)


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
