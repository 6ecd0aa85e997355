"""``cascade bench``: what a cascade saves against always-frontier, on your own past results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cascade.cli import recorded
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
    record: recorded.Record = False,
    exact: recorded.Exact = False,
    numeric: recorded.Numeric = False,
    json_equal: recorded.JsonEqual = False,
    command: recorded.Command = None,
    rubric: recorded.Rubric = None,
    base_url_judge: recorded.JudgeUrl = None,
    price_judge: recorded.JudgePrice = None,
    budget: recorded.Ceiling = None,
    yes: recorded.Yes = False,
    max_tokens: recorded.MaxTokens = 2048,
    concurrency: recorded.Concurrency = 4,
    json: AsJson = False,
) -> None:
    """Compare a certified cascade with what a sceptic would try, on rows that nothing was fitted on.

    Rows of the splits `fit` and `certify` calibrate the cascade and fit everything that it is compared with,
    rows of split `test` give every figure; rows without a split are dealt out by a hash of their id.
    No lock is read or written. Without --policy, `--tiers cheap,frontier` and a target will do. With --record
    every tier of the policy is asked each question of FILE now, the answers are judged (by a rule, or by the
    model that --judge names) and kept in NAME.record. The exit status is 1 where the cascade does not pay, or
    cannot be told to.
    """
    asked, rates = target_of(max_error, max_regret, confidence), rates_of(signal_cost or [])
    wanted = recorded.Recorded(
        exact, numeric, json_equal, command, (judge or None) if record else None, rubric, base_url_judge, price_judge,
        budget, yes, max_tokens, concurrency,
    )  # fmt: skip
    if record:
        _, loaded = policy_under(policy, asked, rates)
        rows, judge = recorded.record(outcomes, loaded, wanted), ""
    else:
        wanted.refuse()
        found = taken(outcomes, tiers=tiers, slice_by=slice_by, signals=signals, column=column, layout=layout)
        rows = found.outcomes
        named = policy is not None or not tiers
        loaded = policy_under(policy, asked, rates)[1] if named else minimal(tiers or "", asked, rates, rows, "bench")
    told = Told(judge, judge_cost, requests, allow_conflict, not quick, not quick)
    _finish(measured(rows, loaded, beside, told), report, json)


DOCUMENT = """
    JSON: `policy`, `kind`, `level` and `target` (in words) of the promise, `status` (certified, refused,
    contradicted), `statement`, `judges`, `rows` (by split), `measured` (rows of every figure), `left_out`, `verdict`
    (`pays`, `sentence`, `saving`, `break_even`, `accept_rate`, `price_ratio`, `least_price_ratio`, `labels`,
    `payback`, `judge_cost`), `strategies` (list of `name`, `cost`, `saving`, `saving_before_audits`, `quality`,
    `quality_delta`, `accept_rate`, `escalation_rate`, `accepted_error`, `latency`, `latency_p50`, `latency_p95`,
    `latency_p99`, `cpu`, each `estimate`, `low`, `high`; the certified one is named `cascade`), `entrants` (what
    each of them is), `slices` (`name`, `rows`, `covered`, `strategies`), `ablation`, `claims` (what is said of such
    systems, held against it), `waterfall` (dollars a request), `escalations` (`useful`, `wasted`, `harmful`),
    `confidence` (`auroc`, `aurc`, `e_aurc`, `ece` of each source), `reliability`, `curve` (`places`, `aiq`, `apgr`,
    `cpt50`, `cpt80`, `refused`), `noise`, `tails`, `labels` and `misses` (of what was served against the
    frontier's), `flattered` (what tricks would make of it), `scenarios`, `notes`.
"""

# Beside the function, which with its many options and fields would not fit on a screen; typer reads the whole.
bench.__doc__ = f"{bench.__doc__}{DOCUMENT}"


class Told(NamedTuple):
    """Options of the benchmark itself; see ``cascade.bench.bench.Asked``."""

    judge: str
    judge_cost: float | None
    requests: int | None
    allow_conflict: bool
    ablation: bool
    scenarios: bool


def measured(outcomes: list[Outcome], policy: Policy, beside: Path | None, told: Told) -> Bench:
    """The benchmark, its progress on stderr."""
    from cascade.bench.bench import Asked
    from cascade.bench.bench import bench as run
    from cascade.bench.beside import read_decisions
    from cascade.embedding import WordLlamaEmbedder
    from cascade.engine import embedder_of

    theirs = read_decisions(beside, policy.tiers[0].name) if beside is not None else {}
    with status("calibrating") as shown:
        return run(
            outcomes,
            policy,
            embedder=embedder_of(policy),
            reader=WordLlamaEmbedder(),
            asked=Asked(recorded=theirs, **told._asdict()),
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
