"""Reading outcomes: what is good is read as it is, what is not is named, and nothing is lost between the two."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.intake import Intake, read, tie_repeats
from cascade.ledger import Ledger, write_outcomes
from cascade.types import ModelOutcome, Outcome, Verdict
from tests.labelled import outcomes


def row(id: str = "q1", cheap: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": id, "models": {"cheap": cheap if cheap is not None else {"correct": 1}}, **fields}


def lines(tmp_path: Path, *found: Any, end: bytes = b"\n", start: bytes = b"", name: str = "o.jsonl") -> Path:
    """A file with these rows; bytes are written as they are, all else as Python's own JSON."""
    texts = [found if isinstance(found, bytes) else json.dumps(found).encode() for found in found]
    path = tmp_path / name
    path.write_bytes(start + b"".join(text + end for text in texts))
    return path


def problems(intake: Intake) -> dict[str, list[tuple[int, str]]]:
    return {group.reason: [(found.row, found.id) for found in group.found] for group in intake.problems}


def notes(intake: Intake) -> dict[str, int]:
    return {group.reason: group.count for group in intake.notes}


def ids(intake: Intake) -> list[str]:
    return [outcome.id for outcome in intake.outcomes]


def told(intake: Intake) -> str:
    return " ".join(f"{group.reason} {found}" for group in intake.problems for found in group.found)


@settings(max_examples=40)
@given(outcomes(), st.sampled_from(["o.jsonl", "o.jsonl.gz"]))
def test_what_was_written_is_read_back_equal_and_equal_again(found: list[Outcome], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_outcomes(path, found)
        intake = read(path)
        assert intake == Intake(outcomes=found, problems=[], notes=[], rows=len(found))
        assert read(path) == intake


@settings(max_examples=40)
@given(outcomes(), st.data())
def test_the_order_of_the_rows_changes_nothing_but_the_order(found: list[Outcome], data: st.DataObject) -> None:
    """Also with rows that are there twice, and with rows that contradict each other."""
    copies = data.draw(st.lists(st.sampled_from(found), max_size=3))
    liars = [replace(one, slice="other") for one in data.draw(st.lists(st.sampled_from(found), max_size=2))]
    rows = [*found, *copies, *liars]
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.jsonl", Path(folder) / "b.jsonl"
        write_outcomes(first, rows)
        write_outcomes(second, data.draw(st.permutations(rows)))
        one, other = read(first), read(second)
    assert sorted(one.outcomes, key=lambda o: o.id) == sorted(other.outcomes, key=lambda o: o.id)
    assert not {liar.id for liar in liars} & set(ids(one))


FAULTS: list[tuple[Any, str, str]] = [
    (b"{nonsense", "not JSON", ""),
    (b"[1, 2]", "not JSON", "list"),
    (b"\xff\xfe\xfd", "not UTF-8", "byte 1"),
    (b'{"id": "bad", "query": "\xff"}', "not UTF-8", ""),
    (b'{"id": "bad", "models": {"cheap": {"corr', "cut off in the middle of a record", ""),
    (b"[" * 100_000, "not JSON", "deeply"),
    (row(id=""), "no id", ""),
    ({"models": {"cheap": {"correct": 1}}}, "no id", ""),
    (row("bad", {"correct": "yes"}), "a value of the wrong type", "cheap.correct"),
    (row("bad", {"correct": 0.7}), "a value of the wrong type", "cheap.correct"),
    (row("bad", {"correct": 1, "cost": "1 USD"}), "a value of the wrong type", "cheap.cost"),
    (row("bad", {"correct": 1}, slice=3), "a value of the wrong type", "slice"),
    (row("bad", {"score": float("nan")}), "a number that is not finite", "cheap.score is nan"),
    (row("bad", {"correct": float("nan")}), "a number that is not finite", "cheap.correct"),
    (row("bad", {"correct": 1, "cost": float("inf")}), "a number that is not finite", "cheap.cost is inf"),
    (row("bad", {"correct": 1, "signals": {"a": float("-inf")}}), "a number that is not finite", "cheap.signals.a"),
    (row("bad", {"verdicts": [{"judge": "j", "acceptable": True, "score": float("nan")}]}),
     "a number that is not finite", "cheap.verdicts.score"),
    (row("bad", {"correct": 1, "samples": [{"score": float("inf")}]}),
     "a number that is not finite", "cheap.samples.score"),
    (row("bad", {"correct": 1, "samples": [{"verdicts": [{"judge": "j", "acceptable": True, "score": float("nan")}]}]}),
     "a number that is not finite", "cheap.samples.verdicts.score"),
    (row("bad", {"correct": 1, "samples": [{"correct": 1}, {"score": 1.2}]}),
     "quality outside [0, 1]", "cheap, sample 2.score is 1.2"),
    (row("bad", propensity=float("nan")), "a number that is not finite", "propensity"),
    (row("bad", {"score": 1.2}), "quality outside [0, 1]", "cheap.score is 1.2"),
    (row("bad", {"correct": 2}), "quality outside [0, 1]", "cheap.correct is 2"),
    (row("bad", {"correct": -1}), "quality outside [0, 1]", "cheap.correct is -1"),
    (row("bad", {"verdicts": [{"judge": "me", "acceptable": True, "score": 5.0}]}), "quality outside [0, 1]", "me"),
    (row("bad", propensity=1.5), "a probability outside [0, 1]", "1.5"),
    (row("bad", {"correct": 1, "cost": -0.1}), "a negative cost, time or number of tokens", "cheap.cost is -0.1"),
    (row("bad", {"correct": 1, "prompt_tokens": -1}), "a negative cost, time or number of tokens", "prompt_tokens"),
    (row("bad", {"correct": 1, "latency_ms": -1.0}), "a negative cost, time or number of tokens", "latency_ms"),
    (row("bad", {"answer": "four"}), "no label on any tier", "cheap"),
    ({"id": "bad"}, "no label on any tier", "none"),
    (row("bad", version=2), "a version that this release does not know", "upgrade cascade-gate"),
    (row("bad", version=0), "a version that this release does not know", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "reason", "detail"), FAULTS, ids=[f"{i}-{f[1]}" for i, f in enumerate(FAULTS)])
def test_a_bad_row_is_named_and_left_out_and_the_rest_is_read(
    bad: Any, reason: str, detail: str, tmp_path: Path
) -> None:
    intake = read(lines(tmp_path, row("before"), bad, row("after")))
    id = "bad" if isinstance(bad, dict) and bad.get("id") == "bad" else ""
    assert ids(intake) == ["before", "after"]
    assert problems(intake) == {reason: [(2, id)]}
    assert detail in told(intake)
    assert not intake.notes
    assert intake.rows == 3


def test_a_number_too_large_for_any_float_is_not_finite(tmp_path: Path) -> None:
    intake = read(lines(tmp_path, b'{"id":"bad","models":{"cheap":{"correct":1,"cost":1e999}}}'))
    assert problems(intake) == {"a number that is not finite": [(1, "bad")]}


def test_a_tier_is_named_in_the_message_about_its_type(tmp_path: Path) -> None:
    bad = {"id": "q", "models": {"good": {"correct": 1.0}, "gpt-4.1": {"correct": 1, "answer": 4}}}
    assert "gpt-4.1.answer" in told(read(lines(tmp_path, bad)))


def test_whole_floats_and_booleans_are_labels_as_recorded_data_sets_have_them(tmp_path: Path) -> None:
    intake = read(lines(tmp_path, row("a", {"correct": 1.0}), row("b", {"correct": False})))
    assert [outcome.models["cheap"].correct for outcome in intake.outcomes] == [1, 0]


def test_a_signal_that_is_nan_is_missing_and_noted(tmp_path: Path) -> None:
    intake = read(lines(tmp_path, row("q", {"correct": 1, "signals": {"a": float("nan"), "b": 0.5}})))
    assert intake.outcomes[0].models["cheap"].signals == {"b": 0.5}
    assert notes(intake) == {"a signal that is NaN is missing": 1}
    assert str(intake.notes[0].first[0]) == "row 1 (q) cheap.signals.a"
    assert not intake.problems


@pytest.mark.parametrize("size", [1, 10, 40, 70, 2000])
def test_of_a_gzip_file_cut_anywhere_everything_before_the_cut_is_kept(size: int, tmp_path: Path) -> None:
    """Zlib hands out what it has: complete lines are read, and that there was more is a problem."""
    packed = gzip.compress(b"".join(json.dumps(row(f"q{i}")).encode() + b"\n" for i in range(3000)), mtime=0)
    path = tmp_path / "o.jsonl.gz"
    path.write_bytes(packed[: len(packed) - size])
    intake = read(path)
    assert ids(intake) == [f"q{i}" for i in range(len(intake.outcomes))]
    assert problems(intake) == {"the file ends early": [(len(intake.outcomes) + 1, "")]}
    assert len(intake.outcomes) == (3000 if size == 1 else len(intake.outcomes))


def test_of_a_gzip_file_with_a_wrong_checksum_the_rows_are_kept_and_the_damage_is_a_problem(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(json.dumps(row()).encode() + b"\n"))
    packed[-6] ^= 1
    path = tmp_path / "o.jsonl.gz"
    path.write_bytes(packed)
    intake = read(path)
    assert ids(intake) == ["q1"]
    assert list(problems(intake)) == ["the file is damaged"]


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    packed = tmp_path / "o.jsonl"
    packed.write_bytes(gzip.compress(json.dumps(row()).encode()))
    assert ids(read(packed)) == ids(read(lines(tmp_path, row(), name="p.jsonl.gz"))) == ["q1"]


def test_equal_rows_count_once_and_contradicting_ones_not_at_all(tmp_path: Path) -> None:
    other = row("b", {"correct": 0})
    intake = read(lines(tmp_path, row("a"), row("b"), row("a"), other, row("b"), row("c")))
    assert ids(intake) == ["a", "c"]
    assert problems(intake) == {"rows with the same id that say different things": [(2, "b"), (4, "b"), (5, "b")]}
    assert notes(intake) == {"a row that says the same twice is taken once": 1}


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    intake = read(lines(tmp_path, row("a"), b"", row("b"), start=b"\xef\xbb\xbf", end=b"\r\n"))
    assert ids(intake) == ["a", "b"]
    assert not intake.problems
    assert notes(intake) == {"a byte order mark is passed over": 1}


def test_an_empty_file_is_a_problem(tmp_path: Path) -> None:
    assert problems(read(lines(tmp_path))) == {"there is nothing in it": [(0, "")]}
    assert problems(read(lines(tmp_path, b"", b"  "))) == {"there is nothing in it": [(0, "")]}


def test_a_source_that_is_none_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "wide.jsonl").write_bytes("\ufeff{}".encode("utf-16-le"))
    for name, word in (("no.jsonl", "No such file"), ("o.xlsx", ".parquet"), ("", "no ledger"),
                       ("ledger.sqlite", "no ledger"), ("wide.jsonl", "UTF-8")):  # fmt: skip
        with pytest.raises(ConfigError, match=word):
            read(tmp_path / name)
    with pytest.raises(ConfigError, match="only the columns of a table"):
        read(lines(tmp_path, row()), columns={"id": "name"})
    assert not (tmp_path / "spool").exists()


def test_stdin_is_read_as_json_lines() -> None:
    program = "from cascade.intake import read; print(*(o.id for o in read('-').outcomes))"
    text = "".join(json.dumps(row(id)) + "\n" for id in ("a", "b"))
    done = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["a", "b"]


def test_the_tiers_asked_for_are_kept_and_a_row_without_one_is_a_problem(tmp_path: Path) -> None:
    models = {"gpt-4.1": {"correct": 1}, "gpt-4.1-mini": {"correct": 0}, "other": {"score": 7.0}}
    path = lines(tmp_path, {"id": "a", "models": models}, {"id": "b", "models": {"gpt-4.1": {"correct": 1}}})
    intake = read(path, tiers=("gpt-4.1-mini", "gpt-4.1"))
    assert [list(outcome.models) for outcome in intake.outcomes] == [["gpt-4.1-mini", "gpt-4.1"]]
    assert problems(intake) == {"no answer of tier gpt-4.1-mini": [(2, "b")]}


def test_the_slice_is_taken_from_any_field_of_the_row_and_a_row_without_it_is_a_problem(tmp_path: Path) -> None:
    rows = [row("a", metadata={"team": "x", "a.b": "y"}, task="gsm", split="fit"), row("b", slice="own", task=None)]
    path = lines(tmp_path, *rows)
    for field, found in (("metadata.team", "x"), ("metadata.a.b", "y"), ("task", "gsm"), ("split", "fit")):
        intake = read(path, slice_by=field)
        assert [outcome.slice for outcome in intake.outcomes] == [found]
        assert problems(intake) == {f"no value to slice by: {field}": [(2, "b")]}


def test_signals_are_chosen_by_name_or_family_and_name_their_families(tmp_path: Path) -> None:
    signals = {"verbal": 0.5, "logprobs.mean": -1.0, "logprobs.min": -2.0, "text.length": 3.0}
    path = lines(tmp_path, row("a", {"correct": 1, "signals": signals}))
    for chosen, families in ((("verbal", "logprobs"), ["logprobs", "verbal"]), (("logprobs.min",), ["logprobs"])):
        (outcome,) = read(path, signals=chosen).outcomes
        kept = {name for name in signals if name in chosen or name.partition(".")[0] in chosen}
        assert outcome.models["cheap"].signals == {name: signals[name] for name in kept}
        assert outcome.models["cheap"].families == families
    intake = read(path, signals=("verbl", "text"))
    assert "verbl (did you mean verbal?)" in str(intake.notes[0].first[0])


def test_every_row_is_counted_to_who_watches(tmp_path: Path) -> None:
    seen: list[int] = []
    read(lines(tmp_path, row("a"), b"{", row("b")), on_row=seen.append)
    assert seen == [1, 2, 3]


def asked(id: str, query: str | None, **fields: Any) -> Outcome:
    return Outcome(id=id, query=query, models={"cheap": ModelOutcome(correct=1)}, **fields)


def test_a_question_asked_again_is_tied_to_the_first_and_said() -> None:
    rows = [
        asked("a", "What is 12 - 5?"),
        asked("b", "  what is\n12 - 5 "),
        asked("c", "What is 12 + 5?"),
        asked("d", "What is .5?"),
        asked("e", "What is 5?"),
        asked("f", "What is 12 - 5?", conversation="talk"),
        asked("g", "WHAT IS 12 - 5!", paraphrase_of="z"),
        asked("h", None, messages=[{"role": "user", "content": "what is 12 + 5"}]),
        asked("i", "?!"),
        asked("j", "..."),
        asked("k", None, query_hash="0"),
        asked("l", None, query_hash="0"),
        asked("m", "Why?", paraphrase_of="y"),
        asked("n", "Why"),
    ]
    tied, count = tie_repeats(rows)
    expected = {"b": "a", "g": "z", "h": "c", "l": "k", "m": "y", "n": "y"}
    assert {row.id: row.paraphrase_of for row in tied if row.paraphrase_of} == expected
    assert count == 4
    assert tie_repeats(tied) == (tied, 0)


def test_reading_ties_repeated_questions_and_leaves_none_out(tmp_path: Path) -> None:
    intake = read(lines(tmp_path, row("a", query="Why?"), row("b", query="why")))
    assert [outcome.paraphrase_of for outcome in intake.outcomes] == [None, "a"]
    assert notes(intake) == {"a question that an earlier row asks is tied to it": 1}
    assert not intake.problems


def test_a_copied_ledger_is_read_under_any_name_and_another_database_is_left_as_it_is(tmp_path: Path) -> None:
    with Ledger(tmp_path / "store") as made:
        made.append(asked("a", "one"))
        made.label("a", "cheap", Verdict(judge="me", acceptable=False))
    copy = tmp_path / "ledger.db"
    copy.write_bytes((tmp_path / "store" / "ledger.sqlite").read_bytes())
    (outcome,) = read(copy).outcomes
    assert outcome.models["cheap"].quality == 0.0
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    before = other.read_bytes()
    with pytest.raises(ConfigError, match="no ledger"):
        read(other)
    assert other.read_bytes() == before
    (tmp_path / "text.db").write_text("not a database")
    with pytest.raises(ConfigError, match="cannot be read as a ledger"):
        read(tmp_path / "text.db")


@pytest.mark.parametrize("name", ["", "ledger.sqlite"])
def test_a_ledger_in_use_is_read_with_its_verdicts_and_goes_on(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with Ledger(folder) as living:
        assert living.append(asked("a", "one"))
        living.label("a", "cheap", Verdict(judge="me", acceptable=False))
        assert living.append(Outcome(id="b", models={"cheap": ModelOutcome(answer="four")}))
        intake = read(folder / name)
        assert living.append(asked("c", "three"))
        assert sorted(ids(read(folder / name))) == ["a", "c"]
    assert [outcome.models["cheap"].quality for outcome in intake.outcomes] == [0.0]
    assert problems(intake) == {"no label on any tier": [(2, "b")]}
    with Ledger(folder) as after:
        assert sorted(outcome.id for outcome in after.outcomes()) == ["a", "b", "c"]
