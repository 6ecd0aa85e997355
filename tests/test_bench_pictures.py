"""The pictures of a benchmark: every name readable, bars that add up, the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.bench import words
from cascade.bench.document import Bench, Waterfall
from cascade.bench.page import html, write
from cascade.bench.pictures import pictures, pictures_png, waterfall
from cascade.bench.placing import Box, Named, place
from cascade.bench.scatter import cost_quality
from cascade.report.drawing import KINDS, SIZE, VARIABLES, Picture, drawn, plain, wrapped
from tests.bench_examples import EXAMPLES, with_names

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", params=EXAMPLES.values(), ids=EXAMPLES)
def bench(request: pytest.FixtureRequest) -> Bench:
    assert isinstance(request.param, Bench)
    return request.param


@pytest.fixture(scope="module")
def page(bench: Bench) -> str:
    return html(bench)


def test_a_picture_says_what_it_shows_and_keeps_its_text(bench: Bench, page: str) -> None:
    svgs = re.findall(r'<svg viewBox="[^"]*" role="img".*?</svg>', page, re.DOTALL)
    assert len(svgs) == len(pictures(bench))
    colours = {"none", *(f"var({name})" for name in VARIABLES.values())}
    for svg in svgs:
        assert re.search(
            r' aria-label="[^"]+" aria-describedby="[^"]+"><title>[^<]+</title><desc id="[^"]+">[^<]+<', svg
        )
        assert len(re.findall(r"<text[ >]", svg)) > 5
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) <= colours


def test_names_in_a_picture_are_neither_mathematics_nor_markup() -> None:
    bench = with_names(EXAMPLES["pays"], "$x^2$ <b>&")
    svg = cost_quality(bench).svg("p")
    written = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert "1 $x^2$ &lt;b&gt;&amp;" in written
    assert "<b>" not in svg


@pytest.mark.parametrize("name", ["一", "a\x00b", "\ud83d", "\u202eabc", "x" * 400, "\n\n", "مرحبا"])
def test_any_name_can_be_drawn(name: str) -> None:
    assert cost_quality(with_names(EXAMPLES["bare"], name)).png()


@given(st.text(), st.integers(1, 40))
def test_a_plain_name_is_one_short_visible_line(name: str, length: int) -> None:
    made = plain(name, length)
    assert len(made) <= length
    assert made == "" or made.isprintable()


@given(st.text(), st.integers(3, 40))
def test_a_wrapped_name_keeps_within_its_lines(name: str, width: int) -> None:
    lines = wrapped(name, width).split("\n")
    assert len(lines) <= 2
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("name", ["", "with a longer name than is wise"])
def test_no_name_of_the_cost_and_quality_picture_hides_another(bench: Bench, name: str) -> None:
    """All strategies are named, each name within the axes and on no other name."""
    from matplotlib.text import Annotation

    bench = with_names(bench, name) if name else bench
    with drawn(cost_quality(bench)) as figure:
        figure.draw_without_rendering()
        axes = figure.axes[0]
        texts = [text for text in axes.texts if isinstance(text, Annotation)]
        frame = Box(*axes.get_window_extent().extents)
        labels = [_label(text) for text in texts]
    assert len(texts) == len(bench.strategies)
    for box in labels:
        assert frame.left <= box.left <= box.right <= frame.right
        assert frame.bottom <= box.bottom <= box.top <= frame.top
    assert not [1 for i, one in enumerate(labels) for other in labels[:i] if one.meets(other)]


def _label(text: Any) -> Box:
    """The words alone, without the line that ties them to their point."""
    from matplotlib.text import Text

    return Box(*Text.get_window_extent(text).extents)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_wherever_points_are_their_names_keep_apart(points: list[tuple[float, float]]) -> None:
    """Points on one another too."""
    kept: list[Box] = []

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
        figure.draw_without_rendering()
        written = place(axes, [Named(x, y, f"name {i}") for i, (x, y) in enumerate(points)])
        kept.extend(map(_label, written))

    with drawn(Picture(title="", says="", draw=draw, size=SIZE)):
        pass
    assert len(kept) == len(points)
    assert not [1 for i, one in enumerate(kept) for other in kept[:i] if one.meets(other)]


@given(
    st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    st.floats(0, 1),
)
def test_a_line_that_passes_through_a_point_within_a_box_lies_on_it(
    start: tuple[float, float], end: tuple[float, float], share: float
) -> None:
    box = Box(-3.0, -2.0, 3.0, 2.0)
    spot = start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
    if box.grown(-1e-6).holds(spot):
        assert box.lies_on((start, end))
    if max(start[0], end[0]) < box.left or min(start[1], end[1]) > box.top:
        assert not box.lies_on((start, end))


amounts = st.floats(0, 0.01)


@settings(max_examples=20, deadline=None)
@given(st.lists(amounts, min_size=8, max_size=8))
def test_the_bars_of_the_waterfall_add_up(parts: list[float]) -> None:
    """Each bar begins where the one before it ends, and the last is what is left of the first."""
    frontier, avoided, served, wasted, extras, embedding, audits, labels = parts
    cascade = frontier - avoided + served + wasted + extras + embedding + audits + labels
    fallen = Waterfall(
        frontier=frontier, avoided=avoided, served=served, wasted=wasted, extras=extras, embedding=embedding,
        audits=audits, labels=labels, cascade=cascade,
    )  # fmt: skip
    with drawn(waterfall(fallen)) as figure:
        bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in figure.axes[0].patches]
    first, *steps, last = bars
    ends = [first[1], *(end for _, end in steps)]
    assert first == (0.0, pytest.approx(frontier * 1000))
    assert last == (0.0, pytest.approx(cascade * 1000))
    assert all(start == pytest.approx(before) for before, (start, _) in zip(ends, steps, strict=False))
    assert ends[-1] == pytest.approx(last[1], abs=1e-9)
    assert frontier + sum(step.amount for step in words.steps(fallen)) == pytest.approx(cascade)


def test_kinds_of_marks_can_be_told_apart_without_colour() -> None:
    bench = EXAMPLES["pays"]
    for picture in pictures(bench).values():
        kinds = [one.kind for one in picture.key]
        assert len(set(kinds)) == len(kinds)
        assert set(kinds) <= set(KINDS)


def test_the_same_benchmark_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """No date, no hash seed and no place in memory goes into the page or a picture."""
    bench = EXAMPLES["bare"]
    write(tmp_path / "here.html", bench)
    here = pictures_png(bench, tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from cascade.bench.page import write; from cascade.bench.pictures "
        "import pictures_png; from tests.bench_examples import bare; to = Path(sys.argv[1]); write(to / 'there.html', "
        "bare()); pictures_png(bare(), to / 'there'); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
    assert (tmp_path / "here.html").read_bytes() == (tmp_path / "there.html").read_bytes()
    for file in here:
        other = tmp_path / "there" / file.name
        assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


def test_pictures_are_files_of_twice_a_screens_fineness(tmp_path: Path) -> None:
    bench = EXAMPLES["pays"]
    written = pictures_png(bench, tmp_path / "made")
    assert [file.stem for file in written] == list(pictures(bench))
    for file in written:
        body = file.read_bytes()
        assert body.startswith(b"\x89PNG")
        width = int.from_bytes(body[16:20], "big")
        assert width == round(pictures(bench)[file.stem].size[0] * 192)
        assert not {b"tEXt", b"tIME"} & {body[i : i + 4] for i in range(len(body) - 4) if body[i] == ord("t")}
