"""Verdicts of people: every way to write them down, and every mistake named by its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cascade.errors import ConfigError
from cascade.judging.imports import Imported, read_verdicts
from cascade.types import Verdict
from tests.cases import row_of

ROWS = [row_of(f"r{i:03}", reference="4") for i in range(200)]


def brought(tmp_path: Path, text: str, **options: Any) -> Imported:
    """What a file of verdicts on the rows holds."""
    file = tmp_path / "verdicts"
    file.write_text(text, encoding="utf-8")
    return read_verdicts(file, {row.id: row for row in ROWS}, **{"judge": "human:ann", "tier": "cheap", **options})


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffid,tier,acceptable,score,judge,propensity,note\r\n"
        'r001,last,Yes,0.8,human:bo,0.25,"long, and\n broken"\r\n',
        '{"id": "r001", "tier": "last", "acceptable": true, "score": 0.8, "judge": "human:bo", "propensity": 0.25,'
        ' "note": "long, and\\n broken"}\n\n',
    ],
)  # fmt: skip
def test_verdicts_of_people_come_from_csv_or_json_lines(text: str, tmp_path: Path) -> None:
    """With everything that the columns hold."""
    found = brought(tmp_path, text)
    assert found.bad == []
    (row, tier, verdict) = found.verdicts[0]
    assert (row.id, tier) == ("r001", "last")
    assert verdict == Verdict(
        judge="human:bo", acceptable=True, score=0.8, propensity=0.25, labels={"note": "long, and\n broken"}
    )


@pytest.mark.parametrize(
    ("word", "wanted"), [("true", True), ("FALSE", False), ("1", True), ("0", False), ("yes", True), ("no", False)]
)
def test_yes_and_no_are_written_in_many_ways(word: str, wanted: bool, tmp_path: Path) -> None:
    """Tier and judge stand in from the command where a row names none."""
    ((row, tier, verdict),) = brought(tmp_path, f"acceptable,id\n{word},r001\n").verdicts
    assert (row.id, tier, verdict.judge, verdict.acceptable) == ("r001", "cheap", "human:ann", wanted)
    assert verdict.propensity is None


BAD = [
    ("nobody,true,,,,", "no row with id 'nobody'"),
    (",true,,,,", "no row with id ''"),
    ("r001,maybe,,,,", "acceptable is 'maybe'"),
    ("r001,,,,,", "acceptable is ''"),
    ("r001,true,chaep,,,", "did you mean 'cheap'"),
    ("r001,true,,1.5,,", "score is '1.5'"),
    ("r001,true,,0.2,,", "contradicts"),
    ("r001,true,,nan,,", "score is 'nan'"),
    ("r001,true,,,,0", "never drawn"),
    ("r001,true,,,,x", "propensity is 'x'"),
    ("r001,true", "2 cells"),
    ("r009,false,,,,", "row 2 is the same"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_row_is_named_by_its_number_and_reason(line: str, reason: str, tmp_path: Path) -> None:
    """Counted as a spreadsheet counts; good rows around it are still read."""
    text = f"id,acceptable,tier,score,judge,propensity\nr009,true,,,,\n{line}\nr010,true,,,,\n"
    found = brought(tmp_path, text)
    assert [(bad.row, reason in bad.reason) for bad in found.bad] == [(3, True)]
    assert [row.id for row, _, _ in found.verdicts] == ["r009", "r010"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"id": "r001"}\n{"id": ', "not a JSON object"),
        ('{"id": "r001"}\n[1]', "not a JSON object"),
        ('{"id": "r001"}\n{"id": "r001", "acceptible": true}', "did you mean 'acceptable'"),
    ],
)
def test_a_bad_line_of_json_is_named_too(text: str, reason: str, tmp_path: Path) -> None:
    """Both lines here: the first says nothing about acceptable."""
    first, second = brought(tmp_path, text).bad
    assert (first.row, second.row) == (1, 2)
    assert reason in second.reason


def test_without_a_tier_or_a_judge_a_row_says_what_to_add(tmp_path: Path) -> None:
    """Nobody guesses whose answer and whose word it is."""
    assert "--tier" in brought(tmp_path, "id,acceptable\nr001,1\n", tier=None).bad[0].reason
    assert "--judge-name" in brought(tmp_path, "id,acceptable\nr001,1\n", judge="").bad[0].reason


@pytest.mark.parametrize(
    "text",
    ["", "id,tier\nr001,cheap\n", "id,acceptible\nr001,1\n", "id,id,acceptable\na,a,1\n", 'id,acceptable\n"r001,1\n'],
)
def test_a_file_with_a_wrong_header_is_refused_whole(text: str, tmp_path: Path) -> None:
    """So is one that is not CSV."""
    with pytest.raises(ConfigError):
        brought(tmp_path, text)
