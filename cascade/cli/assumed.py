"""What a plan rests on: every figure with where it came from and how to change it.

A figure comes from the command line, else from the policy, else from measured outcomes, else it is
assumed. Prices are never assumed, save a judge's: unless something is said of it, it costs what the
frontier costs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Literal

from cascade.errors import ConfigError
from cascade.types import Record

if TYPE_CHECKING:
    from cascade.economics import CallCosts
    from cascade.policy import Policy, Tier
    from cascade.types import Outcome

Source = Literal["given", "policy", "measured", "assumed"]
TOKENS_IN, TOKENS_OUT = 800.0, 200.0
JUDGE_WRITES = 150.0
"""Tokens of a verdict. What a judge reads is the question and both answers."""


class Assumption(Record, frozen=True, kw_only=True):
    """One figure, where it came from, the option that would change it, and which answers rest on it."""

    name: str
    value: float
    source: Source
    option: str
    bears_on: list[str]


def settled(
    name: str,
    option: str,
    on: str,
    *,
    given: float | None = None,
    policy: float | None = None,
    measured: float | None = None,
    assumed: float,
) -> Assumption:
    """The first of these that is known. ``on`` names the answers: labels, alarms, money."""
    found: list[tuple[float | None, Source]] = [(given, "given"), (policy, "policy"), (measured, "measured")]
    value, source = next(((value, source) for value, source in found if value is not None), (assumed, "assumed"))
    return Assumption(name=name, value=value, source=source, option=option, bears_on=on.split())


class Money(Record, frozen=True, kw_only=True):
    """What the command line says about prices: a model or dollars a call for each role, and tokens."""

    models: dict[str, str | None]
    dollars: dict[str, float | None]
    extra: float | None
    tokens_in: float | None
    tokens_out: float | None


class Measured(Record, frozen=True, kw_only=True):
    """Means over recorded outcomes, None where nothing was recorded; ``costs`` by tier."""

    costs: dict[str, float]
    judge: float | None
    tokens_in: float | None
    tokens_out: float | None
    accept: float | None


def measured(outcomes: Iterable[Outcome]) -> Measured:
    """Mean cost of each tier and of a verdict, mean tokens of a call, and the share served cheap.

    The last is known where a policy was enforced: of the requests that a gate decided, those that
    were accepted.
    """
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for row in outcomes:
        for tier, model in row.models.items():
            _note(seen, f"tier {tier}", model.cost)
            _note(seen, "in", model.prompt_tokens)
            _note(seen, "out", model.completion_tokens)
            for verdict in model.verdicts:
                _note(seen, "judge", verdict.cost)
        served = row.decision.served if row.decision is not None and row.decision.mode == "enforce" else ""
        if served in ("accepted", "escalated"):
            _note(seen, "accept", float(served == "accepted"))
    means = {name: sum(values) / len(values) for name, values in seen.items()}
    return Measured(
        costs={name.removeprefix("tier "): mean for name, mean in means.items() if name.startswith("tier ")},
        judge=means.get("judge"),
        tokens_in=means.get("in"),
        tokens_out=means.get("out"),
        accept=means.get("accept"),
    )


def _note(seen: defaultdict[str, list[float]], name: str, value: float | None) -> None:
    if value is not None:
        seen[name].append(value)


def call_costs(
    money: Money, policy: Policy | None, known: Measured | None
) -> tuple[CallCosts | None, list[Assumption]]:
    """Dollars of a call of each role, and what they rest on. None where nobody said anything of money.

    ``ConfigError`` where a price is wanted and not to be had; it says which option gives it.
    """
    from cascade.economics import CallCosts

    said = [*money.models.values(), *money.dollars.values(), money.extra, money.tokens_in, money.tokens_out]
    if policy is None and known is None and all(value is None for value in said):
        return None, []
    read, written = (None, None) if known is None else (known.tokens_in, known.tokens_out)
    tokens = [
        settled("tokens in", "--tokens-in", "money", given=money.tokens_in, measured=read, assumed=TOKENS_IN),
        settled("tokens out", "--tokens-out", "money", given=money.tokens_out, measured=written, assumed=TOKENS_OUT),
    ]
    _not_negative(tokens)
    each = (tokens[0].value, tokens[1].value)
    cheap = _role("cheap", money, policy, known, each)
    frontier = _role("frontier", money, policy, known, each)
    judge = _role("judge", money, policy, known, (each[0] + 2 * each[1], JUDGE_WRITES), unsaid=frontier.value)
    extra = settled("extra a cheap call, USD", "--cost-extra", "money", given=money.extra, assumed=0.0)
    costs = CallCosts(cheap=cheap.value, frontier=frontier.value, judge=judge.value, extra=extra.value)
    priced = any(money.models.values()) or "policy" in (cheap.source, frontier.source)
    return costs, [cheap, frontier, judge, extra, *(one for one in tokens if priced or one.source == "given")]


def _not_negative(figures: list[Assumption]) -> None:
    for figure in figures:
        if not 0.0 <= figure.value < inf:
            raise ConfigError(f"{figure.option} must be at least 0; got {figure.value:g}")


def _role(
    role: str,
    money: Money,
    policy: Policy | None,
    known: Measured | None,
    tokens: tuple[float, float],
    unsaid: float | None = None,
) -> Assumption:
    """Dollars of one call: as given, of the model given, as the policy prices it, as measured."""
    rungs = len(policy.tiers) - 1 if policy is not None and role == "cheap" else 1
    name, option = f"{role} call, USD" if rungs == 1 else f"{rungs} cheap calls, USD", f"--cost-{role}"
    model, dollars = money.models[role], money.dollars[role]
    if model is not None and dollars is not None:
        raise ConfigError(f"--{role} and {option} both price the {role} call: give one")
    listed = _listed(model, option, tokens) if model is not None else dollars
    # What calls really cost says more than a list price times assumed tokens.
    real = _measured_cost(role, policy, known) if listed is None else None
    declared = _policy_cost(role, policy, option, tokens) if listed is None and real is None else None
    if unsaid is None and listed is None and real is None and declared is None:
        raise ConfigError(f"what does a {role} call cost? Name its model with --{role}, or give dollars with {option}")
    return settled(name, option, "money", given=listed, policy=declared, measured=real, assumed=unsaid or 0.0)


def _listed(model: str, option: str, tokens: tuple[float, float]) -> float:
    from cascade.prices import price_of

    price = price_of(model)
    if price is None:
        raise ConfigError(f"no price is known of {model}: give dollars a call with {option}")
    return (tokens[0] * price.input + tokens[1] * price.output) / 1e6


def _policy_cost(role: str, policy: Policy | None, option: str, tokens: tuple[float, float]) -> float | None:
    """Of all tiers but the last for the cheap role: a label needs every tier's answer."""
    if policy is None or role == "judge":
        return None

    def one(tier: Tier) -> float:
        if tier.price is None:
            return _listed(tier.model, option, tokens)
        return (tokens[0] * tier.price.input + tokens[1] * tier.price.output) / 1e6

    return sum(map(one, _tiers(role, policy)))


def _measured_cost(role: str, policy: Policy | None, known: Measured | None) -> float | None:
    """Without a policy the dearest recorded tier is the frontier, and the cheapest the cheap one."""
    if known is None or role == "judge":
        return known.judge if known is not None else None
    if policy is not None:
        costs = [known.costs.get(tier.name) for tier in _tiers(role, policy)]
        return None if None in costs else sum(cost for cost in costs if cost is not None)
    if len(known.costs) < 2:
        return None
    return min(known.costs.values()) if role == "cheap" else max(known.costs.values())


def _tiers(role: str, policy: Policy) -> list[Tier]:
    if len(policy.tiers) < 2:
        raise ConfigError(f"policy {policy.name!r} has one tier only: there is nothing to save")
    return policy.tiers[:-1] if role == "cheap" else [policy.last]
