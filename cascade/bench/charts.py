"""Charts whose rows have names: marks with their intervals, one panel a measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade.intervals import Figure
from cascade.report.drawing import CURVE, PAPER, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WIDTH = 5.2
"""Inches of a picture that has names in it: on a phone its text can still be read."""

ROW = 0.37
"""Inches that a row takes."""


class Panel(NamedTuple):
    """One measure of every row: ``figures[i]`` of row i, times ``scale``, None where there is none.

    ``bars`` begin at nothing; without, there is a mark alone.
    """

    title: str
    figures: Sequence[Figure | None]
    scale: float = 100.0
    bars: bool = False
    line: float | None = None


def height(rows: int, each: float = ROW) -> float:
    """Inches for so many rows, with what stands around them."""
    return 1.15 + each * max(rows, 2)


def rows(figure: Drawing, names: Sequence[str], panels: Sequence[Panel]) -> None:
    """Draw the panels side by side, the first row on top."""
    drawn = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(drawn, panels, strict=True):
        for i, one in enumerate(panel.figures):
            if one is not None and one.estimate == one.estimate:
                if panel.bars:
                    axes.barh(i, one.estimate * panel.scale, height=0.56, color=CURVE, alpha=0.45, linewidth=0)
                mark(axes, i, one, panel.scale, marker="o", color=CURVE)
        if panel.line is not None:
            axes.axvline(panel.line, color=QUIET, linewidth=1.0)
        axes.set_xlabel(panel.title)
        axes.locator_params(axis="x", nbins=max(3, 7 - 2 * len(panels)))
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.08)
    label(drawn[0], names)


def label(axes: Axes, names: Sequence[str], ours: int | None = None) -> None:
    """Names of the rows, from the top down; that of row ``ours`` is set off by its weight."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=9)
    if ours is not None:
        axes.get_yticklabels()[ours].set_fontweight("bold")


def mark(axes: Axes, at: float, one: Figure, scale: float, **looks: Any) -> None:
    """An estimate and, where it has one, its interval."""
    if one.low is not None and one.high is not None:
        axes.hlines(at, one.low * scale, one.high * scale, color=looks["color"], linewidth=1.6)
    looks = {"markersize": 6, "markeredgecolor": PAPER, **looks}
    axes.plot([one.estimate * scale], [at], linestyle="", **looks)
