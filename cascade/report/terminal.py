"""The report of a calibration for a terminal: the promise first, then the tables behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.evidence import BreakEven, Evidence
from cascade.report import words
from cascade.report.tabulated import add, below, cell, decimal, left_out, share, table, text

if TYPE_CHECKING:
    from rich.console import RenderableType

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
        *left_out(evidence.left_out),
        *map(text, evidence.notes),
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
    lines = table("certificates by\nstratum", *columns)
    for stratum in evidence.strata:
        point = words.chosen(stratum)
        if point is None:
            cells = [words.NOTHING] * (3 + len(counts))
        else:
            counted = (point.n, point.bad, point.better)[: len(counts)]
            risk = (share(point.risk, 2), share(point.bound, 2))
            cells = [share(point.served), *(f"{count:,}" for count in counted), *risk]
        tested = [one.passed for one in stratum.path if one.tested]
        ends = (share(stratum.delta, 2), f"{len(tested):,}", f"{sum(tested):,}")
        add(lines, stratum.name, f"{stratum.rows:,}", *cells, *ends)
    missing = [stratum for stratum in evidence.strata if stratum.chosen is None]
    return below(lines, *(f"{stratum.name}: {words.finding(stratum, evidence.kind)}" for stratum in missing))


def _slices(evidence: Evidence) -> list[RenderableType]:
    columns = ("rows", "served\ncheap\n%", "of these\nwrong\n%", "saving\n%", "quality\nagainst\nfrontier\npoints")
    lines = table("slice", *columns, "covered by")
    for line in evidence.slices:
        figures = (cell(line.served), cell(line.wrong), cell(line.saving), cell(line.quality_delta, signed=True))
        add(lines, line.name, f"{line.rows:,}", *figures, line.covered)
    return below(lines, UNDER)


UNDER = "Under each figure its 95 % interval, on held-out rows; served cheap means not answered by the last tier."


def _savings(evidence: Evidence) -> list[RenderableType]:
    lines = table("signals", "served\ncheap\n%", "saving\n%", "quality\nagainst\nfrontier\npoints", "certified")
    for one in evidence.savings:
        figures = (cell(one.served), cell(one.saving), cell(one.quality_delta, signed=True))
        add(lines, one.signals, *figures, "yes" if one.certified else "no")
    return below(lines)


def _break_even(found: BreakEven | None) -> list[RenderableType]:
    return [] if found is None else [text("Break-even. " + " ".join(words.break_even(found)))]


def _contest(evidence: Evidence) -> list[RenderableType]:
    lines = table("scorers tried", "tier", "signals", "rows", "log loss", "AUROC", "predicted\nsaving %", "chosen")
    for one in evidence.contest:
        figures = (decimal(one.log_loss), decimal(one.auroc), share(one.value))
        add(lines, one.name, one.tier, one.signal_set, f"{one.rows:,}", *figures, "yes" if one.chosen else "")
    return below(lines)


def _refused(evidence: Evidence) -> list[RenderableType]:
    lines = table("signals refused", "tier", "AUROC", "why")
    for one in evidence.refused_signals:
        add(lines, one.signal, one.tier, f"{one.auroc:.3f}", one.why)
    return below(lines)


def _labels(evidence: Evidence) -> list[RenderableType]:
    lines = table("labels to buy next", "rows", "price", "why")
    for one in evidence.next_labels:
        add(lines, one.stratum, f"{one.rows:,}", words.dollars(one.cost), one.why)
    return below(lines)
