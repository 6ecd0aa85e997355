"""The report of a calibration says what its evidence says, all of it, and nothing that data could smuggle in."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cascade.errors import ConfigError
from cascade.evidence import BreakEven, Evidence, Status
from cascade.intervals import Figure
from cascade.report import html, tables, words, write
from cascade.report.drawing import VARIABLES
from tests.evidence_examples import certified, contradicted, refused, wrong_rows
from tests.report_reading import HOSTILE, Page, everywhere

ROOT = Path(__file__).parent.parent
LISTS = {
    "strata": "risk",
    "reliability": "reliability",
    "choices": "cost",
    "slices": "slices",
    "savings": "saving",
    "next_labels": "labels",
    "contest": "scorers",
    "refused_signals": "signals",
    "left_out": "left-out",
}


def bare(**fields: Any) -> Evidence:
    """Evidence without a picture, which is quick."""
    return msgspec.structs.replace(refused(), strata=[], **fields)


def printed(evidence: Evidence) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    for one in tables(evidence):
        console.print(one)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def numbers(figure: Figure | None, form: str) -> list[str]:
    if figure is None or figure.estimate != figure.estimate:
        return []
    ends = [end for end in (figure.low, figure.high) if end is not None]
    return [f"{value * 100:{form}}" for value in (figure.estimate, *ends)]


@pytest.fixture(scope="module")
def page() -> str:
    return html(certified())


def test_the_same_evidence_gives_the_same_bytes_in_another_process(page: str, tmp_path: Path) -> None:
    """No date, no hash seed and no place in memory goes into the page."""
    write(tmp_path / "here.html", certified())
    code = (
        "import sys; from pathlib import Path; from cascade.report import write; from tests.evidence_examples import "
    )
    code += "certified; write(Path(sys.argv[1]), certified()); print('matplotlib.pyplot' in sys.modules)"
    there = tmp_path / "there.html"
    done = subprocess.run(
        [sys.executable, "-c", code, there], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert there.read_bytes() == (tmp_path / "here.html").read_bytes() == page.encode()
    assert done.stdout.strip() == "False", "pyplot keeps every figure, and chooses a backend"


def test_a_callers_matplotlib_is_neither_changed_nor_asked(page: str) -> None:
    import matplotlib

    with matplotlib.rc_context(
        {
            "axes.facecolor": "red",
            "font.size": 30,
            "svg.fonttype": "path",
            "xtick.direction": "in",
            "lines.markersize": 20,
        }
    ):
        before = dict(matplotlib.rcParams)
        assert html(certified()) == page
        assert dict(matplotlib.rcParams) == before


def test_reports_written_at_once_do_not_mix_their_settings(page: str) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: html(certified()), range(8))) == {page}
    assert dict(matplotlib.rcParams) == before


def test_importing_the_report_brings_nothing_that_draws() -> None:
    code = "import cascade.report, sys; print({'matplotlib', 'jinja2', 'rich', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("slices", [1, 8, 40])
def test_every_figure_of_a_slice_is_in_its_row(slices: int) -> None:
    evidence = msgspec.structs.replace(certified(slices=slices), strata=[], reliability=[], choices=[])
    by_name = {row[0]: row for row in Page(html(evidence)).rows}
    lines = printed(evidence).splitlines()
    for line in evidence.slices:
        cells = by_name[line.name]
        wanted = [(line.served, ".1f"), (line.wrong, ".1f"), (line.saving, ".1f"), (line.quality_delta, "+.1f")]
        assert cells[1] == str(line.rows)
        assert cells[6] == line.covered
        for (figure, form), said in zip(wanted, cells[2:6], strict=True):
            found = re.findall(r"[+\N{MINUS SIGN}]?[\d.]+", said)
            assert [one.replace("\N{MINUS SIGN}", "-") for one in found] == numbers(figure, form)
        at = next(i for i, text in enumerate(lines) if re.match(rf"{line.name} +{line.rows} ", text))
        below = " ".join(lines[at : at + 2])
        assert all(number in below for figure, form in wanted for number in numbers(figure, form))


def test_a_figure_of_nothing_is_a_dash_and_not_a_number() -> None:
    line = msgspec.structs.replace(certified().slices[0], wrong=Figure(estimate=float("nan")), saving=None)
    evidence = bare(slices=[line])
    row = next(row for row in Page(html(evidence)).rows if row[0] == line.name)
    assert row[3] == row[4] == "–"  # noqa: RUF001 (the dash of a table)
    assert "nan" not in html(evidence).lower()
    assert "nan" not in printed(evidence).lower()


@settings(max_examples=40)
@given(st.text(min_size=1), st.text(alphabet="<>&\"'/ab \n", min_size=1, max_size=900), st.text(min_size=1))
def test_every_wrong_row_can_be_read_whole_whatever_it_says(question: str, answer: str, frontier: str) -> None:
    """Folded or not, each text is one text node: escaping changes nothing that a person reads."""
    row = msgspec.structs.replace(wrong_rows(1)[0], question=question, answer=answer, frontier=frontier)
    assert Page(html(bare(confidently_wrong=[row]))).texts == [question, answer, row.reference, frontier]


def test_wrong_rows_are_all_there_the_most_confident_first() -> None:
    rows = wrong_rows(40)
    shown = Page(html(bare(confidently_wrong=rows[::-1]))).texts
    assert shown == [text for row in rows for text in (row.question, row.answer, row.reference, row.frontier)]


def test_hostile_text_in_any_field_stays_text() -> None:
    """No element, attribute or template expression comes out of data, wherever it stands."""
    for evidence in (certified(), refused(), contradicted()):
        tame = everywhere(evidence, "tame")
        found, wanted = Page(html(everywhere(evidence, HOSTILE))), Page(html(tame))
        assert [tag for tag, _ in found.tags] == [tag for tag, _ in wanted.tags]
        assert [set(held) for _, held in found.tags] == [set(held) for _, held in wanted.tags]
        assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img", "iframe", "object", "link-preload"})
        assert found.headings[0] == HOSTILE


def test_the_terminal_prints_markup_as_it_stands() -> None:
    """A name in brackets takes the place that any other name of its length would."""
    for evidence in (certified(), refused()):
        assert printed(everywhere(evidence, "[b]")) == printed(everywhere(evidence, "(b)")).replace("(b)", "[b]")


def test_regret_is_told_in_points_with_what_was_gained() -> None:
    """For regret the rows on which the cheap answer was the better one are part of the evidence."""
    stratum = certified().strata[0]
    assert stratum.chosen is not None
    path = list(stratum.path)
    path[stratum.chosen] = point = msgspec.structs.replace(path[stratum.chosen], n=1400, bad=41, better=17)
    strata = [msgspec.structs.replace(stratum, path=path)]
    evidence = msgspec.structs.replace(refused(), kind="regret", strata=strata)
    head, row = Page(html(evidence)).rows[:2]
    assert head[3:7] == ["judged", "bad", "better", "risk,\N{NO-BREAK SPACE}points"]
    assert row[3:7] == ["1,400", "41", "17", f"{point.risk * 100:.2f}"]
    said = f"41 lose against the last tier and 17 gain: {point.risk * 100:.2f} points"
    assert said in html(evidence).replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"1,400 +41 +17 ", printed(evidence))


@pytest.mark.parametrize("evidence", [certified(), refused(), contradicted()], ids=lambda e: e.status)
def test_the_page_names_no_address_and_every_reference_is_to_itself(evidence: Evidence) -> None:
    text = html(evidence)
    assert "//" not in re.sub(r"/\*.*?\*/", "", text)
    tags = Page(text).tags
    ids = Counter(held["id"] for _, held in tags if "id" in held)
    assert set(ids.values()) == {1}
    named = re.findall(r"url\(#?([^)]*)\)", text)
    for _, held in tags:
        assert "src" not in held
        named += [(held["href"] or "").removeprefix("#")] if "href" in held else []
        named += (held.get("aria-describedby") or "").split()
    assert set(named) - {"data:,"} <= set(ids)
    assert "script" not in {tag for tag, _ in tags}


@pytest.mark.parametrize("evidence", [certified(), refused(), contradicted()], ids=lambda e: e.status)
def test_the_promise_is_the_first_thing_said_and_its_status_the_second(evidence: Evidence) -> None:
    text = html(evidence)
    held = Page(text)
    assert held.headings[0].replace("\N{NO-BREAK SPACE}", " ") == evidence.statement
    assert ("section", {"class": f"hero {evidence.status}"}) in held.tags
    standing = words.STANDINGS[evidence.status]
    assert f"</span>{standing.word}</p>" in text
    said = " ".join(printed(evidence).split())
    assert said.startswith(f"{evidence.statement} {standing.word}. {standing.meaning}")


@pytest.mark.parametrize("name", LISTS)
def test_what_the_evidence_does_not_hold_has_no_place_on_the_page(name: str, page: str) -> None:
    place = LISTS[name]
    assert f'id="{place}"' in page
    assert f'href="#{place}"' in page
    less = html(msgspec.structs.replace(certified(), **{name: []}))
    assert f'id="{place}"' not in less
    assert f'href="#{place}"' not in less


def test_a_picture_says_what_it_shows_and_keeps_its_text() -> None:
    pictures = re.findall(r'<svg viewBox="[^"]*" role="img".*?</svg>', html(certified()), re.DOTALL)
    assert len(pictures) == 5  # two strata, two tiers, cost against quality
    for picture in pictures:
        assert re.search(
            r' aria-label="[^"]+" aria-describedby="[^"]+"><title>[^<]+</title><desc id="[^"]+">[^<]+<', picture
        )
        assert len(re.findall(r"<text[ >]", picture)) > 10
        colours = {"none", *(f"var({name})" for name in VARIABLES.values())}
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", picture)) <= colours


def test_no_table_is_wider_than_the_terminal() -> None:
    evidence = everywhere(certified(slices=40), "a-name-that-is-far-too-long-for-any-table/" * 3)
    assert max(map(len, printed(evidence).splitlines())) <= 100
    assert max(map(len, printed(certified(slices=40)).splitlines())) <= 100
    assert "…" not in printed(certified(slices=40))


@pytest.mark.parametrize("level", [0.01, 0.05, 0.3])
def test_the_target_line_is_drawn_within_the_picture(level: float) -> None:
    """Whatever the target: a line outside the picture would say that every bound is under it."""
    drawn = html(msgspec.structs.replace(certified(), level=level))
    assert "stroke: var(--target); stroke-width: 1.8" in drawn


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (None, "-"),
        (0.0, "$0.00"),
        (0.128, "$0.13"),
        (0.00064, "$0.00064"),
        (12.5, "$12.50"),
        (1234.4, "$1,234"),
        (-2.0, "-$2.00"),
    ],
)
def test_dollars_keep_two_digits_that_mean_something(amount: float | None, said: str) -> None:
    assert words.dollars(amount) == said


@pytest.mark.parametrize("pays", ["pays", "does not pay", "cannot tell yet"])
def test_whether_it_pays_is_said_in_words_with_both_shares(pays: Any) -> None:
    found = BreakEven(
        needed=0.163, reached=Figure(estimate=0.428, low=0.39, high=0.467), pays=pays, audit_rate=0.05,
        cost_cheap=0.000064, cost_frontier=0.000579, cost_judge=0.0006,
    )  # fmt: skip
    verdict, needed, reached, _ = words.break_even(found)
    assert {"pays": "pays:", "does not pay": "does not pay:", "cannot tell yet": "cannot be told yet"}[pays] in verdict
    assert "16.3 %" in needed
    assert "42.8 %" in reached
    assert "39.0 %" in reached
    never = " ".join(words.break_even(msgspec.structs.replace(found, needed=None)))
    assert "No share served cheap would pay" in never


def test_the_status_table_covers_every_status() -> None:
    assert set(words.STANDINGS) == set(Status.__args__)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    write(file, refused())
    assert file.read_text().startswith("<!doctype html>")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="folder: cannot be written"):
        write(tmp_path / "folder", refused())
    with pytest.raises(ConfigError, match="cannot be written"):
        write(tmp_path / "nowhere" / "report.html", refused())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "report.html"]


def test_half_a_character_does_not_stop_the_report(tmp_path: Path) -> None:
    row = msgspec.structs.replace(wrong_rows(1)[0], question="broken \ud83d here")
    write(tmp_path / "report.html", bare(confidently_wrong=[row]))
    assert b"broken ? here" in (tmp_path / "report.html").read_bytes()
