"""``cascade calibrate``: labelled outcomes and a target in, a lock out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.intake import Columns, OnlySignals, OnlyTiers, SliceBy, taken
from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, note, show, status
from cascade.errors import ConfigError
from cascade.promise import verdict

if TYPE_CHECKING:
    from cascade.intake import Intake
    from cascade.learning.calibrate import Learned
    from cascade.lock import Lock
    from cascade.policy import Policy

MaxError = Annotated[
    float | None,
    typer.Option("--max-error", metavar="SHARE", help="Target: of what is served cheap.", show_default=False),
]
MaxRegret = Annotated[
    float | None,
    typer.Option("--max-regret", metavar="SHARE", help="Target: lost against always-frontier.", show_default=False),
]
Sure = Annotated[
    float | None,
    typer.Option("--confidence", metavar="SHARE", help="Of the promise. Default: the policy's.", show_default=False),
]
AllowConflict = Annotated[
    bool,
    typer.Option("--allow-conflict", help="Certify though every judge is of a judged tier's family; it is stated."),
]


Source = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Labelled outcomes: .jsonl, .csv, .parquet, a ledger; - is stdin."),
]
SignalCost = Annotated[
    list[str] | None,
    typer.Option(
        "--signal-cost",
        metavar="NAME=UNITS",
        help="What a recorded signal cost, in cheap calls: judged=1.0. May be given again.",
        show_default=False,
    ),
]
JudgeName = Annotated[
    str, typer.Option("--judge", metavar="NAME", help="Who labelled rows whose verdicts do not say it.")
]
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
    rates = _rates(signal_cost or [])
    asked = _target(max_error, max_regret, confidence)
    found = taken(outcomes, tiers=tiers, slice_by=slice_by, signals=signals, column=column)
    if policy is None and tiers is not None:
        file, loaded = _written(outcomes, tiers, asked, rates, found, output)
        target = file.with_suffix(".lock.json")
    else:
        file, loaded = _loaded(policy, asked, rates)
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


def _target(max_error: float | None, max_regret: float | None, confidence: float | None) -> dict[str, float]:
    """What the command line says of the target; both targets at once are refused."""
    if max_error is not None and max_regret is not None:
        raise typer.BadParameter("--max-error and --max-regret: state one of them")
    given = {"max_error": max_error, "max_regret": max_regret, "confidence": confidence}
    return {name: value for name, value in given.items() if value is not None}


def _rates(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, equals, units = text.partition("=")
        try:
            found[name] = float(units)
        except ValueError:
            equals = ""
        if not (name and equals):
            raise typer.BadParameter(f"--signal-cost {text}: write NAME=UNITS, as judged=1.0")
    return found


def _loaded(policy: Path | None, asked: dict[str, float], rates: dict[str, float]) -> tuple[Path, Policy]:
    """The policy of a file under the target of the command line, if that gives one."""
    from cascade.policy import Target
    from cascade.policyfile import load_policy

    file = policy_file(policy)
    loaded = load_policy(file)
    if asked:
        kept = loaded.target.model_dump(exclude_none=True)
        if "max_error" in asked or "max_regret" in asked:
            kept = {k: v for k, v in kept.items() if k not in ("max_error", "max_regret")}
        target = Target.model_validate(kept | asked)
        if (target.kind, target.level, target.confidence) != (
            loaded.target.kind, loaded.target.level, loaded.target.confidence
        ):  # fmt: skip
            note(f"{file} asks for max_{loaded.target.kind} = {loaded.target.level:g}: the lock serves under it only "
                 f"where it promises at least that; write the new target there to use it")  # fmt: skip
        loaded = loaded.model_copy(update={"target": target})
    if rates:
        signals = loaded.signals.model_copy(update={"cost": {**loaded.signals.cost, **rates}})
        loaded = loaded.model_copy(update={"signals": signals})
    return file, loaded


def _written(
    source: Path, tiers: str, asked: dict[str, float], rates: dict[str, float], found: Intake, output: Path | None
) -> tuple[Path, Policy]:
    """A new minimal policy for these tiers; ``ConfigError`` where another file is in its place."""
    from cascade.learning.ladders import minimal_policy, policy_toml

    if not {"max_error", "max_regret"} & asked.keys():
        raise typer.BadParameter("--tiers without --policy needs a target: --max-error or --max-regret")
    names = [name.strip() for name in tiers.split(",") if name.strip()]
    base = (output if output is not None else Path(source.name.partition(".")[0])).with_suffix("")
    file = base.with_name(base.name + ".toml")
    made = minimal_policy(base.name, names, dict(asked), outcomes=found.outcomes)
    if rates:
        made = made.model_copy(update={"signals": made.signals.model_copy(update={"cost": rates})})
    text = policy_toml(made)
    if file.exists() and file.read_text("utf-8") != text:
        raise ConfigError(f"{file} exists and is another policy: give --policy {file}, or -o another name")
    file.write_text(text, "utf-8")
    note(f"{file} is written: tiers {', '.join(names)}; signals {', '.join(made.signals.sets[0])}")
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
