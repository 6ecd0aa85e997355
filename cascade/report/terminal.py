"""The report of a calibration for a terminal: the promise first, then the tables behind it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cascade.evidence import BreakEven, Evidence
from cascade.intervals import Figure
from cascade.report import words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

NAME = 24
"""Widest name before it is folded, so that the widest table fits 100 columns."""

COLOURS = {"certified": "green", "refused": "yellow", "contradicted": "red"}


def tables(evidence: Evidence) -> list[RenderableType]:
    """What ``cascade calibrate`` prints, top to bottom; what has no rows is left out.

    Nothing that comes from data is read as rich's markup.
    """
    return [
        *_promise(evidence),
        *_strata(evidence),
        *_slices(evidence),
        *_savings(evidence),
        *_break_even(evidence.break_even),
        *_contest(evidence),
        *_refused(evidence),
        *_labels(evidence),
        *_left_out(evidence),
        *map(_text, evidence.notes),
    ]


def _promise(evidence: Evidence) -> list[RenderableType]:
    from rich.text import Text

    standing = words.STANDINGS[evidence.status]
    line = Text(f"{standing.word}. ", style=f"bold {COLOURS[evidence.status]}")
    line.append(f"{standing.meaning} Asked for: {evidence.target}.", style="not bold default")
    first = [Text(evidence.headline, style="bold")] if evidence.headline else []
    return [*first, Text(evidence.statement, style="bold"), line]


def _strata(evidence: Evidence) -> list[RenderableType]:
    unit = "points" if evidence.kind == "regret" else "%"
    counts = ("judged", "bad", "better") if evidence.kind == "regret" else ("judged", "bad")
    columns = ("rows", "served\n%", *counts, f"risk\n{unit}", f"upper\nlimit\n{unit}", "delta\n%", "tested", "passed")
    table = _table("certificates by\nstratum", *columns)
    for stratum in evidence.strata:
        point = words.chosen(stratum)
        if point is None:
            cells = [words.NOTHING] * (3 + len(counts))
        else:
            counted = (point.n, point.bad, point.better)[: len(counts)]
            risk = (_share(point.risk, 2), _share(point.bound, 2))
            cells = [_share(point.served), *(f"{count:,}" for count in counted), *risk]
        tested = [one.passed for one in stratum.path if one.tested]
        ends = (_share(stratum.delta, 2), f"{len(tested):,}", f"{sum(tested):,}")
        _add(table, stratum.name, f"{stratum.rows:,}", *cells, *ends)
    missing = [stratum for stratum in evidence.strata if stratum.chosen is None]
    return _with(table, *(f"{stratum.name}: {words.finding(stratum, evidence.kind)}" for stratum in missing))


def _slices(evidence: Evidence) -> list[RenderableType]:
    columns = ("rows", "served\ncheap\n%", "of these\nwrong\n%", "saving\n%", "quality\nagainst\nfrontier\npoints")
    table = _table("slice", *columns, "covered by")
    for line in evidence.slices:
        figures = (cell(line.served), cell(line.wrong), cell(line.saving), cell(line.quality_delta, signed=True))
        _add(table, line.name, f"{line.rows:,}", *figures, line.covered)
    return _with(table, UNDER)


UNDER = "Under each figure its 95 % interval, on held-out rows; served cheap means not answered by the last tier."


def _savings(evidence: Evidence) -> list[RenderableType]:
    table = _table("signals", "served\ncheap\n%", "saving\n%", "quality\nagainst\nfrontier\npoints", "certified")
    for one in evidence.savings:
        figures = (cell(one.served), cell(one.saving), cell(one.quality_delta, signed=True))
        _add(table, one.signals, *figures, "yes" if one.certified else "no")
    return _with(table)


def _break_even(found: BreakEven | None) -> list[RenderableType]:
    return [] if found is None else [_text("Break-even. " + " ".join(words.break_even(found)))]


def _contest(evidence: Evidence) -> list[RenderableType]:
    table = _table("scorers tried", "tier", "signals", "rows", "log loss", "AUROC", "predicted\nsaving %", "chosen")
    for one in evidence.contest:
        figures = (_decimal(one.log_loss), _decimal(one.auroc), _share(one.value))
        _add(table, one.name, one.tier, one.signal_set, f"{one.rows:,}", *figures, "yes" if one.chosen else "")
    return _with(table)


def _refused(evidence: Evidence) -> list[RenderableType]:
    table = _table("signals refused", "tier", "AUROC", "why")
    for one in evidence.refused_signals:
        _add(table, one.signal, one.tier, f"{one.auroc:.3f}", one.why)
    return _with(table)


def _labels(evidence: Evidence) -> list[RenderableType]:
    table = _table("labels to buy next", "rows", "price", "why")
    for one in evidence.next_labels:
        _add(table, one.stratum, f"{one.rows:,}", words.dollars(one.cost), one.why)
    return _with(table)


def _left_out(evidence: Evidence) -> list[RenderableType]:
    table = _table("rows left out", "rows", "such as")
    for one in evidence.left_out:
        _add(table, one.reason, f"{one.rows:,}", ", ".join(one.examples))
    return _with(table)


TEXT = frozenset({"why", "such as", "covered by", "tier", "signals"})
"""Columns of words: to the left, and wrapped where they are too wide."""


def _table(first: str, *rest: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(first, max_width=NAME, overflow="fold")
    for name in rest:
        words_only = name in TEXT
        table.add_column(name, justify="left" if words_only else "right", no_wrap=not words_only, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(_text, cells))


def _with(table: Table, *below: str) -> list[RenderableType]:
    """A table that has rows, and sentences beneath it."""
    return [table, *map(_text, below)] if table.row_count else []


def _text(said: str) -> Text:
    """Words as they are: a slice named ``[red]`` stays one."""
    from rich.text import Text

    return Text(said)


def _decimal(figure: float) -> str:
    return words.NOTHING if math.isnan(figure) else f"{figure:.3f}"


def _share(share: float, digits: int = 1) -> str:
    return words.NOTHING if math.isnan(share) else f"{share * 100:.{digits}f}"


def cell(figure: Figure | None, *, signed: bool = False) -> str:
    """A share in percent, or a difference in points, and beneath it its interval; ``-`` where there is none."""
    if figure is None or math.isnan(figure.estimate):
        return words.NOTHING
    form = f"{'+' if signed else ''}.1f"
    estimate = f"{figure.estimate * 100:{form}}"
    if figure.low is None or figure.high is None:
        return estimate
    between = " to " if signed or figure.low < 0 else "-"
    return f"{estimate}\n{figure.low * 100:{form}}{between}{figure.high * 100:{form}}"
