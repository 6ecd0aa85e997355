"""The report's pictures: risk over coverage, stated confidence and truth, cost against quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.evidence import Choice, PathPoint, Reliability, Stratum
from cascade.report import words
from cascade.report.drawing import BOUND, CHOSEN, CURVE, PAPER, QUIET, TARGET, Mark, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 40
"""Tests beyond which their dots would hide each other."""


def risk_coverage(stratum: Stratum, kind: str, level: float) -> Picture:
    """Risk of what is served without the last tier over how much of it there is, with its upper limit.

    The tested part of the path is drawn heavier, with a dot for each test held and a cross for the
    one that was not; the chosen point has a ring.
    """
    path = sorted((point for point in stratum.path if point.n), key=lambda point: point.served)
    top, bottom = _reach(path, level)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        served = [point.served * 100 for point in path]
        bounds = [point.bound * 100 for point in path]
        axes.fill_between(served, [point.risk * 100 for point in path], bounds, color=BOUND, alpha=0.14, linewidth=0)
        axes.plot(served, bounds, color=BOUND, linestyle=(0, (4, 2)), linewidth=1.3)
        axes.plot(served, [point.risk * 100 for point in path], color=CURVE)
        _tests(axes, [point for point in path if point.tested])
        axes.axhline(level * 100, color=TARGET, linestyle=(0, (1, 1.3)), linewidth=1.8)
        if (point := words.chosen(stratum)) is not None:
            ring(axes, point.served * 100, point.bound * 100)
        axes.set(xlim=(0, 100), ylim=(bottom * 100, top * 100))
        axes.set_xlabel("served without the last tier, % of requests")
        axes.set_ylabel("quality lost, points" if kind == "regret" else "not acceptable, % of these")

    says = f"{stratum.name}: risk over share served. {words.tested(stratum)} {words.finding(stratum, kind)}"
    return Picture(title=f"Risk and coverage, {stratum.name}", says=says, draw=draw)


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


def ring(axes: Axes, x: float, y: float) -> None:
    """Around what was chosen."""
    axes.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=CHOSEN, markeredgewidth=2.2)


def reliability(found: Reliability) -> Picture:
    """Share right over stated confidence, with intervals, and how many rows each bin holds."""
    bins = [b for b in found.bins if b.rows and b.right.estimate == b.right.estimate]

    def draw(figure: Figure) -> None:
        axes, counts = figure.subplots(2, 1, height_ratios=[4, 1])
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
    key = (
        Mark(CURVE, "dot", "share right, 95 % interval"),
        Mark(QUIET, "dashed", "a perfect confidence"),
        Mark(BOUND, "bars", "rows in a bin"),
    )
    title, says = f"Reliability of tier {found.tier}", f"Stated confidence and share right: {said}."
    return Picture(title=title, says=says, draw=draw, key=key)


def cost_quality(choices: list[Choice]) -> Picture:
    """Quality against always-frontier over cost, for every place on the path; a coin is the straight line."""
    ordered = sorted(choices, key=lambda choice: choice.served)
    costs = [(1 - choice.saving) * 100 for choice in ordered]
    deltas = [choice.quality_delta * 100 for choice in ordered]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=QUIET, linewidth=0.9)
        axes.plot([100, costs[-1]], [0, deltas[-1]], color=QUIET, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.plot(costs, deltas, color=CURVE)
        axes.plot(costs[1:-1], deltas[1:-1], "o", color=CURVE, markersize=3)
        axes.plot([100], [0], "s", color=TARGET, markersize=9, markeredgecolor=PAPER, clip_on=False)
        axes.plot(costs[-1:], deltas[-1:], "D", color=BOUND, markersize=8, markeredgecolor=PAPER, clip_on=False)
        for choice in ordered:
            if choice.chosen:
                ring(axes, (1 - choice.saving) * 100, choice.quality_delta * 100)
        axes.set_xlim(min(0.0, *costs), max(104.0, *(cost * 1.03 for cost in costs)))
        axes.margins(y=0.12)
        axes.set_xlabel("cost, % of always-frontier")
        axes.set_ylabel("quality, points against always-frontier")

    said = "; ".join(f"cost {cost:.1f} %, {delta:+.1f} points" for cost, delta in zip(costs, deltas, strict=True))
    says = f"From always-frontier to the most served cheap: {said}."
    return Picture(title="Cost against quality", says=says, draw=draw, key=_key(ordered))


def _key(ordered: list[Choice]) -> tuple[Mark, ...]:
    cheapest = ordered[-1]
    all_cheap = "always cheap" if cheapest.served >= 1 else f"most served cheap, {words.percent(cheapest.served)}"
    chosen = [Mark(CHOSEN, "ring", "chosen")] if any(choice.chosen for choice in ordered) else []
    return (
        Mark(TARGET, "square", "always-frontier"),
        Mark(BOUND, "diamond", all_cheap),
        *chosen,
        Mark(CURVE, "line", "the cascade"),
        Mark(QUIET, "dashed", "a coin"),
    )
