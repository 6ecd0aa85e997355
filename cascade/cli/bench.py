"""``cascade bench``: what a cascade saves against always-frontier, on your own past results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.intake import Columns, Layout, LayoutName, OnlySignals, OnlyTiers, SliceBy, taken
from cascade.cli.places import AsJson, PolicyFile
from cascade.cli.printing import emit, note, show, status
from cascade.cli.targets import (
    AllowConflict,
    JudgeName,
    MaxError,
    MaxRegret,
    SignalCost,
    Source,
    Sure,
    minimal,
    policy_under,
    rates_of,
    target_of,
)

if TYPE_CHECKING:
    from cascade.bench.document import Bench
    from cascade.policy import Policy
    from cascade.types import Outcome

Page = Annotated[
    Path | None,
    typer.Option("--report", metavar="HTML", help="Also write a page with pictures.", show_default=False),
]
JudgeCost = Annotated[
    float | None,
    typer.Option(
        "--judge-cost",
        metavar="USD",
        min=0.0,
        help="Of one verdict. Default: as the verdicts say; else it is not counted, and that is said.",
        show_default=False,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        min=1,
        help="Spread the cost of the labels over so many requests. Without it they are shown by themselves.",
        show_default=False,
    ),
]
Beside = Annotated[
    Path | None,
    typer.Option(
        "--beside",
        metavar="FILE",
        help="Decisions of another system on these rows, JSON lines {id, name, accepted}: one more strategy.",
        show_default=False,
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="Without the ablation and the drift and outage scenarios.")]


def bench(  # noqa: PLR0913, PLR0917  every parameter is an option of the command line
    outcomes: Source,
    policy: PolicyFile = None,
    tiers: OnlyTiers = None,
    max_error: MaxError = None,
    max_regret: MaxRegret = None,
    confidence: Sure = None,
    signals: OnlySignals = None,
    signal_cost: SignalCost = None,
    slice_by: SliceBy = None,
    column: Columns = None,
    layout: LayoutName = Layout.auto,
    judge: JudgeName = "",
    judge_cost: JudgeCost = None,
    requests: Requests = None,
    beside: Beside = None,
    allow_conflict: AllowConflict = False,
    quick: Quick = False,
    report: Page = None,
    json: AsJson = False,
) -> None:
    """Compare a certified cascade with what a sceptic would try, on rows that nothing was fitted on.

    Rows of the splits `fit` and `certify` calibrate the cascade and fit everything that it is compared with,
    rows of split `test` give every figure; rows without a split are dealt out by a hash of their id.
    No lock is read or written. Without --policy, `--tiers cheap,frontier` and a target will do. The exit
    status is 1 where the cascade does not pay, or cannot be told to.

    JSON: `policy`, `target`, `status` (certified, refused, contradicted), `statement`, `judges`, `rows` (by
    split), `measured` (rows of every figure), `left_out`, `verdict` (`pays`, `sentence`, `saving`,
    `break_even`, `accept_rate`, `price_ratio`, `least_price_ratio`, `labels`, `payback`, `judge_cost`),
    `strategies` (list of `name`, `cost`, `saving`, `saving_before_audits`, `quality`, `quality_delta`,
    `accept_rate`, `escalation_rate`, `accepted_error`, `latency`, `latency_p50`, `latency_p95`,
    `latency_p99`, `cpu`, each `estimate`, `low`, `high`; the certified one is named `cascade`), `entrants`
    (what each of them is), `slices` (`name`, `rows`, `covered`, `strategies`), `ablation`, `waterfall`
    (dollars a request), `escalations` (`useful`, `wasted`, `harmful`), `confidence` (`auroc`, `aurc`,
    `e_aurc`, `ece` of each source), `reliability`, `curve` (`places`, `aiq`, `apgr`, `cpt50`, `cpt80`,
    `refused`), `noise`, `tails`, `labels`, `flattered` (what tricks would make of it), `scenarios`, `notes`.
    """
    rates = rates_of(signal_cost or [])
    asked = target_of(max_error, max_regret, confidence)
    found = taken(outcomes, tiers=tiers, slice_by=slice_by, signals=signals, column=column, layout=layout)
    if policy is None and tiers is not None:
        loaded = minimal(tiers, asked, rates, found.outcomes, "bench")
    else:
        _, loaded = policy_under(policy, asked, rates)
    options = {
        "judge": judge,
        "judge_cost": judge_cost,
        "requests": requests,
        "allow_conflict": allow_conflict,
        "ablation": not quick,
        "scenarios": not quick,
    }
    _finish(measured(found.outcomes, loaded, beside, options), report, json)


def measured(outcomes: list[Outcome], policy: Policy, beside: Path | None, options: dict[str, Any]) -> Bench:
    """The benchmark, its progress on stderr."""
    from cascade.bench.bench import Asked
    from cascade.bench.bench import bench as run
    from cascade.bench.beside import read_decisions
    from cascade.embedding import WordLlamaEmbedder
    from cascade.engine import embedder_of

    recorded = read_decisions(beside, policy.tiers[0].name) if beside is not None else {}
    with status("calibrating") as shown:
        return run(
            outcomes,
            policy,
            embedder=embedder_of(policy),
            reader=WordLlamaEmbedder(),
            asked=Asked(recorded=recorded, **options),
            told=shown,
        )


def _finish(found: Bench, report: Path | None, json: bool) -> None:
    if report is not None:
        from cascade.bench.page import write

        write(report, found)
    if json:
        emit(found)
    else:
        from cascade.bench.terminal import tables

        show(tables(found))
        if report is not None:
            note(f"{report} is written")
    if found.verdict.pays != "pays":
        raise typer.Exit(1)
