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
Line: TypeAlias = tuple[Spot, Spot]

REACHES = (7, 12, 18, 26, 36, 48, 62, 78, 96, 116, 138, 164, 200, 240, 290)
"""Points between a mark and its name that are tried, nearest first."""

TURNS = 24
"""Directions tried at each reach."""

GAP = 2.0
"""Points that stay free around a name."""


CROSSED = 80.0
"""How many points farther a name may stand, to hide no mark and to have its line cross no mark and no name."""

ROUNDS = 3
"""How often each name is placed anew, with all the others where they are."""


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

    def lies_on(self, line: Line) -> bool:
        """Does a line run through it? By slabs: the shares of the line within either pair of sides overlap."""
        start, end = line
        enter, leave = 0.0, 1.0
        for at, to, low, high in ((start[0], end[0], self.left, self.right), (start[1], end[1], self.bottom, self.top)):
            if at == to:
                if not low < at < high:
                    return False
            else:
                first, last = sorted(((low - at) / (to - at), (high - at) / (to - at)))
                enter, leave = max(enter, first), min(leave, last)
        return enter < leave

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
    ordered = sorted(points, key=lambda one: (not one.bold, one.y))
    texts = [_written(axes, point) for point in ordered]
    spots: list[Spot] = [tuple(axes.transData.transform((point.x, point.y))) for point in ordered]
    sizes = [(extent.width, extent.height) for extent in (text.get_window_extent() for text in texts)]
    boxes = _settled(spots, sizes, frame, taken)
    for text, spot, box in zip(texts, spots, boxes, strict=True):
        if box is None:
            text.remove()
            continue
        text.set_position((box.middle[0] - spot[0], box.middle[1] - spot[1]))
        text.set_in_layout(False)
    return [text for text, box in zip(texts, boxes, strict=True) if box is not None]


def _written(axes: Axes, point: Named) -> Annotation:
    """A name right on its point, tied to it by a line."""
    return axes.annotate(
        point.name, (point.x, point.y), (0, 0), textcoords="offset points", ha="center", va="center",
        fontsize=8.5, fontweight="bold" if point.bold else "normal", color=INK,
        arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4},
        bbox={"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.75}, zorder=6,
    )  # fmt: skip


def _settled(spots: list[Spot], sizes: list[Spot], frame: Box, taken: Sequence[Box]) -> list[Box | None]:
    """A place for each name, in turns: what was placed early moves out of the way of what came late."""
    boxes: list[Box | None] = [None] * len(spots)
    for _ in range(ROUNDS):
        for i, (spot, size) in enumerate(zip(spots, sizes, strict=True)):
            others = [
                (box.grown(GAP), (spots[j], box.middle)) for j, box in enumerate(boxes) if j != i and box is not None
            ]
            boxes[i] = _best(spot, size, frame, others, taken)
    return boxes


def _best(at: Spot, size: Spot, frame: Box, names: Sequence[tuple[Box, Line]], taken: Sequence[Box]) -> Box | None:
    """The cheapest place in the frame that no name has: near, off the marks, and no line across a name."""
    found: tuple[float, Box] | None = None
    for away, box in _around(*at, *size):
        inside = frame.left <= box.left and box.right <= frame.right and frame.bottom <= box.bottom
        if not inside or box.top > frame.top or any(box.meets(other) for other, _ in names):
            continue
        price = away + CROSSED * sum(box.meets(mark) for mark in taken)
        if found is not None and price >= found[0]:
            continue
        line = at, box.middle
        price += CROSSED * sum(mark.lies_on(line) for mark in taken if not mark.holds(at))
        price += CROSSED * sum(other.lies_on(line) + box.lies_on(theirs) for other, theirs in names)
        if found is None or price < found[0]:
            found = price, box
    return found and found[1]


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
