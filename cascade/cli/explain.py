"""``cascade explain``: one decision, out of the ledger, in full."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.places import AsJson, PolicyFile, StoreFolder, opened
from cascade.cli.printing import emit, page
from cascade.errors import ConfigError
from cascade.promise import promise
from cascade.types import CACHE

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from cascade.ledger import Ledger
    from cascade.lock import Certificate
    from cascade.types import Decision, Outcome


def explain(
    id: Annotated[str, typer.Argument(help="Id of a decision; its beginning is enough.", show_default=False)],
    policy: PolicyFile = None,
    store: StoreFolder = None,
    json: AsJson = False,
) -> None:
    """Show one decision: who answered, why, on what evidence, and what it cost.

    JSON: `id`, `decision` (the ledger's record; fields at their default left out), `cost`
    (dollars), `cost_known`, `promise` (the certificate in words, or null), `verdicts` (by tier).
    """
    with opened(policy, store) as (ledger, loaded, place):
        outcome, decision = _found(ledger, id, place)
        certificate = _certificate(decision, place) if loaded is not None else None
    if json:
        verdicts = {name: model.verdicts for name, model in outcome.models.items() if model.verdicts}
        emit(
            {
                "id": outcome.id,
                "decision": decision,
                "cost": decision.cost,
                "cost_known": decision.cost_known,
                "promise": promise(certificate) if certificate is not None else None,
                "verdicts": verdicts,
            }
        )
        return
    console = page()
    for label, text in _lines(decision, certificate, outcome):
        console.print(f"{label:<13} {text}", markup=False)
    if decision.steps:
        console.print(_steps(decision))


def _found(ledger: Ledger, prefix: str, place: Path) -> tuple[Outcome, Decision]:
    """The one decision whose id begins so; ``ConfigError`` for none and for several."""
    ids = ledger.find(prefix, limit=6)
    if len(ids) > 1 and prefix not in ids:
        more = ", ..." if len(ids) > 5 else ""
        raise ConfigError(f"{prefix} begins several ids: {', '.join(ids[:5])}{more}")
    outcome = ledger.get(prefix if prefix in ids else ids[0]) if ids else None
    if outcome is None or outcome.decision is None:
        raise ConfigError(f"no decision's id begins with {prefix!r} in the ledger of {place}")
    return outcome, outcome.decision


def _certificate(decision: Decision, policy: Path) -> Certificate | None:
    """The certificate that the decision stood under, if the lock still has it."""
    from cascade.lock import load_lock, lock_path

    lock = load_lock(lock_path(policy))
    held = lock.certificates if lock is not None else []
    return next((one for one in held if one.id == decision.certificate), None)


def _lines(decision: Decision, certificate: Certificate | None, outcome: Outcome) -> Iterator[tuple[str, str]]:
    at = datetime.datetime.fromtimestamp(decision.at, datetime.UTC)
    yield "id", decision.id
    yield "at", f"{at:%Y-%m-%d %H:%M:%S} UTC, policy {decision.policy}, {decision.mode} mode"
    yield "slice", decision.slice or "none"
    yield "served", f"{decision.served} by {decision.served_by or 'nobody'}"
    yield "why", decision.why
    confidence, threshold = decision.confidence, decision.threshold
    if confidence is not None:
        against = "" if threshold is None else f"; score {confidence.score:.3f} against the threshold {threshold:.3f}"
        made_of = f"(signals {confidence.signal_set}, scorer {confidence.scorer})"
        yield "confidence", f"{confidence.probability:.3f}{against} {made_of}"
    stored = outcome.models.get(CACHE)
    if stored is not None and stored.question is not None:
        near = stored.signals.get("match.similarity", float("nan"))
        yield "stored", f"{stored.question!r}, similarity {near:.3f}, was the nearest question in the cache"
    if certificate is not None:
        yield "promise", promise(certificate)
    elif decision.certificate is not None:
        yield "certificate", f"{decision.certificate} (not in the policy's lock)"
    yield "audit", f"drawn for a judge with probability {decision.audit_probability:g}"
    if decision.explore_probability:
        yield "exploration", f"closed tiers asked in the shadow with probability {decision.explore_probability:g}"
    yield "cost", f"{decision.cost:.6f} USD{'' if decision.cost_known else ' or more: a step has no known cost'}"
    if decision.flags:
        yield "flags", ", ".join(decision.flags)
    for name, model in outcome.models.items():
        for one in model.verdicts:
            yield "verdict", f"{name}: {'acceptable' if one.acceptable else 'not acceptable'} ({one.judge})"


def _steps(decision: Decision) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("step", "tier", "outcome"):
        table.add_column(name)
    for name in ("tokens", "USD", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("detail", overflow="fold")
    for step in decision.steps:
        tokens = "" if step.usage is None else f"{step.usage.prompt_tokens}+{step.usage.completion_tokens}"
        cost = "unknown" if step.cost is None else f"{step.cost:.6f}"
        took, detail = f"{step.latency:.3f}", step.detail or step.model
        table.add_row(step.kind, step.tier, step.outcome, tokens, cost, took, detail)
    return table
