"""Options of the commands that calibrate: the target, the labelled rows, and the policy under that target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.places import policy_file
from cascade.cli.printing import note

if TYPE_CHECKING:
    from cascade.policy import Policy
    from cascade.types import Outcome

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


def target_of(max_error: float | None, max_regret: float | None, confidence: float | None) -> dict[str, float]:
    """What the command line says of the target; both targets at once are refused."""
    if max_error is not None and max_regret is not None:
        raise typer.BadParameter("--max-error and --max-regret: state one of them")
    given = {"max_error": max_error, "max_regret": max_regret, "confidence": confidence}
    return {name: value for name, value in given.items() if value is not None}


def rates_of(given: list[str]) -> dict[str, float]:
    """What recorded signals cost, by name, in units of the cheap call."""
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


def policy_under(policy: Path | None, asked: dict[str, float], rates: dict[str, float]) -> tuple[Path, Policy]:
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
    return file, with_rates(loaded, rates)


def minimal(tiers: str, asked: dict[str, float], rates: dict[str, float], rows: list[Outcome], name: str) -> Policy:
    """The smallest policy that names these tiers and this target; a usage error where no target is given."""
    from cascade.learning.ladders import minimal_policy

    if not {"max_error", "max_regret"} & asked.keys():
        raise typer.BadParameter("--tiers without --policy needs a target: --max-error or --max-regret")
    names = [one.strip() for one in tiers.split(",") if one.strip()]
    made = minimal_policy(name, names, dict(asked), outcomes=rows)
    return with_rates(made, rates)


def with_rates(policy: Policy, rates: dict[str, float]) -> Policy:
    """The policy with what its recorded signals cost, in units of the cheap call."""
    if not rates:
        return policy
    signals = policy.signals.model_copy(update={"cost": {**policy.signals.cost, **rates}})
    return policy.model_copy(update={"signals": signals})
