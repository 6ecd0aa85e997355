"""``cascade bench --record``: every tier of a policy asked now, judged, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from cascade.cli.intake import report
from cascade.cli.judge_options import Wanted
from cascade.cli.printing import note, status
from cascade.errors import BudgetError, ConfigError, UpstreamError

if TYPE_CHECKING:
    from cascade.batch import Recording
    from cascade.policy import Policy
    from cascade.types import Outcome

PANEL = "With --record"
SHOWN = 5
"""So many failed questions are named on stderr."""

Record = Annotated[
    bool,
    typer.Option(
        "--record",
        rich_help_panel=PANEL,
        help="FILE holds questions: ask every tier of the policy, judge, then bench. Goes on where it broke off.",
    ),
]
Exact = Annotated[bool, typer.Option("--exact", rich_help_panel=PANEL, help="Judge: the words of the reference.")]
Numeric = Annotated[bool, typer.Option("--numeric", rich_help_panel=PANEL, help="Judge: the reference's number last.")]
JsonEqual = Annotated[
    bool, typer.Option("--json-equal", rich_help_panel=PANEL, help="Judge: the same JSON value as the reference.")
]
Command = Annotated[
    str | None,
    typer.Option(
        "--command", metavar="WORDS", rich_help_panel=PANEL, help="Judge: a test command; see cascade judge --help.",
        show_default=False,
    ),
]  # fmt: skip
Rubric = Annotated[
    str | None,
    typer.Option(
        "--rubric", metavar="NAME|FILE", rich_help_panel=PANEL, help="For the model that --judge names.",
        show_default=False,
    ),
]  # fmt: skip
JudgeUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url-judge", metavar="URL", rich_help_panel=PANEL, help="Its OpenAI-compatible server.",
        show_default=False,
    ),
]  # fmt: skip
JudgePrice = Annotated[
    str | None,
    typer.Option(
        "--price-judge", metavar="IN,OUT", rich_help_panel=PANEL, help="Its dollars a million tokens.",
        show_default=False,
    ),
]  # fmt: skip
Ceiling = Annotated[
    float | None,
    typer.Option(
        "--budget", metavar="USD", min=0.0, rich_help_panel=PANEL, help="No call begins that could pass it.",
        show_default=False,
    ),
]  # fmt: skip
Yes = Annotated[bool, typer.Option("--yes", "-y", rich_help_panel=PANEL, help="Spend without a ceiling.")]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", metavar="N", min=1, rich_help_panel=PANEL, help="The longest answer.")
]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, rich_help_panel=PANEL, help="At once.")]


class Recorded(NamedTuple):
    """What the options ask of a recording."""

    exact: bool
    numeric: bool
    json_equal: bool
    command: str | None
    model: str | None
    rubric: str | None
    base_url: str | None
    price: str | None
    budget: float | None
    yes: bool
    max_tokens: int
    concurrency: int

    @property
    def judge(self) -> Wanted:
        """The judge, as ``cascade judge`` describes one. ``BadParameter`` unless there is exactly one."""
        made = Wanted(
            exact=self.exact, numeric=self.numeric, tolerance=0.0, json_equal=self.json_equal, command=self.command,
            timeout=120.0, model=self.model, rubric=self.rubric, against=False, base_url=self.base_url,
            api_key_env=None, price=self.price, budget=None, verdicts=None, keep_going=False, name="",
        )  # fmt: skip
        made.check()
        return made

    def refuse(self) -> None:
        """``BadParameter`` for an option that has no meaning without --record."""
        if any((self.exact, self.numeric, self.json_equal, self.command, self.rubric, self.base_url, self.price,
                self.budget is not None, self.yes)):  # fmt: skip
            raise typer.BadParameter("judges by rule or rubric, --budget and --yes are for --record")


def record(source: Path, policy: Policy, wanted: Recorded) -> list[Outcome]:
    """Ask, judge and keep; outcomes of all questions that every tier answered.

    ``ConfigError`` for rows that are no questions or where nobody said what may be spent, ``BudgetError`` or
    ``UpstreamError`` where it stopped before the end: what was recorded is kept, and the next run goes on.
    """
    from cascade.batch import read_questions, record_outcomes
    from cascade.intake import Intake

    judge = wanted.judge
    if wanted.budget is None and not wanted.yes:
        raise ConfigError("every tier is asked every question: say what it may cost with --budget USD, or --yes")
    read = read_questions(source)
    for line in report(Intake(outcomes=[], problems=read.bad, notes=read.notes, rows=0)):
        note(f"{source}: {line}")
    if read.bad:
        raise ConfigError(f"{source}: {sum(group.count for group in read.bad):,} of its rows are no questions")
    folder = source.with_name(source.name.partition(".")[0] + ".record")
    with status("asking every tier") as shown:
        found = record_outcomes(
            policy,
            read.questions,
            judge=judge.judge,
            folder=folder,
            budget=wanted.budget,
            concurrency=wanted.concurrency,
            max_tokens=wanted.max_tokens,
            progress=lambda done, spent: shown(
                f"asking every tier: {done:,} of {len(read.questions):,}, {spent:.4f} USD"
            ),
        )
    _tell(found, folder)
    return found.outcomes


def _tell(found: Recording, folder: Path) -> None:
    note(f"{folder / 'outcomes.jsonl.gz'} holds {len(found.outcomes):,} outcomes, {found.spent:.4f} USD spent in all")
    for one in found.possibly_billed:
        most = "" if one.most is None else f", at most {one.most:.4f} USD"
        note(f"under way when a run ended, possibly billed: {one.id}, {one.tier}{most}")
    for id, reason in list(found.failed.items())[:SHOWN]:
        note(f"{id} failed: {reason}")
    if found.stopped == "budget":
        raise BudgetError(f"the budget ended before {len(found.left):,} questions: raise it and run this again")
    if found.stopped:
        raise UpstreamError(f"models cannot be reached, {len(found.failed):,} questions failed: run this again later",
                            billed=False, retryable=True)  # fmt: skip
