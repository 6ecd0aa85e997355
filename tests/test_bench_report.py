"""The report of a benchmark says what its document says, all of it, and nothing that data could smuggle in."""

from __future__ import annotations

import io
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from cascade.bench import words
from cascade.bench.document import Bench
from cascade.bench.page import html, write
from cascade.bench.pictures import pictures_png
from cascade.bench.scatter import cost_quality
from cascade.bench.terminal import tables
from cascade.errors import ConfigError
from cascade.intervals import Figure
from tests.bench_examples import EXAMPLES, KEPT, with_names
from tests.report_reading import HOSTILE, Page, everywhere

ROOT = Path(__file__).parent.parent
LISTS = {
    "slices": "slices",
    "ablation": "ablation",
    "scenarios": "scenarios",
    "flattered": "flattered",
    "labels": "labels",
    "left_out": "left-out",
}


def printed(bench: Bench) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    for one in tables(bench):
        console.print(one)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def numbers(figure: Figure | None, form: str, scale: float = 100) -> list[str]:
    if figure is None or figure.estimate != figure.estimate:
        return []
    ends = [end for end in (figure.low, figure.high) if end is not None]
    return [f"{value * scale:{form}}" for value in (figure.estimate, *ends)]


def found(said: str) -> list[str]:
    return re.findall(r"[+-]?[\d.]+", said.replace("\N{MINUS SIGN}", "-"))


@pytest.fixture(scope="module", params=EXAMPLES.values(), ids=EXAMPLES)
def bench(request: pytest.FixtureRequest) -> Bench:
    assert isinstance(request.param, Bench)
    return request.param


@pytest.fixture(scope="module")
def page(bench: Bench) -> str:
    return html(bench)


def test_whether_it_pays_is_the_first_thing_said(bench: Bench, page: str) -> None:
    standing = words.STANDINGS[bench.verdict.pays]
    assert Page(page).headings[0].replace("\N{NO-BREAK SPACE}", " ") == bench.verdict.sentence
    assert f"</span>{standing.word}</p>" in page
    assert " ".join(printed(bench).split()).startswith(f"{bench.verdict.sentence} {standing.meaning}")


def test_every_figure_of_a_strategy_is_in_its_row_of_the_page(bench: Bench, page: str) -> None:
    rows = [row for row in Page(page).rows if len(row) == 11][1 : 1 + len(bench.strategies)]
    places = words.digits(bench.strategies[0].cost.estimate * 1000)
    for one, cells in zip(bench.strategies, rows, strict=True):
        given = one.name == "always-frontier"
        wanted = [
            numbers(one.cost, f".{places}f", 1000),
            [] if given else numbers(one.saving, ".1f"),
            numbers(one.quality, ".1f"),
            [] if given else numbers(one.quality_delta, "+.1f"),
            *(numbers(figure, ".1f") for figure in (one.accept_rate, one.accepted_error, one.escalation_rate)),
            *(numbers(figure, ".2f", 1) for figure in (one.latency_p50, one.latency_p95, one.latency_p99)),
        ]
        assert cells[0] == one.name + (f"✗ {words.BREAKS}" if words.breaks(one, bench) else "")
        assert list(map(found, cells[1:])) == wanted


def test_every_figure_of_a_strategy_is_in_its_row_of_the_terminal(bench: Bench) -> None:
    bench = with_names(bench, "s")
    lines = printed(bench).splitlines()
    for one in bench.strategies:
        at = next(i for i, line in enumerate(lines) if re.match(rf"{re.escape(one.name)} (\* )? *\d", line))
        shown = found(" ".join(lines[at : at + 2]).replace("-", " -").replace("- ", " "))
        wanted = [*numbers(one.accept_rate, ".1f"), *numbers(one.accepted_error, ".1f")]
        if one.name != "always-frontier":
            wanted += [*numbers(one.saving, ".1f"), *numbers(one.quality_delta, "+.1f")]
        shares = Counter(number.lstrip("+-") for number in shown)
        assert not Counter(number.lstrip("+-") for number in wanted) - shares


def test_slices_variants_scenarios_and_misses_are_all_there(bench: Bench, page: str) -> None:
    said = Page(page).rows
    by_name: dict[str, list[list[str]]] = {}
    for row in said:
        by_name.setdefault(row[0], []).append(row)
    for one in bench.slices:
        ours = words.ours(one.strategies)
        assert ours is not None
        cells = next(row for row in by_name[one.name or "no slice"] if len(row) == 7)
        figures = (ours.accept_rate, ours.accepted_error, ours.saving)
        wanted = [*(numbers(figure, ".1f") for figure in figures), numbers(ours.quality_delta, "+.1f")]
        assert list(map(found, cells[2:6])) == wanted
    for variant in bench.ablation:
        cells = next(row for row in by_name[variant.name] if len(row) == 10)
        assert found(cells[3]) == numbers(variant.saving_gain, "+.1f")
        assert cells[-1] == ("✓ yes" if variant.certified else "no")
    for scenario in bench.scenarios:
        assert scenario.sentence in page.replace("\N{NO-BREAK SPACE}", " ")
        for lost in scenario.lost:
            figures_there = [f"{lost.quality * 100:.1f}", f"{lost.quality_lost * 100:+.1f}"]
            assert figures_there in [[one for cell in row[1:3] for one in found(cell)] for row in by_name[lost.name]]
    for part in bench.tails.found if bench.tails else []:
        cells = by_name[part.rule][0]
        assert list(map(found, cells[3:5])) == [numbers(part.rate, ".1f"), numbers(part.elsewhere, ".1f")]


def test_a_figure_of_nothing_is_a_dash_and_not_a_number(bench: Bench, page: str) -> None:
    assert not re.search(r"\bnan\b", page.lower())
    assert not re.search(r"\bnan\b", printed(bench).lower())


def test_what_the_document_does_not_hold_has_no_place_on_the_page() -> None:
    less = html(replace(EXAMPLES["pays"], **{name: [] for name in LISTS}, noise=None, tails=None, misses=None))
    whole = html(EXAMPLES["pays"])
    for place_of in (*LISTS.values(), "noise", "tails"):
        assert f'id="{place_of}"' in whole
        assert f'href="#{place_of}"' in whole
        assert f'id="{place_of}"' not in less
        assert f'href="#{place_of}"' not in less


def test_hostile_text_in_any_field_stays_text() -> None:
    """No element, attribute or template expression comes out of data, wherever it stands."""
    for example in (EXAMPLES["pays"], EXAMPLES["bare"]):
        tame = re.sub(r"[^\w\s]", "x", HOSTILE)
        meant = Page(html(everywhere(example, tame, KEPT)))
        seen = Page(html(everywhere(example, HOSTILE, KEPT)))
        outside = {"text", "g", "path", "use", "defs", "rect"}  # a name that finds no room is not written
        assert [tag for tag, _ in seen.tags if tag not in outside] == [
            tag for tag, _ in meant.tags if tag not in outside
        ]
        assert {tag for tag, _ in seen.tags} == {tag for tag, _ in meant.tags}
        assert {name for _, held in seen.tags for name in held} == {name for _, held in meant.tags for name in held}
        assert seen.headings[0] == HOSTILE


def test_the_terminal_prints_markup_as_it_stands() -> None:
    for example in EXAMPLES.values():
        squared, round_ = (printed(everywhere(example, said, KEPT)) for said in ("[b]", "(b)"))
        assert squared == round_.replace("(b)", "[b]").replace("(B)", "[B]")


def test_the_page_names_no_address_and_every_reference_is_to_itself(page: str) -> None:
    assert "//" not in re.sub(r"/\*.*?\*/", "", page)
    tags = Page(page).tags
    ids = Counter(held["id"] for _, held in tags if "id" in held)
    assert set(ids.values()) == {1}
    named = re.findall(r"url\(#?([^)]*)\)", page)
    for _, held in tags:
        assert "src" not in held
        named += [(held["href"] or "").removeprefix("#")] if "href" in held else []
        named += (held.get("aria-describedby") or "").split()
    assert set(named) - {"data:,"} <= set(ids)
    assert "script" not in {tag for tag, _ in tags}
    assert any("Content-Security-Policy" in (held.get("http-equiv") or "") for _, held in tags)


def test_no_line_is_wider_than_the_terminal() -> None:
    for example in EXAMPLES.values():
        long = everywhere(example, "a-name-that-is-far-too-long-for-any-table/" * 3, KEPT)
        for shown in (printed(long), printed(example)):
            assert max(map(len, shown.splitlines())) <= 100
        assert "…" not in printed(example)


def test_the_amounts_of_the_waterfall_are_printed_with_the_same_digits() -> None:
    bench = EXAMPLES["pays"]
    rows = [row for row in Page(html(bench)).rows if len(row) == 3 and "$" in row[1]]
    money = [found(row[1].replace("$", ""))[0] for row in rows]
    assert [row[0] for row in rows] == ["always-frontier", *(s.name for s in words.steps(bench.waterfall)), "cascade"]
    assert len({len(amount.partition(".")[2]) for amount in money}) == 1
    assert sum(map(float, money[:-1])) == pytest.approx(float(money[-1]), abs=0.004)


@pytest.mark.parametrize("kind", ["error", "regret"])
def test_a_strategy_breaks_the_target_where_it_loses_more_than_the_level(kind: Any) -> None:
    bench = replace(EXAMPLES["pays"], kind=kind, level=0.05)
    one = replace(bench.strategies[1], quality_delta=Figure(estimate=-0.02), accepted_error=Figure(estimate=0.2))
    assert words.breaks(one, bench) == (kind == "error")
    assert words.breaks(replace(one, quality_delta=Figure(estimate=-0.051)), bench)
    assert not words.breaks(replace(one, name="oracle"), bench)
    assert not words.breaks(replace(one, accepted_error=None), bench)


def test_a_cascade_that_breaks_its_target_on_these_rows_is_marked_everywhere() -> None:
    bench = replace(EXAMPLES["pays"], kind="regret", level=0.00001)
    ours = words.ours(bench.strategies)
    assert ours is not None
    worse = replace(ours, quality_delta=Figure(estimate=-0.1, low=-0.2, high=-0.05))
    bench = replace(bench, strategies=[worse if one is ours else one for one in bench.strategies])
    assert f"cascade✗ {words.BREAKS}" in [row[0] for row in Page(html(bench)).rows]
    assert re.search(r"^cascade \*", printed(bench), re.MULTILINE)
    assert f"cascade ({words.BREAKS})" in cost_quality(bench).svg("p")


def test_a_report_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write(tmp_path / "nowhere" / "bench.html", EXAMPLES["bare"])
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: cannot be made"):
        pictures_png(EXAMPLES["bare"], tmp_path / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_the_most_telling_strategies_of_the_scenarios_are_those_that_lose_most() -> None:
    found_there = EXAMPLES["pays"].scenarios
    told = words.telling(found_there)
    worst = Counter[str]()
    for scenario in found_there:
        for one in scenario.lost:
            worst[one.name] = max(worst[one.name], one.quality_lost)  # type: ignore[assignment]
    rest = sorted((worst[name] for name in worst if name not in {*told, "cascade", "always-frontier"}), reverse=True)
    assert len(told) == words.OTHERS
    assert all(worst[name] >= rest[0] for name in told)
    assert all(worst[a] >= worst[b] for a, b in pairwise(told))
