"""Cost against quality of all strategies, each with its name and both its intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade.bench import words
from cascade.bench.charts import WIDTH
from cascade.bench.document import Bench
from cascade.bench.field import CASCADE, FRONTIER, ORACLE
from cascade.bench.placing import Box, Named, place
from cascade.compare import Strategy
from cascade.report.drawing import BOUND, CHOSEN, CURVE, KINDS, QUIET, TARGET, Mark, Picture, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

NAME = 30
"""Characters of a name."""

KEY = {
    "cascade": Mark(CHOSEN, "ring", "the cascade"),
    "frontier": Mark(TARGET, "square", FRONTIER),
    "other": Mark(CURVE, "point", "promises nothing"),
    "breaks": Mark(TARGET, "cross", words.BREAKS),
    "oracle": Mark(BOUND, "diamond", "the oracle"),
}


def cost_quality(bench: Bench) -> Picture:
    """Up is better, left is cheaper. Both differences are paired with always-frontier's on the same rows."""
    size = (WIDTH, max(4.6, 2.9 + 0.16 * len(bench.strategies)))
    found = [(one, _kind(one, bench)) for one in bench.strategies]

    def draw(figure: Drawing) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=QUIET, linewidth=0.9)
        axes.axhline(-bench.level * 100, color=TARGET, linestyle=(0, (1, 1.3)), linewidth=1.8)
        for one, kind in found:
            _point(axes, one, KEY[kind])
        axes.margins(x=0.12, y=0.1)
        axes.set_xlabel("cost, % of always-frontier")
        axes.set_ylabel("quality, points against always-frontier")
        _dollars(axes, bench.strategies[0].cost.estimate * 1000)
        figure.draw_without_rendering()
        named = [Named(*_at(one), _name(one, bench), one.name == CASCADE) for one, _ in found]
        place(axes, named, _taken(axes, bench.strategies))

    kinds = {kind for _, kind in found}
    key = [mark for kind, mark in KEY.items() if kind in kinds]
    key.append(Mark(TARGET, "dotted", "lowest quality allowed"))
    said = "; ".join(
        f"{one.name}: cost {words.cost_share(one)} of always-frontier, quality "
        f"{words.with_interval(one.quality_delta, signed=True)}{_broken(one, bench)}"
        for one, _ in found
    )
    return Picture(title="Cost against quality", says=f"{said}.", draw=draw, size=size, key=tuple(key))


def _kind(one: Strategy, bench: Bench) -> str:
    if one.name in {CASCADE, FRONTIER, ORACLE}:
        return {CASCADE: "cascade", FRONTIER: "frontier", ORACLE: "oracle"}[one.name]
    return "breaks" if words.breaks(one, bench) else "other"


def _name(one: Strategy, bench: Bench) -> str:
    """The cascade's mark is its own whatever it did, so its name says it."""
    return plain(one.name, NAME) + (_broken(one, bench) if one.name == CASCADE else "")


def _broken(one: Strategy, bench: Bench) -> str:
    return f" ({words.BREAKS})" if words.breaks(one, bench) else ""


def _at(one: Strategy) -> tuple[float, float]:
    return (1 - one.saving.estimate) * 100, one.quality_delta.estimate * 100


def _span(one: Strategy) -> Box | None:
    """Both intervals, in the units of the axes; none for the frontier, which is compared with itself."""
    cost, quality = one.saving, one.quality_delta
    if one.name == FRONTIER or cost.low is None or cost.high is None or quality.low is None or quality.high is None:
        return None
    return Box((1 - cost.high) * 100, quality.low * 100, (1 - cost.low) * 100, quality.high * 100)


def _point(axes: Axes, one: Strategy, mark: Mark) -> None:
    x, y = _at(one)
    if (span := _span(one)) is not None:
        looks: dict[str, Any] = {"color": mark.colour, "linewidth": 1.1, "alpha": 0.7}
        axes.hlines(y, span.left, span.right, **looks)
        axes.vlines(x, span.bottom, span.top, **looks)
    axes.plot([x], [y], color=mark.colour, zorder=5, **KINDS[mark.kind])
    if mark.kind == "ring":
        axes.plot([x], [y], "o", color=mark.colour, markersize=4.5, zorder=5)


def _dollars(axes: Axes, whole: float) -> None:
    """The same axis in dollars, on top."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    if whole > 0:
        share, back = whole / 100, 100 / whole
        top = axes.secondary_xaxis("top", functions=(lambda x: np.multiply(x, share), lambda x: np.multiply(x, back)))
        top.set_xlabel("USD for 1,000 requests")
        top.xaxis.set_major_locator(MaxNLocator(6))


def _taken(axes: Axes, strategies: list[Strategy]) -> list[Box]:
    """Places of the marks and of their intervals, in points."""
    found = []
    for one in strategies:
        x, y = axes.transData.transform(_at(one))
        found.append(Box(x, y, x, y).grown(6))
        if (span := _span(one)) is not None:
            left, bottom = axes.transData.transform((span.left, span.bottom))
            right, top = axes.transData.transform((span.right, span.top))
            found += [Box(left, y - 1, right, y + 1), Box(x - 1, bottom, x + 1, top)]
    return found
