"""What tables on a terminal have in common: figures with their interval beneath, words as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cascade.evidence import LeftOut
from cascade.intervals import Figure
from cascade.report.words import NOTHING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

NAME = 24
"""Widest name before it is folded, so that the widest table fits 100 columns."""

TEXT = frozenset({"why", "such as", "covered by", "tier", "signals", "what", "what it is"})
"""Columns of words: to the left, and wrapped where they are too wide."""


def table(first: str, *rest: str, name: int = NAME) -> Table:
    """An empty table whose first column names its rows, ``name`` columns wide at most; the others are figures."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    made.add_column(text(first), max_width=name, overflow="fold")
    for title in rest:
        words_only = title in TEXT
        made.add_column(text(title), justify="left" if words_only else "right", no_wrap=not words_only, overflow="fold")
    return made


def add(to: Table, *cells: str, style: str = "") -> None:
    """A row; what stands under the first line of a figure is its interval, in dim."""
    to.add_row(*map(text, cells[:1]), *map(dimmed, cells[1:]), style=style)


def below(drawn: Table, *sentences: str) -> list[RenderableType]:
    """A table that has rows, and sentences beneath it."""
    return [drawn, *map(text, sentences)] if drawn.row_count else []


def text(said: str) -> Text:
    """Words as they are: a slice named ``[red]`` stays one."""
    from rich.text import Text

    return Text(said)


def dimmed(said: str) -> Text:
    """The first line as it is, the rest in dim."""
    from rich.text import Text

    first, *rest = said.split("\n")
    shown = Text(first)
    for line in rest:
        shown.append("\n" + line, style="dim")
    return shown


def decimal(figure: float) -> str:
    """Three digits; ``-`` for nothing."""
    return NOTHING if math.isnan(figure) else f"{figure:.3f}"


def share(figure: float, digits: int = 1) -> str:
    """A share in percent, without the sign."""
    return NOTHING if math.isnan(figure) else f"{figure * 100:.{digits}f}"


def cell(figure: Figure | None, *, signed: bool = False, scale: float = 100, digits: int = 1) -> str:
    """A share in percent, or a difference in points, and beneath it its interval; ``-`` where there is none.

    ``scale`` turns other units into what is shown.
    """
    if figure is None or math.isnan(figure.estimate):
        return NOTHING
    form = f"{'+' if signed else ''}.{digits}f"
    estimate = f"{figure.estimate * scale:{form}}"
    if figure.low is None or figure.high is None:
        return estimate
    between = " to " if signed or figure.low < 0 else "-"
    return f"{estimate}\n{figure.low * scale:{form}}{between}{figure.high * scale:{form}}"


def left_out(rows: list[LeftOut]) -> list[RenderableType]:
    """Rows that took no part, by reason."""
    lines = table("rows left out", "rows", "such as")
    for one in rows:
        add(lines, one.reason, f"{one.rows:,}", ", ".join(one.examples))
    return below(lines)
