"""What the options of the commands say is what is read, and what was found is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cascade.cli.intake import Columns, OnlySignals, OnlyTiers, SliceBy, report, taken
from cascade.errors import ConfigError
from cascade.intake import Intake, read
from tests.test_intake import lines, row

app = typer.Typer()


@app.command()
def taking(
    source: str,
    tiers: OnlyTiers = None,
    slice_by: SliceBy = None,
    signals: OnlySignals = None,
    column: Columns = None,
) -> None:
    intake = taken(source, tiers=tiers, slice_by=slice_by, signals=signals, column=column)
    print(json.dumps([[o.id, o.slice, *sorted(o.models)] for o in intake.outcomes]))


def run(*args: Any, **more: Any) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], **more)


def test_the_options_reach_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("key,team,mini=ok,big.correct,other.correct\na,x,1,1,1\n")
    given = ["--column", "id=key", "--column", "cheap.correct=mini=ok", "--tiers", "cheap, big", "--slice-by", "team"]
    done = run(path, *given)
    assert json.loads(done.stdout) == [["a", "x", "big", "cheap"]]
    assert done.stderr == ""


def test_stdin_is_taken_for_a_dash() -> None:
    assert json.loads(run("-", input=json.dumps(row())).stdout) == [["q1", "", "cheap"]]


def test_problems_are_told_by_reason_with_their_count_and_three_rows(tmp_path: Path) -> None:
    path = lines(tmp_path, row("good"), *(row(f"q{i}", {"score": 2.0}) for i in range(1000)), b"{")
    done = run(path)
    assert json.loads(done.stdout) == [["good", "", "cheap"]]
    assert done.stderr.splitlines() == [
        f"{path}: left out, 1,000 x quality outside [0, 1]: row 2 (q0) cheap.score is 2.0;"
        " row 3 (q1) cheap.score is 2.0; row 4 (q2) cheap.score is 2.0; ...",
        f"{path}: left out, 1 x cut off in the middle of a record: row 1002 Expecting property name enclosed in"
        " double quotes: line 1 column 2 (char 1)",
    ]


def test_a_line_of_the_report_is_one_line_whatever_the_rows_hold(tmp_path: Path) -> None:
    intake = read(lines(tmp_path, row("a\nb", {"score": 2.0})))
    assert [line.splitlines() for line in report(intake)] == [report(intake)]


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no row of 2 can be used: no answer of tier big \(2\)"):
        taken(lines(tmp_path, row("a"), row("b")), tiers="big")
    with pytest.raises(ConfigError, match="there is nothing in it"):
        taken(lines(tmp_path))


@pytest.mark.parametrize(
    "options", [["--tiers", ","], ["--column", "id"], ["--column", "=x"], ["--column", "a=b", "--column", "a=c"]]
)
def test_options_that_say_nothing_are_refused(options: list[str], tmp_path: Path) -> None:
    done = run(lines(tmp_path, row()), *options)
    assert done.exit_code == 2
    assert options[0] in done.stderr


def test_a_report_of_what_was_all_well_is_empty() -> None:
    assert report(Intake(outcomes=[], problems=[], notes=[], rows=0)) == []
