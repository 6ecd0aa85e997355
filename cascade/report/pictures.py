"""The report's pictures, as inline SVG whose text is text and whose colours are the page's.

matplotlib knows no CSS variables, so it draws in stand-in colours, which are named afterwards: the
same picture then fits a light page, a dark one and a printed one. No text that comes from data is
drawn, so nothing in a picture needs escaping but its title and description.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cascade.evidence import Choice, PathPoint, Reliability, Stratum
from cascade.report import words

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID, CURVE, BOUND, TARGET, CHOSEN, PAPER = (f"#0a0b{i:02x}" for i in range(1, 9))
"""Stand-ins: no colour map of matplotlib's holds them."""

VARIABLES = {
    INK: "--ink",
    QUIET: "--quiet",
    GRID: "--rule",
    CURVE: "--curve",
    BOUND: "--bound",
    TARGET: "--target",
    CHOSEN: "--chosen",
    PAPER: "--paper",
}
SIZE = (5.0, 3.3)
"""Inches. On a phone of 390 pixels a point of a picture this wide is a pixel, and its text can be read."""

MANY = 40
"""Tests beyond which their dots would hide each other."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cascade",
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same layout on every machine
    "font.size": 9.5,
    "axes.unicode_minus": True,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
}


_ONE_AT_A_TIME = threading.Lock()


def risk_coverage(place: str, stratum: Stratum, kind: str, level: float) -> Markup:
    """Risk of what is served without the last tier over how much of it there is, with its upper limit.

    The tested part of the path is drawn heavier, with a dot for each test held and a cross for the
    one that was not; the chosen point has a ring.
    """
    path = sorted((point for point in stratum.path if point.n), key=lambda point: point.served)
    top, bottom = _reach(path, level)
    with _drawing() as (figure, axes):
        served = [point.served * 100 for point in path]
        bounds = [point.bound * 100 for point in path]
        axes.fill_between(served, [point.risk * 100 for point in path], bounds, color=BOUND, alpha=0.14, linewidth=0)
        axes.plot(served, bounds, color=BOUND, linestyle=(0, (4, 2)), linewidth=1.3)
        axes.plot(served, [point.risk * 100 for point in path], color=CURVE)
        _tests(axes, [point for point in path if point.tested])
        axes.axhline(level * 100, color=TARGET, linestyle=(0, (1, 1.3)), linewidth=1.8)
        if (point := words.chosen(stratum)) is not None:
            _ring(axes, point.served * 100, point.bound * 100)
        axes.set(xlim=(0, 100), ylim=(bottom * 100, top * 100))
        axes.set_xlabel("served without the last tier, % of requests")
        axes.set_ylabel("quality lost, points" if kind == "regret" else "not acceptable, % of these")
        what = f"{stratum.name}: risk over share served. {words.tested(stratum)} {words.finding(stratum, kind)}"
        return _svg(place, figure, f"Risk and coverage, {stratum.name}", what)


def _reach(path: list[PathPoint], level: float) -> tuple[float, float]:
    """Highest and lowest risk to draw: the target with room above, not the limit 1 of the first few rows."""
    risks = [point.risk for point in path]
    tests = [point.bound for point in path if point.tested]
    highest = max(min(max(risks, default=0.0), 4 * level), *tests, 1.6 * level)
    lowest = min([*risks, 0.0])
    return min(highest * 1.08, 1.0), lowest * 1.15


def _tests(axes: Axes, tested: list[PathPoint]) -> None:
    """A heavier line, a dot for each test that held, and a cross over all else for one that did not."""
    axes.plot([p.served * 100 for p in tested], [p.bound * 100 for p in tested], color=BOUND, linewidth=2.6)
    held, failed = ([p for p in tested if p.passed == passed] for passed in (True, False))
    size = 4 if len(held) <= MANY else 2
    axes.plot([p.served * 100 for p in held], [p.bound * 100 for p in held], "o", color=BOUND, markersize=size)
    crosses = ([p.served * 100 for p in failed], [p.bound * 100 for p in failed])
    axes.plot(*crosses, "x", color=TARGET, markersize=8, markeredgewidth=2, zorder=5)


def _ring(axes: Axes, x: float, y: float) -> None:
    axes.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=CHOSEN, markeredgewidth=2.2)


def reliability(place: str, found: Reliability) -> Markup:
    """Share right over stated confidence, with intervals, and how many rows each bin holds."""
    bins = [b for b in found.bins if b.rows and b.right.estimate == b.right.estimate]
    with _drawing(panels=[4, 1]) as (figure, axes, counts):
        stated, right = [b.confidence * 100 for b in bins], [b.right.estimate * 100 for b in bins]
        lows = [100 * (b.right.estimate if b.right.low is None else b.right.low) for b in bins]
        highs = [100 * (b.right.estimate if b.right.high is None else b.right.high) for b in bins]
        axes.plot([0, 100], [0, 100], color=QUIET, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.vlines(stated, lows, highs, color=CURVE, linewidth=1.6)
        axes.plot(stated, right, "o", color=CURVE, markersize=5.5, markeredgecolor=PAPER)
        least = min([*stated, *lows], default=0) // 10 * 10
        axes.set(xlim=(least, 101), ylim=(least, 102))
        axes.set_ylabel("really right, %")
        axes.tick_params(labelbottom=False)
        counts.vlines(stated, 0, [b.rows for b in bins], color=BOUND, linewidth=5)
        counts.set(xlim=(least, 101), ylim=(0, 1.15 * max([b.rows for b in bins], default=1)))
        counts.set_ylabel("rows")
        counts.set_xlabel("stated confidence, %")
        counts.locator_params(axis="y", nbins=2, integer=True)
        said = ", ".join(f"{b.confidence * 100:.0f} % stated, {words.percent(b.right.estimate)} right" for b in bins)
        return _svg(place, figure, f"Reliability of tier {found.tier}", f"Stated confidence and share right: {said}.")


def cost_quality(place: str, choices: list[Choice]) -> Markup:
    """Quality against always-frontier over cost, for every place on the path; a coin is the straight line."""
    ordered = sorted(choices, key=lambda choice: choice.served)
    costs = [(1 - choice.saving) * 100 for choice in ordered]
    deltas = [choice.quality_delta * 100 for choice in ordered]
    with _drawing() as (figure, axes):
        axes.axhline(0, color=QUIET, linewidth=0.9)
        axes.plot([100, costs[-1]], [0, deltas[-1]], color=QUIET, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.plot(costs, deltas, color=CURVE)
        axes.plot(costs[1:-1], deltas[1:-1], "o", color=CURVE, markersize=3)
        axes.plot([100], [0], "s", color=TARGET, markersize=9, markeredgecolor=PAPER, clip_on=False)
        axes.plot(costs[-1:], deltas[-1:], "D", color=BOUND, markersize=8, markeredgecolor=PAPER, clip_on=False)
        for choice in ordered:
            if choice.chosen:
                _ring(axes, (1 - choice.saving) * 100, choice.quality_delta * 100)
        axes.set_xlim(min(0.0, *costs), max(104.0, *(cost * 1.03 for cost in costs)))
        axes.margins(y=0.12)
        axes.set_xlabel("cost, % of always-frontier")
        axes.set_ylabel("quality, points against always-frontier")
        said = "; ".join(f"cost {cost:.1f} %, {delta:+.1f} points" for cost, delta in zip(costs, deltas, strict=True))
        return _svg(place, figure, "Cost against quality", f"From always-frontier to the most served cheap: {said}.")


@contextmanager
def _drawing(panels: list[int] | None = None) -> Iterator[tuple[Any, ...]]:
    """A figure and its axes under this module's settings; the caller's are untouched afterwards.

    ``Figure`` is used without pyplot, which would choose a backend and keep every figure alive. But the
    settings of SVG are matplotlib's global ones: two drawings at once would restore each other's.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with _ONE_AT_A_TIME, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=SIZE, layout="constrained")
        ratios = panels or [1]
        yield figure, *figure.subplots(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]


def _svg(place: str, figure: Figure, title: str, description: str) -> Markup:
    """The figure as an element of a page: no declaration, no namespace, no size but its proportions.

    ``place`` begins every id: those of matplotlib's are unique within a picture, and a page holds several.
    """
    from markupsafe import Markup, escape

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', drawn)
    assert box is not None  # every SVG of matplotlib's has one
    body = drawn[drawn.index(">") + 1 :].replace("xlink:href", "href").replace("'DejaVu Sans'", "var(--sans)")
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)  # would style the page
    body = re.sub(r'(id="|url\(#|href="#)', rf"\1{place}-", body)
    head = f'<svg {box[0]} role="img" aria-label="{escape(title)}" aria-describedby="{place}-desc">'
    said = f'<title>{escape(title)}</title><desc id="{place}-desc">{escape(description)}</desc>'
    return Markup(head + said + body)  # noqa: S704 (escaped above, and drawn without any text from data)
