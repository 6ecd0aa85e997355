"""Outcomes in tables: columns named as paths of the record, whoever wrote the table."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from cascade.errors import ConfigError
from cascade.intake import Intake, columns_of, read
from cascade.intake.columnar import BLOCK
from cascade.ledger import write_outcomes
from cascade.types import Outcome
from tests.labelled import outcomes, table
from tests.test_intake import ids, notes, problems, told

HEAD = "id,cheap.correct,gpt-4.1.correct"


def text(tmp_path: Path, *lines: str, name: str = "o.csv", end: str = "\n", start: str = "") -> Path:
    path = tmp_path / name
    path.write_bytes((start + "".join(line + end for line in lines)).encode())
    return path


def columns(tmp_path: Path, **cells: list[Any]) -> Path:
    path = tmp_path / "o.parquet"
    parquet.write_table(pa.table({name.replace("__", "."): values for name, values in cells.items()}), path)
    return path


@settings(max_examples=40)
@given(outcomes(), st.sampled_from(["o.csv", "o.tsv", "o.csv.gz"]))
def test_the_flat_columns_come_back_from_csv(found: list[Outcome], name: str) -> None:
    header, cells = table(found)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        opened = gzip.open if name.endswith(".gz") else open
        with opened(path, "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header, delimiter="\t" if "tsv" in name else ",")
            writer.writeheader()
            writer.writerows(cells)
        assert read(path) == Intake(outcomes=found, problems=[], notes=[], rows=len(found))


@settings(max_examples=40)
@given(outcomes())
def test_the_flat_columns_come_back_from_parquet(found: list[Outcome]) -> None:
    header, cells = table(found)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "o.parquet"
        parquet.write_table(pa.table({name: [row.get(name) for row in cells] for name in header}), path)
        assert read(path) == Intake(outcomes=found, problems=[], notes=[], rows=len(found))


@settings(max_examples=40)
@given(outcomes())
def test_nested_models_come_back_from_parquet_as_json_has_them(found: list[Outcome]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written, path = Path(folder) / "o.jsonl", Path(folder) / "o.parquet"
        write_outcomes(written, found)
        rows = [json.loads(line) for line in written.read_bytes().split(b"\n") if line]
        # An empty struct has no place in a Parquet file; left out it means the same.
        rows = [{name: value for name, value in row.items() if value != {}} for row in rows]
        names = {name for row in rows for name in row}
        parquet.write_table(pa.table({name: [row.get(name) for row in rows] for name in sorted(names)}), path)
        assert read(path) == Intake(outcomes=found, problems=[], notes=[], rows=len(found))


def test_a_map_of_signals_is_read_like_a_struct(tmp_path: Path) -> None:
    kind = pa.struct({"cheap": pa.struct({"correct": pa.float64(), "signals": pa.map_(pa.string(), pa.float64())})})
    models = pa.array([{"cheap": {"correct": 1.0, "signals": [("verbal", 0.5)]}}, {"cheap": None}], kind)
    parquet.write_table(pa.table({"id": ["a", "b"], "models": models}), tmp_path / "o.parquet")
    intake = read(tmp_path / "o.parquet")
    assert intake.outcomes[0].models["cheap"].signals == {"verbal": 0.5}
    assert problems(intake) == {"no label on any tier": [(2, "b")]}


FAULTS = [
    ("bad,yes,1", "a value of the wrong type", "cheap.correct: 'yes' is no number"),
    ("bad,0.7,1", "a value of the wrong type", "a graded quality belongs into score"),
    ("bad,1.5,1", "a value of the wrong type", "cheap.correct"),
    ("bad,1_0,1", "a value of the wrong type", "cheap.correct"),
    ("bad,nan,1", "a number that is not finite", "cheap.correct is nan"),
    ("bad,1,-inf", "a number that is not finite", "gpt-4.1.correct is -inf"),
    ("bad,2,1", "quality outside [0, 1]", "cheap.correct is 2"),
    ("bad,,", "no label on any tier", ""),
    ("bad,1", "not as many cells as the header has", "2 instead of 3"),
    ("bad,1,1,1", "not as many cells as the header has", "4 instead of 3"),
    ('"bad"x,1,1', "not CSV", "line 3"),
    (",1,1", "no id", ""),
    ("bad\udcff,1,1", "not UTF-8", ""),
]


@pytest.mark.parametrize(("bad", "reason", "detail"), FAULTS, ids=[f"{i}-{f[1]}" for i, f in enumerate(FAULTS)])
def test_a_bad_row_of_a_table_is_named_and_the_rest_is_read(bad: str, reason: str, detail: str, tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_bytes(f"{HEAD}\nbefore,1,1\n{bad}\nafter,true,0.0\n".encode(errors="surrogateescape"))
    intake = read(path)
    assert ids(intake) == ["before", "after"]
    assert [row for row, _ in problems(intake)[reason]] == [3]
    assert detail in told(intake)


def test_a_quote_that_is_never_closed_does_not_swallow_rows_unseen(tmp_path: Path) -> None:
    intake = read(text(tmp_path, HEAD, "a,1,1", '"b,1,1', "c,1,1"))
    assert ids(intake) == ["a"]
    assert problems(intake) == {"not CSV": [(3, "")]}


def test_of_a_packed_table_cut_short_the_rows_before_the_cut_are_kept(tmp_path: Path) -> None:
    packed = gzip.compress("\n".join([HEAD, *(f"q{i},1,0" for i in range(5000))]).encode(), mtime=0)
    (tmp_path / "o.csv.gz").write_bytes(packed[: len(packed) // 2])
    intake = read(tmp_path / "o.csv.gz")
    assert ids(intake) == [f"q{i}" for i in range(len(intake.outcomes))]
    assert 0 < len(intake.outcomes) < 5000
    assert problems(intake) == {"the file ends early": [(len(intake.outcomes) + 2, "")]}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_a_spreadsheet_writes_is_read(mark: str, tmp_path: Path) -> None:
    """A byte order mark, Windows line ends, quoted names, semicolons, and an answer over two lines."""
    lines = ['"id"' + mark + "cheap.correct" + mark + "cheap.answer", 'a;"TRUE";"one\r\ntwo"'.replace(";", mark)]
    intake = read(text(tmp_path, *lines, start="\ufeff", end="\r\n"))
    (outcome,) = intake.outcomes
    assert (outcome.models["cheap"].correct, outcome.models["cheap"].answer) == (1, "one\r\ntwo")
    assert notes(intake) == {"a byte order mark is passed over": 1}


def test_an_answer_longer_than_the_library_allows_is_read(tmp_path: Path) -> None:
    intake = read(text(tmp_path, "id,cheap.correct,cheap.answer", f"a,1,{'x' * 200_000}"))
    assert len(intake.outcomes[0].models["cheap"].answer or "") == 200_000


def test_an_empty_table_is_a_problem(tmp_path: Path) -> None:
    assert list(problems(read(text(tmp_path)))) == ["there is nothing in it"]
    assert list(problems(read(text(tmp_path, HEAD)))) == ["there is nothing in it"]


def test_blank_rows_are_passed_over_and_counted(tmp_path: Path) -> None:
    intake = read(text(tmp_path, "", HEAD, "a,1,1", "", "b,2,1"))
    assert ids(intake) == ["a"]
    assert problems(intake) == {"quality outside [0, 1]": [(5, "b")]}


def test_columns_are_renamed_and_those_that_nothing_reads_are_named_once(tmp_path: Path) -> None:
    path = text(tmp_path, "key,id,mini_ok,gpt-4.1.corect,colour", "a,x,1,1,red", "b,y,0,1,red")
    intake = read(path, columns={"id": "key", "cheap.correct": "mini_ok", "gpt-4.1.score": "gpt-4.1.corect"})
    assert [(o.id, o.models["cheap"].correct, o.models["gpt-4.1"].score) for o in intake.outcomes] == [
        ("a", 1, 1.0),
        ("b", 0, 1.0),
    ]
    assert [str(found) for group in intake.notes for found in group.found] == ["id", "colour"]
    intake = read(path, columns={"gpt-4.1.cost": "mini_ok"})
    (group,) = intake.notes
    assert [str(found) for found in group.found] == [
        "key",
        "gpt-4.1.corect (did you mean gpt-4.1.correct?)",
        "colour",
    ]


@pytest.mark.parametrize(
    ("header", "renamed", "message"),
    [
        ("id,mini_ok", {"cheap.correct": "mini_okk"}, r"no column mini_okk .*did you mean mini_ok\?"),
        ("id,ok", {"cheap.corect": "ok"}, r"no cheap.corect .did you mean cheap.correct\?"),
        ("id,ok", {"a.correct": "ok", "b.correct": "ok"}, "two fields"),
        ("id,cheap.correct,cheap.correct", {}, "more than one column is cheap.correct"),
        ("key,cheap.correct", {}, "no column is the id"),
    ],
)
def test_a_column_map_that_does_not_fit_is_refused(
    header: str, renamed: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(text(tmp_path, header, "1,1"), columns=renamed)


def test_tiers_and_signals_with_dots_and_names_of_fields_are_told_apart(tmp_path: Path) -> None:
    header = "id,gpt-4.1.correct,gpt-4.1.signals.logprobs.mean,gpt-4.1.signals.score,metadata.a.score"
    (outcome,) = read(text(tmp_path, header, "a,1,-0.5,0.25,x")).outcomes
    assert outcome.models["gpt-4.1"].signals == {"logprobs.mean": -0.5, "score": 0.25}
    assert outcome.metadata == {"a.score": "x"}


def test_a_judge_makes_the_label_a_verdict_and_one_without_a_word_is_noted(tmp_path: Path) -> None:
    header = "id,cheap.judge,cheap.score,big.judge,big.correct"
    intake = read(text(tmp_path, header, "a,human:me,0.25,llm:x,1", "b,human:me,,,1"))
    first = intake.outcomes[0]
    assert [(v.judge, v.acceptable, v.score) for m in first.models.values() for v in m.verdicts] == [
        ("human:me", False, 0.25),
        ("llm:x", True, None),
    ]
    assert notes(intake) == {"a judge is named for a tier that has neither correct nor score": 1}


@pytest.mark.parametrize("word", ["nan", "2", "-1", "1.5"])
def test_a_judge_does_not_make_a_label_of_what_is_none(word: str, tmp_path: Path) -> None:
    for field in ("correct", "score"):
        intake = read(text(tmp_path, f"id,cheap.judge,cheap.{field}", f"a,human:me,{word}"))
        assert not intake.outcomes
        assert sum(group.count for group in intake.problems) == 1


def test_the_slice_may_be_a_column_of_the_tables_own(tmp_path: Path) -> None:
    intake = read(text(tmp_path, HEAD + ",version", "a,1,1,x", "b,1,1,"), slice_by="version")
    assert [outcome.slice for outcome in intake.outcomes] == ["x"]
    assert problems(intake) == {"no value to slice by: version": [(3, "b")]}
    assert not intake.notes


def test_numbers_of_parquet_are_held_to_the_same_laws(tmp_path: Path) -> None:
    nan = float("nan")
    cells = {"id": [1, 2, 3, 4], "cheap__correct": [True, None, False, True], "cheap__score": [None, nan, 2.0, None]}
    intake = read(columns(tmp_path, **cells, cheap__signals__verbal=[nan, 0.5, 0.5, 0.5], extra=[0, 0, 0, 0]))
    assert ids(intake) == ["1", "4"]
    assert problems(intake) == {"a number that is not finite": [(2, "2")], "quality outside [0, 1]": [(3, "3")]}
    assert notes(intake) == {"a column that nothing reads": 1, "a signal that is NaN is missing": 1}


def test_a_file_that_is_no_parquet_or_half_of_one_says_so(tmp_path: Path) -> None:
    path = columns(tmp_path, id=["a"], cheap__correct=[1])
    for content in (path.read_bytes()[:-20], b"id,cheap.correct\n", b""):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="no Parquet file"):
            read(path)


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path) -> None:
    path = columns(tmp_path, id=["a"], cheap__correct=[1])
    program = f"import sys; sys.modules['pyarrow'] = None; from cascade.intake import read; read({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'cascade-gate[parquet]'" in done.stderr.splitlines()[-1]


@settings(max_examples=40)
@given(outcomes())
def test_two_columns_as_arrays_are_what_reading_all_says(found: list[Outcome]) -> None:
    """NaN where a row has no value; JSON lines, nested Parquet and flat Parquet alike."""
    _, cells = table(found)
    keys = {"score": "signals.logprobs.mean", "label": "latency_ms"}
    models = [outcome.models.get("gpt-4.1") for outcome in found]
    expected = {
        "score": [m.signals.get("logprobs.mean", np.nan) if m else np.nan for m in models],
        "label": [m.latency_ms if m and m.latency_ms is not None else np.nan for m in models],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in ("o.jsonl", "o.jsonl.gz"):
            write_outcomes(Path(folder) / name, found)
            arrays = columns_of(Path(folder) / name, tier="gpt-4.1", **keys)
            for key, values in expected.items():
                np.testing.assert_array_equal(arrays[key], values)
        flat = {f"gpt-4.1.{key}": pa.array([row.get(f"gpt-4.1.{key}") for row in cells], pa.float64())
                for key in keys.values()}  # fmt: skip
        parquet.write_table(pa.table(flat), Path(folder) / "o.parquet")
        arrays = columns_of(Path(folder) / "o.parquet", tier="gpt-4.1", **keys)
    for key, values in expected.items():
        np.testing.assert_array_equal(arrays[key], values)


def test_two_columns_of_nested_parquet_are_found_by_their_keys(tmp_path: Path) -> None:
    models = [{"gpt-4.1": {"correct": 1, "signals": {"logprobs.mean": -1.5}}}, {"gpt-4.1": None}]
    parquet.write_table(pa.table({"id": ["a", "b"], "models": models}), tmp_path / "o.parquet")
    arrays = columns_of(tmp_path / "o.parquet", tier="gpt-4.1", score="signals.logprobs.mean", label="correct")
    np.testing.assert_array_equal(arrays["score"], [-1.5, np.nan])
    np.testing.assert_array_equal(arrays["label"], [1.0, np.nan])
    with pytest.raises(ConfigError, match=r"models\.gpt-4\.1\.cost|cost"):
        columns_of(tmp_path / "o.parquet", tier="gpt-4.1", score="cost", label="correct")


def test_two_columns_of_rows_without_tiers_and_lines_longer_than_a_block(tmp_path: Path) -> None:
    long = "x" * (2 * BLOCK)
    path = text(tmp_path, '{"s": 1, "l": true}', f'{{"q": "{long}", "s": 2.5, "l": null}}', '{"s": 3}', name="o.jsonl")
    arrays = columns_of(path, score="s", label="l")
    np.testing.assert_array_equal(arrays["score"], [1.0, 2.5, 3.0])
    np.testing.assert_array_equal(arrays["label"], [1.0, np.nan, np.nan])


@pytest.mark.parametrize("bad", ['{"s": "high"}', "{", "[]"])
def test_two_columns_of_a_file_with_a_bad_row_are_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use read"):
        columns_of(text(tmp_path, '{"s": 1}', bad, name="o.jsonl"), score="s", label="l")
