"""``cascade calibrate``: labelled outcomes and a target in, a lock out."""

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
from cascade.errors import ConfigError
from cascade.promise import verdict

if TYPE_CHECKING:
    from cascade.intake import Intake
    from cascade.learning.calibrate import Learned
    from cascade.lock import Lock
    from cascade.policy import Policy

Page = Annotated[
    Path | None,
    typer.Option("--report", metavar="HTML", help="Also write a page with everything.", show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="NAME",
        help="With --policy the lock's file (default: beside the policy), with --tiers the new policy's name.",
        show_default=False,
    ),
]


def calibrate(  # noqa: PLR0913, PLR0917  every parameter is an option of the command line
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
    allow_conflict: AllowConflict = False,
    report: Page = None,
    output: Output = None,
    json: AsJson = False,
) -> None:
    """Fit and certify the gates of a policy, and write its lock.

    Rows of split `fit` fit the scorers, rows of split `certify` are looked at once, for the
    certificates, rows of split `test` are seen by no step and may contradict them. Rows without a
    split are dealt out by a hash of their id. Without a policy, `--tiers cheap,frontier -o NAME` and a
    target write a minimal one. Nothing certified is no error: the lock then holds closed gates,
    everything escalates, and the exit status is 1.

    JSON: `lock` (the file), `policy` (its file), `certified`, `status` (certified, refused,
    contradicted), `statement` (the promise or the refusal, in words), `certificates` (as in the
    lock), `gates` (id to threshold, null where closed), `evidence` (with --report or not: all that
    the page shows).
    """
    rates = rates_of(signal_cost or [])
    asked = target_of(max_error, max_regret, confidence)
    found = taken(outcomes, tiers=tiers, slice_by=slice_by, signals=signals, column=column, layout=layout)
    if policy is None and tiers is not None:
        file, loaded = _written(outcomes, tiers, asked, rates, found, output)
        target = file.with_suffix(".lock.json")
    else:
        file, loaded = policy_under(policy, asked, rates)
        target = output if output is not None else file.with_suffix(".lock.json")
    with status("fitting and certifying") as shown:
        learned, evidence = _learned(found, loaded, judge, allow_conflict, shown)
    from cascade.lock import save_lock

    save_lock(target, learned.lock)
    if report is not None:
        from cascade.report import write

        write(report, evidence)
    if json:
        emit(_document(target, file, learned.lock, evidence))
    else:
        from cascade.report import tables

        show(tables(evidence))
        note(f"{target} is written" + (f", and {report}" if report is not None else ""))
    if learned.status != "certified":
        raise typer.Exit(1)


def _document(target: Path, policy: Path, lock: Lock, evidence: Any) -> dict[str, Any]:
    return {
        "lock": str(target),
        "policy": str(policy),
        "certified": bool(lock.certificates),
        "status": evidence.status,
        "statement": verdict(lock),
        "certificates": lock.certificates,
        "gates": {gate.id: gate.threshold for gate in lock.gates},
        "evidence": evidence,
    }


def _written(
    source: Path, tiers: str, asked: dict[str, float], rates: dict[str, float], found: Intake, output: Path | None
) -> tuple[Path, Policy]:
    """A new minimal policy for these tiers; ``ConfigError`` where another file is in its place."""
    from cascade.learning.ladders import policy_toml

    base = (output if output is not None else Path(source.name.partition(".")[0])).with_suffix("")
    file = base.with_name(base.name + ".toml")
    made = minimal(tiers, asked, rates, found.outcomes, base.name)
    text = policy_toml(made)
    if file.exists() and file.read_text("utf-8") != text:
        raise ConfigError(f"{file} exists and is another policy: give --policy {file}, or -o another name")
    file.write_text(text, "utf-8")
    names = ", ".join(tier.name for tier in made.tiers)
    note(f"{file} is written: tiers {names}; signals {', '.join(made.signals.sets[0])}")
    return file, made


def _learned(found: Intake, policy: Policy, judge: str, allow_conflict: bool, shown: Any) -> tuple[Learned, Any]:
    """The calibration and its evidence, with the same without log-probabilities beside it."""
    from cascade.engine import embedder_of
    from cascade.learning.account import account
    from cascade.learning.calibrate import learn
    from cascade.learning.lesser import without_logprobs

    embedder = embedder_of(policy)
    learned = learn(found.outcomes, policy, judge=judge, embedder=embedder, allow_conflict=allow_conflict)
    shown("telling from held-out rows what it saves")
    lesser = without_logprobs(found.outcomes, policy, judge=judge, embedder=embedder, allow_conflict=allow_conflict)
    return learned, account(learned, policy, embedder=embedder, without=lesser)
