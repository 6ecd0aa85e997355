"""Options of the commands that read labelled outcomes, and how they read them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.printing import note, status
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.intake import Group, Intake

EVERY = 1000
"""Rows between two changes of the progress line."""

OnlyTiers = Annotated[
    str | None,
    typer.Option("--tiers", metavar="A,B", help="Only these tiers; a row must have each of them.", show_default=False),
]
SliceBy = Annotated[
    str | None,
    typer.Option(
        "--slice-by",
        metavar="PATH",
        help="Take the slice from this field of a row: metadata.team, tenant, a column of a table.",
        show_default=False,
    ),
]
OnlySignals = Annotated[
    str | None,
    typer.Option(
        "--signals",
        metavar="A,B",
        help="Only these recorded signals: logprobs.mean, or a family as logprobs.",
        show_default=False,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="PATH=NAME",
        help="What a table calls a field: cheap.correct=mini_ok. May be given again.",
        show_default=False,
    ),
]


class Layout(StrEnum):
    """What the columns of a table mean."""

    auto = "auto"
    cascade = "cascade"
    routerbench = "routerbench"
    litellm = "litellm"


LayoutName = Annotated[
    Layout,
    typer.Option(
        "--layout",
        help="What the columns mean: the record's own paths, RouterBench's wide table, or LiteLLM's spend log,"
        " where calls with the same messages are one row. Default: as their names tell.",
        show_default=False,
    ),
]


def taken(
    source: Path | str,
    *,
    tiers: str | None = None,
    slice_by: str | None = None,
    signals: str | None = None,
    column: list[str] | None = None,
    layout: Layout = Layout.auto,
    unlabelled: bool = False,
) -> Intake:
    """Outcomes of a source, read as the options say; what was found is told on stderr.

    Raises ``ConfigError`` when the source cannot be read or nothing of it can be used.
    """
    from cascade.intake import read

    with status(f"reading {source}") as shown:
        intake = read(
            source,
            columns=named_columns(column or []),
            tiers=_names("--tiers", tiers),
            slice_by=slice_by,
            signals=_names("--signals", signals),
            layout=layout.value,
            unlabelled=unlabelled,
            on_row=lambda count: shown(f"reading {source}: {count:,} rows") if count % EVERY == 0 else None,
        )
    for line in report(intake):
        note(f"{source}: {line}")
    if not intake.outcomes:
        raise ConfigError(f"{source}: no row of {intake.rows:,} can be used{_chiefly(intake.problems)}")
    return intake


def report(intake: Intake) -> list[str]:
    """What was found, a line a reason with the first three rows; nothing where all was well."""
    lines = [f"left out, {_line(group)}" for group in intake.problems]
    return lines + [f"note, {_line(group)}" for group in intake.notes]


def _line(group: Group) -> str:
    first = "; ".join(" ".join(str(found).split()) for found in group.first)
    more = "; ..." if group.count > len(group.first) else ""
    return f"{group.count:,} x {group.reason}{': ' if first else ''}{first}{more}"


def _chiefly(problems: list[Group]) -> str:
    if not problems:
        return ""
    from cascade.intake.proof import NO_LABEL

    worst = max(problems, key=lambda group: group.count)
    hint = "; cascade judge labels outcomes, and cascade export FILE -o o.jsonl makes them of a table"
    return f": {worst.reason} ({worst.count:,}){hint if worst.reason == NO_LABEL else ''}"


def _names(option: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise typer.BadParameter(f"{option}: names separated by commas are expected")
    return names


def named_columns(given: list[str]) -> dict[str, str]:
    """Paths to the table's own names; a path holds no ``=``, their name may."""
    columns: dict[str, str] = {}
    for text in given:
        path, equals, name = text.partition("=")
        if not (path and equals and name):
            raise typer.BadParameter(f"--column {text}: write PATH=NAME, as cheap.correct=mini_ok")
        if columns.setdefault(path, name) != name:
            raise typer.BadParameter(f"--column {path} is given twice: {columns[path]} and {name}")
    return columns
