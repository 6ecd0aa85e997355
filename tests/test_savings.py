"""The committed page of savings is what the committed recordings give, and the README says the same."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import savings
from cascade.bench.document import Bench

ROOT = Path(__file__).parent.parent


@lru_cache
def found() -> Bench:
    return savings.measure(lambda _: None)


def test_the_committed_page_regenerates_from_the_recordings_at_printed_precision() -> None:
    committed = (savings.RESULTS / "savings.md").read_text()
    assert savings.differences(committed, savings.markdown(found())) == []


def test_the_readme_shows_what_is_measured() -> None:
    """No figure of the README's table is typed by hand."""
    readme = (ROOT / "README.md").read_text()
    assert readme.count(savings.BEGIN) == readme.count(savings.END) == 1
    assert savings.differences(readme, savings.shown(readme, found())) == []


def test_every_strategy_that_the_issue_of_a_sceptic_names_is_in_the_table() -> None:
    names = {one.name for one in found().strategies}
    assert {"always-frontier", "always cheap", "lots at equal cost", "oracle", "cascade", "best raw threshold",
            "query-only quantile", "margin + isotonic", "Hoeffding sweep, uncorrected"} <= names  # fmt: skip
    assert any(name.startswith("cascadeflow 1.2") for name in names)


def test_the_ablation_has_each_part_each_pair_all_three_and_the_better_prompt() -> None:
    names = {one.name for one in found().ablation}
    assert {"cache only", "routing only", "cascade only", "cache + routing", "cache + cascade", "routing + cascade",
            "cache + routing + cascade", "better prompt only (cheap-guided)"} <= names  # fmt: skip
    assert len(found().claims) == 2


def test_the_questions_drawn_again_tell_the_noise_of_drawing() -> None:
    noise = found().noise
    assert noise is not None
    assert noise.redrawing is not None
    assert noise.questions > 50


@pytest.mark.parametrize(("was", "now", "same"), [
    ("a | 12.3 |", "a | 12.4 |", True), ("a | 12.3 |", "a | 12.5 |", False), ("a | 12.3 |", "b | 12.3 |", False),
    ("1,234 rows", "1,235 rows", True), ("x 0.5 y 2", "x 0.5 y 4", False), ("-0.04", "-0.05", True), ("-", "1", False),
])  # fmt: skip
def test_one_unit_of_the_last_printed_digit_is_no_difference_and_more_is(was: str, now: str, same: bool) -> None:
    assert (savings.differences(was, now) == []) is same


@given(st.floats(-99, 99), st.integers(0, 3))
def test_a_figure_is_its_own_equal(value: float, digits: int) -> None:
    line = f"| {value:.{digits}f} |"
    assert savings.differences(line, line) == []
    assert savings.differences(line, line + "\nmore") != []
