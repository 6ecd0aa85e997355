"""How a picture becomes part of a page, or a file: one drawing, in the page's own colours.

matplotlib knows no CSS variables, so colours are places in its cycle: stand-ins for an SVG, which are
named afterwards, so that the same picture fits a light page, a dark one and a printed one; the page's
light colours for a PNG. Text stays text. Names that come from data may be drawn: matplotlib escapes them,
mathematics in them is not read, and ``plain`` takes out what cannot be seen.
"""

from __future__ import annotations

import functools
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade.types import Record

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

COLOURS = INK, QUIET, GRID, CURVE, BOUND, TARGET, CHOSEN, PAPER = tuple(f"C{i}" for i in range(8))
VARIABLES = dict(
    zip(
        (f"#0a0b{i:02x}" for i in range(1, 9)),  # stand-ins: no colour map of matplotlib's holds them
        ("--ink", "--quiet", "--rule", "--curve", "--bound", "--target", "--chosen", "--paper"),
        strict=True,
    )
)
"""The page's variable for each stand-in, in the order of ``COLOURS``."""

SIZE = (5.0, 3.3)
"""Inches. On a phone of 390 pixels a point of a picture this wide is a pixel, and its text can be read."""

RETINA = 192
"""Dots an inch of a PNG: twice what a screen shows at its plain size."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cascade",
    "font.family": "DejaVu Sans",  # shipped with matplotlib: the same layout on every machine
    "font.size": 9.5,
    "text.parse_math": False,
    "figure.dpi": 72,  # what is measured in a picture is in points, as in the SVG
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
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
}

_ONE_AT_A_TIME = threading.Lock()


class Mark(NamedTuple):
    """One line of a picture's key: a colour of ``COLOURS``, a kind of ``KINDS``, and what it stands for."""

    colour: str
    kind: str
    words: str

    @property
    def variable(self) -> str:
        """The page's name of the colour."""
        return [*VARIABLES.values()][COLOURS.index(self.colour)].removeprefix("--")


KINDS: dict[str, dict[str, Any]] = {
    "line": {"linewidth": 2.5},
    "dashed": {"linewidth": 1.4, "linestyle": (0, (4, 2))},
    "dotted": {"linewidth": 2.0, "linestyle": (0, (1, 1.3))},
    "dot": {"linestyle": "", "marker": "o", "markersize": 6},
    "point": {"linestyle": "", "marker": "o", "markersize": 6},
    "hollow": {"linestyle": "", "marker": "o", "markersize": 6, "fillstyle": "none", "markeredgewidth": 1.3},
    "ring": {"linestyle": "", "marker": "o", "markersize": 10, "fillstyle": "none", "markeredgewidth": 2.2},
    "square": {"linestyle": "", "marker": "s", "markersize": 8},
    "diamond": {"linestyle": "", "marker": "D", "markersize": 7},
    "triangle": {"linestyle": "", "marker": "^", "markersize": 8},
    "cross": {"linestyle": "", "marker": "x", "markersize": 7, "markeredgewidth": 2.2},
    "bars": {"linewidth": 7.0},
}
"""How matplotlib draws what the page's key draws as a swatch: no two kinds differ by their colour alone."""


class Picture(Record, frozen=True, kw_only=True):
    """A picture that is not drawn yet. ``draw`` fills an empty figure of ``size`` inches; ``says`` tells in
    words what there is to see, for those who cannot; ``key`` is drawn beside an SVG by the page, and
    within a PNG.
    """

    title: str
    says: str
    draw: Callable[[Figure], None]
    size: tuple[float, float] = SIZE
    key: tuple[Mark, ...] = ()

    def svg(self, place: str) -> Markup:
        """An element of a page; ``place`` begins its ids, so that no two pictures share one."""
        with drawn(self, tuple(VARIABLES)) as figure:
            return _svg(place, figure, self.title, self.says)

    def png(self) -> bytes:
        """A file on white paper, twice as fine as a screen. The same picture gives the same bytes."""
        with drawn(self, _light(), alone=True) as figure:
            stream = io.BytesIO()
            paper = _light()[COLOURS.index(PAPER)]
            figure.savefig(stream, format="png", dpi=RETINA, facecolor=paper, metadata={"Software": None})
            return stream.getvalue()


@contextmanager
def drawn(picture: Picture, colours: tuple[str, ...] = tuple(VARIABLES), *, alone: bool = False) -> Iterator[Figure]:
    """The figure, under this module's settings; the caller's are untouched afterwards. ``alone``: no page
    around it has its title and its key.

    ``Figure`` is used without pyplot, which would choose a backend and keep every figure alive. But the
    settings of SVG are matplotlib's global ones: two drawings at once would restore each other's.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    with _ONE_AT_A_TIME, matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["axes.prop_cycle"] = cycler(color=list(colours))
        # A script that the font lacks: a browser has another one for it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=picture.size, layout="constrained")
        if alone:  # first, so that what is placed later knows how much room is left
            _entitle(figure, picture)
        picture.draw(figure)
        yield figure


def wrapped(name: str, width: int, lines: int = 2) -> str:
    """A name on few lines of at most so many characters."""
    import textwrap

    whole = plain(name, 4 * width * lines)
    return "\n".join(textwrap.wrap(whole, width, max_lines=lines, placeholder=" …"))


def plain(name: str, length: int) -> str:
    """A name as a picture can hold it: on one line, nothing invisible, its end cut off where it is too long."""
    seen = " ".join("".join(one if one.isprintable() else " " for one in name).split())
    return seen if len(seen) <= length else seen[: length - 1].rstrip() + "…"


@functools.cache
def _light() -> tuple[str, ...]:
    """The page's colours on white paper, out of its style sheet, in the order of ``COLOURS``."""
    from importlib.resources import files

    sheet = files("cascade.report").joinpath("page.css").read_text("utf-8")
    first: dict[str, str] = {}
    for name, colour in re.findall(r"(--\w+): (#\w{6})\b", sheet):
        first.setdefault(name, colour)
    return tuple(first[name] for name in VARIABLES.values())


def _entitle(figure: Figure, picture: Picture) -> None:
    """Title and key, and room for both."""
    from matplotlib.lines import Line2D

    width, height = picture.size
    longest = max((len(one.words) for one in picture.key), default=1)
    columns = max(1, int(width * 72 / (4.7 * longest + 38)))  # points of a letter, and of a mark
    figure.set_size_inches(width, height + 0.35 + 0.19 * -(-len(picture.key) // columns))
    figure.suptitle(picture.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    key = [Line2D([], [], color=one.colour, label=one.words, **KINDS[one.kind]) for one in picture.key]
    if key:
        figure.legend(
            handles=key, loc="outside lower left", ncols=columns, frameon=False, fontsize=8, handletextpad=1.0
        )


def _svg(place: str, figure: Figure, title: str, description: str) -> Markup:
    """The figure as an element of a page: no declaration, no namespace, no size but its proportions.

    ``place`` begins every id: those of matplotlib's are unique within a picture, and a page holds several.
    """
    from markupsafe import Markup, escape

    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', drawing)
    assert box is not None  # every SVG of matplotlib's has one
    body = drawing[drawing.index(">") + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)  # would style the page
    body = re.sub(r"<[^>]+>", lambda tag: _ours(tag[0], place), body)
    head = f'<svg {box[0]} role="img" aria-label="{escape(title)}" aria-describedby="{place}-desc">'
    said = f'<title>{escape(title)}</title><desc id="{place}-desc">{escape(description)}</desc>'
    return Markup(head + said + body)  # noqa: S704 (title and description escaped above, names by matplotlib)


def _ours(tag: str, place: str) -> str:
    """A tag of matplotlib's with the page's colours, letters and ids. What stands between tags stays as it is."""
    tag = tag.replace("xlink:href", "href").replace("'DejaVu Sans'", "var(--sans)")
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return re.sub(r'(id="|url\(#|href="#)', rf"\1{place}-", tag)
