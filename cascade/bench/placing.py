"""Names beside their points, so that none hides another and each can be told which it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, hypot, pi, sin
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cascade.report.drawing import INK, PAPER, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

Spot: TypeAlias = tuple[float, float]
Spots: TypeAlias = list[Spot]

REACHES = (7, 12, 18, 26, 36, 48, 62, 78, 96, 116, 138, 164, 200, 240, 290)
"""Points between a mark and its name that are tried, nearest first."""

TURNS = 24
"""Directions tried at each reach."""

GAP = 2.0
"""Points that stay free around a name."""


CROSSED = 80.0
"""How many points farther a name may stand to hide no mark or to lead across no name; a line over a mark is half."""

STEPS = 12
"""Places on such a line that are looked at."""


class Named(NamedTuple):
    """A point in the units of its axes with its name; ``bold`` names are placed first."""

    x: float
    y: float
    name: str
    bold: bool = False


class Box(NamedTuple):
    """A rectangle in points of the picture."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Do the two share any place?"""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.top <= other.bottom or other.top <= self.bottom)

    def holds(self, spot: Spot) -> bool:
        """Is a point within?"""
        return self.left < spot[0] < self.right and self.bottom < spot[1] < self.top

    @property
    def middle(self) -> Spot:
        """Its centre."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    def grown(self, by: float) -> Box:
        """With a rim."""
        return Box(self.left - by, self.bottom - by, self.right + by, self.top + by)


def place(axes: Axes, points: Sequence[Named], taken: Sequence[Box] = ()) -> list[Annotation]:
    """Write each name near its point, off the marks (``taken``) where that can be, and never over another name.

    A name for which there is no room is left out: the table beside the picture has all of them. The figure's
    layout must be settled (``Figure.draw_without_rendering``), and nothing may be drawn later that changes it.
    """
    frame = Box(*axes.get_window_extent().extents)
    names: list[tuple[Box, Spots]] = []
    written = []
    for point in sorted(points, key=lambda one: (not one.bold, one.y)):
        at = axes.transData.transform((point.x, point.y))
        text = axes.annotate(
            point.name, (point.x, point.y), (0, 0), textcoords="offset points", ha="center", va="center",
            fontsize=8.5, fontweight="bold" if point.bold else "normal", color=INK,
            arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4},
            bbox={"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.75}, zorder=6,
        )  # fmt: skip
        size = text.get_window_extent()
        best = _best((at[0], at[1]), (size.width, size.height), frame, names, taken)
        if best is None:
            text.remove()
            continue
        names.append((best.grown(GAP), _line(at[0], at[1], best)))
        text.set_position((best.middle[0] - at[0], best.middle[1] - at[1]))
        text.set_in_layout(False)
        written.append(text)
    return written


def _best(at: Spot, size: Spot, frame: Box, names: Sequence[tuple[Box, Spots]], taken: Sequence[Box]) -> Box | None:
    """The cheapest place in the frame that no name has: near, off the marks, and no line across a name."""
    found: tuple[float, Box] | None = None
    for away, box in _around(*at, *size):
        inside = frame.left <= box.left and box.right <= frame.right and frame.bottom <= box.bottom
        if not inside or box.top > frame.top or any(box.meets(other) for other, _ in names):
            continue
        price = away + CROSSED * sum(box.meets(mark) for mark in taken)
        if found is not None and price >= found[0]:
            continue
        line = _line(*at, box)
        price += CROSSED / 2 * sum(any(map(mark.holds, line)) for mark in taken if not mark.holds(at))
        price += CROSSED * sum(any(map(other.holds, line)) + any(map(box.holds, theirs)) for other, theirs in names)
        if found is None or price < found[0]:
            found = price, box
    return found and found[1]


def _line(x: float, y: float, box: Box) -> Spots:
    """Places on the line between a point and its name."""
    to = box.middle
    shares = [step / STEPS for step in range(1, STEPS)]
    spots = [(x + (to[0] - x) * share, y + (to[1] - y) * share) for share in shares]
    return [spot for spot in spots if not box.holds(spot)]


def _around(x: float, y: float, width: float, height: float) -> Iterator[tuple[float, Box]]:
    """Places around a point, each with how far its nearest edge is."""
    for reach in REACHES:
        for turn in range(TURNS):
            angle = 2 * pi * turn / TURNS
            left = x + cos(angle) * (reach + width / 2) - width / 2
            bottom = y + sin(angle) * (reach + height / 2) - height / 2
            box = Box(left, bottom, left + width, bottom + height)
            away = hypot(max(box.left - x, x - box.right, 0.0), max(box.bottom - y, y - box.top, 0.0))
            yield away, box
