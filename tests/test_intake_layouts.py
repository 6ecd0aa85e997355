"""RouterBench's wide tables are read without a map of columns, and nothing of them is lost unseen."""

from __future__ import annotations

import csv
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from cascade.cli import app
from cascade.errors import ConfigError
from cascade.intake import Intake, read
from cascade.types import ModelOutcome, Outcome
from tests.labelled import AMOUNTS, UNIT, maybe
from tests.test_intake import ids, problems, told

Cells = dict[str, Any]

FILES = ["t.csv", "t.jsonl", "t.parquet"]
MODELS = ["mistralai/mistral-7b-chat", "gpt-4-1106-preview", "claude-v1.2"]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(lambda t: t[0] != "[")
CALLS = ("messages", "response", "metadata", "proxy_server_request")


def written(path: Path, rows: list[Cells]) -> Path:
    """The rows as a file of the kind that its name says; in JSON lines what is JSON in a cell is an object."""
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        objects = [{k: json.loads(v) if k in CALLS and v else v for k, v in row.items()} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in objects), encoding="utf-8")
    else:
        parquet.write_table(pa.table({name: [row[name] for row in rows] for name in rows[0]}), path)
    return path


def wide(outcome: Outcome, spelled: Callable[[list[str]], Any] = repr) -> Cells:
    """An outcome as a row of RouterBench; ``spelled`` is how a list of texts is written down."""
    row: Cells = {"sample_id": outcome.id, "prompt": spelled([outcome.query or ""]), "eval_name": outcome.slice}
    row |= {name: model.score for name, model in outcome.models.items()}
    for name, model in outcome.models.items():
        row[f"{name}|model_response"] = None if model.answer is None else spelled([model.answer])
        row[f"{name}|total_cost"] = model.cost
    return row


@st.composite
def scored(draw: st.DrawFn) -> list[Outcome]:
    """Rows of which each has every model, if only a part of what is known of it, and a label somewhere."""
    part = st.builds(ModelOutcome, answer=maybe(TEXT), score=maybe(UNIT), cost=maybe(AMOUNTS))
    full = st.builds(ModelOutcome, answer=TEXT, score=UNIT, cost=AMOUNTS)
    return [
        Outcome(
            id=f"q.{at}",
            slice=draw(st.sampled_from(["mmlu-law", "mbpp"])),
            query=f"what is {at}: {draw(TEXT)}",
            models={MODELS[0]: draw(full), MODELS[1]: draw(part.filter(lambda m: m != ModelOutcome()))},
        )
        for at in range(draw(st.integers(1, 4)))
    ]


@settings(max_examples=40, deadline=None)
@given(scored(), st.sampled_from(FILES), st.sampled_from([repr, json.dumps, lambda texts: texts[0]]))
def test_a_wide_table_made_of_outcomes_reads_back_to_them(
    found: list[Outcome], name: str, spelled: Callable[[list[str]], Any]
) -> None:
    """However a list of one text is written: as Python does, as JSON does, or as the text alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / name, [wide(outcome, spelled) for outcome in found])
        assert read(path) == read(path, layout="routerbench")
        assert read(path) == Intake(outcomes=found, problems=[], notes=[], rows=len(found))


def one_wide(**more: Any) -> Cells:
    return (
        wide(Outcome(id="a", query="why?", models={MODELS[0]: ModelOutcome(answer="so", score=1.0, cost=0.1)})) | more
    )


@pytest.mark.parametrize(
    ("prompt", "query"),
    [
        ("['one', \"two's\"]", "one\ntwo's"),
        ('["one", "t\\u0077o"]', "one\ntwo"),
        (r"['a\nb\\']", "a\nb\\"),
        (r"['\d']", r"\d"),
        ("[]", "[]"),
        ("[1, 2]", "[1, 2]"),
        ("['one', 2]", "['one', 2]"),
        ("['one'", "['one'"),
        (r"['\x4']", r"['\x4']"),
        ("[__import__('os')]", "[__import__('os')]"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_only_a_flat_list_of_texts_is_unpacked_and_all_else_is_a_text(prompt: str, query: str, tmp_path: Path) -> None:
    assert read(written(tmp_path / "t.csv", [one_wide(prompt=prompt)])).outcomes[0].query == query


def test_lists_of_parquet_and_json_are_joined_by_newlines(tmp_path: Path) -> None:
    for name in ("t.parquet", "t.jsonl"):
        assert read(written(tmp_path / name, [one_wide(prompt=["one", "two"])])).outcomes[0].query == "one\ntwo"


WIDE_FAULTS = [
    (MODELS[0], "yes", "a value of the wrong type", f"{MODELS[0]}: 'yes' is no number"),
    (MODELS[0], "1.5", "quality outside [0, 1]", f"{MODELS[0]}.score is 1.5"),
    (MODELS[0], "nan", "a number that is not finite", f"{MODELS[0]}.score is nan"),
    (MODELS[0], "", "no label on any tier", MODELS[0]),
    (f"{MODELS[0]}|total_cost", "$1", "a value of the wrong type", f"{MODELS[0]}|total_cost: '$1' is no number"),
    (f"{MODELS[0]}|total_cost", "-1", "a negative cost, time or number of tokens", f"{MODELS[0]}.cost is -1"),
    ("sample_id", "", "no id", ""),
]


@pytest.mark.parametrize(
    ("column", "cell", "reason", "detail"), WIDE_FAULTS, ids=[f"{f[0]}={f[1]}" for f in WIDE_FAULTS]
)
def test_a_bad_cell_of_a_wide_table_is_named(column: str, cell: str, reason: str, detail: str, tmp_path: Path) -> None:
    rows = [one_wide(), one_wide(sample_id="bad", prompt="who?") | {column: cell}, one_wide(sample_id="b", prompt="x")]
    for name in ("t.csv", "t.jsonl"):
        intake = read(written(tmp_path / name, rows))
        assert ids(intake) == ["a", "b"]
        assert [row for row, _ in problems(intake)[reason]] == [3 if name == "t.csv" else 2]
        assert detail in told(intake)


def test_columns_that_nothing_reads_are_told_and_the_oracle_by_itself(tmp_path: Path) -> None:
    intake = read(written(tmp_path / "t.csv", [one_wide(oracle_model_to_route_to=MODELS[0], extra="x", team="red")]))
    told_of = {group.reason: [found.detail for found in group.found] for group in intake.notes}
    assert told_of == {
        "a column that says which model should have answered is not read": ["oracle_model_to_route_to"],
        "a column that nothing reads": ["extra", "team"],
    }
    assert read(tmp_path / "t.csv", slice_by="team").outcomes[0].slice == "red"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("prompt,m,m|total_cost", "there is no column sample_id"),
        ("sample_id,m,m|total_cost,m", "more than one column is m"),
        ("sample_id,my model,my model|total_cost", "no tier can be called 'my model'"),
        ("sample_id,cache,cache|total_cost", "no tier can be called 'cache'"),
    ],
)
def test_a_wide_table_that_cannot_be_read_says_which_column(header: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(header + "\n")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "t.csv")


def test_a_line_with_other_keys_than_the_first_spoils_itself_alone(tmp_path: Path) -> None:
    other = {"sample_id": "b", "prompt": "x"}
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (one_wide(), other, one_wide(sample_id="c", prompt="y"))))
    assert ids(read(path)) == ["a", "c"]
    assert problems(read(path)) == {"a row without the keys that the first has": [(2, "")]}


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    """Not even to see whether it is there."""
    with pytest.raises(ConfigError, match=r"a pickle can run any program.*to_parquet"):
        read(tmp_path / "routerbench_0shot.pkl")


def test_a_layout_asked_for_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", [one_wide()])
    with pytest.raises(ConfigError, match=r"is no spend log of LiteLLM: there is no column request_id, model"):
        read(path, layout="litellm")
    with pytest.raises(ConfigError, match="no column is the id"):
        read(path, layout="cascade")
    with pytest.raises(ConfigError, match="leave out --column, or --layout"):
        read(path, layout="routerbench", columns={"id": "sample_id"})
    (tmp_path / "o.csv").write_text("id,cheap.correct\na,1\n")
    with pytest.raises(ConfigError, match="is no table of RouterBench"):
        read(tmp_path / "o.csv", layout="routerbench")


def test_names_of_columns_that_a_person_gives_say_which_layout_it_is(tmp_path: Path) -> None:
    columns = {"id": "sample_id", "query": "prompt", "cheap.score": MODELS[0]}
    outcome = read(written(tmp_path / "t.csv", [one_wide()]), columns=columns).outcomes[0]
    assert outcome.models == {"cheap": ModelOutcome(score=1.0)}
    assert outcome.query == "['why?']"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, in which no policy is found by chance."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CASCADE_POLICY", raising=False)
    return tmp_path


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """1,500 questions of which the cheap model gets the easy ones right, and hedges where it does not."""
    draw = random.Random(3)
    rows = []
    for at in range(1500):
        right = draw.random() < 0.65
        cheap = "The answer is B." if right else "I am not sure, maybe " * 3 + "A"
        models = {
            MODELS[0]: ModelOutcome(answer=cheap, score=float(right), cost=2e-5),
            MODELS[1]: ModelOutcome(answer="It is B.", score=float(draw.random() < 0.95), cost=7e-4),
        }
        asked = f"Question {at}: what is {draw.randrange(10**6)} plus {draw.randrange(10**6)}?"
        rows.append(wide(Outcome(id=f"q.{at}", slice=draw.choice(["a", "b"]), query=asked, models=models)))
    return written(tmp_path / "t.csv", rows)


def test_a_wide_table_is_certified_and_benchmarked_by_its_texts_alone(table: Path, here: Path) -> None:
    asked = ("--tiers", ",".join(MODELS[:2]), "--max-regret", ".05")
    done = run("calibrate", table, *asked, "-o", here / "rb", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "certified"
    done = run("bench", table, *asked, "--quick", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"]["pays"] == "pays"
    assert {one["name"] for one in found["slices"]} == {"a", "b"}
