"""A batch: every question one line, nothing that has one asked again, whatever becomes of the process."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.asks import Call
from cascade.batch.answers import Answered, AnswersFile, cost_elsewhere
from cascade.batch.journal import Header, Journal, Line, PossiblyBilled
from cascade.batch.questions import Questions, read_questions
from cascade.batch.serving import Batch
from cascade.batch.summary import kind_of
from cascade.errors import ConfigError, UpstreamError
from cascade.ledger import Ledger
from cascade.lock import lock_path, save_lock
from cascade.policyfile import load_policy
from cascade.testing import Answerer, FakeModels, draft
from cascade.types import CheckResult, Draft, Outcome, Usage
from tests.building import lock_of

POLICY = """
name = "p"
{more}
[target]
max_error = 0.05
[[tiers]]
name = "cheap"
model = "cheap-model"
price = {{ input = 1.0, output = 2.0 }}
[[tiers]]
name = "frontier"
model = "frontier-model"
price = {{ input = 10.0, output = 20.0 }}
"""


def policy_at(folder: Path, more: str = "", *, locked: bool = True) -> Path:
    """A policy file, and a lock beside it whose gate a mean log-probability of -1 passes."""
    folder.mkdir(exist_ok=True)
    file = folder / "p.toml"
    file.write_text(POLICY.format(more=more))
    if locked:
        save_lock(lock_path(file), lock_of(load_policy(file)))
    return file


def asks(count: int, *, start: int = 0) -> Questions:
    """Even ones are easy for the cheap model."""
    rows = [Outcome(id=f"q{i}", query=f"question {i}") for i in range(start, start + count)]
    return Questions(questions=rows, rows=list(range(1, count + 1)), bad=[], notes=[])


def number(call: Call) -> int:
    return int(str(call.messages[-1]["content"]).split()[-1])


def says(call: Call) -> Draft:
    """Sure of even questions; 100 tokens in, 10 out."""
    sure = [-0.1 if number(call) % 2 == 0 else -3.0] * 10
    price = call.endpoint.price or (0.0, 0.0, 0.0)
    cost = (100 * price[0] + 10 * price[1]) / 1e6
    return draft(
        call, f"{call.tier} says", usage=Usage(prompt_tokens=100, completion_tokens=10), cost=cost, logprobs=sure
    )


def batch(folder: Path, questions: Questions, answer: Answerer = says, **more: Any) -> tuple[Batch, FakeModels]:
    file = folder / "p.toml" if (folder / "p.toml").exists() else policy_at(folder)
    models = FakeModels(answer)
    return Batch(file, questions, folder / "out.jsonl", transport=models, **more), models


def served(folder: Path, questions: Questions, answer: Answerer = says, **more: Any) -> tuple[Any, FakeModels]:
    made, models = batch(folder, questions, answer, **more)
    with made:
        return made.serve(), models


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_bytes().splitlines()]


def asked(models: FakeModels) -> Counter[tuple[str, int]]:
    return Counter((call.tier, number(call)) for call in models.calls)


# What comes out


def test_every_question_gets_one_line_that_says_who_answered_and_why(tmp_path: Path) -> None:
    """Easy ones the cheap model, hard ones the frontier; the ledger has each decision under the line's id."""
    found, _ = served(tmp_path, asks(10))
    rows = {row["id"]: row for row in lines(tmp_path)}
    assert len(lines(tmp_path)) == len(rows) == 10
    for i in range(10):
        row = rows[f"q{i}"]
        assert (row["row"], row["served_by"]) == (i + 1, "cheap" if i % 2 == 0 else "frontier")
        assert row["served"] == ("accepted" if i % 2 == 0 else "escalated")
        assert row["answer"] == f"{row['served_by']} says"
        assert 0 < row["confidence"] < 1
        assert row["flags"] == []
        assert row["latency"] >= 0
        assert row["cost"] == pytest.approx(0.00012 if i % 2 == 0 else 0.00012 + 0.0012)
    with Ledger(tmp_path / ".cascade") as ledger:
        decisions = {row["decision"]: ledger.get(row["decision"]) for row in rows.values()}
    assert all(kept is not None and kept.decision is not None for kept in decisions.values())
    assert found.served_by == {"cheap": 5, "frontier": 5}
    assert found.escalated == {"cheap: confidence under the threshold": 5}
    assert (found.questions, found.answered, found.failed, found.left) == (10, 10, 0, 0)
    assert found.cost == pytest.approx(sum(row["cost"] for row in rows.values()))
    assert found.always_frontier == pytest.approx(10 * 0.0012)


def test_the_cache_answers_what_was_asked_before_and_costs_nothing(tmp_path: Path) -> None:
    """The policy's own cache: a question of an earlier batch, under another id, brings no call."""
    policy_at(tmp_path, "cache = { max_temperature = 1.0 }")
    served(tmp_path, asks(4))
    (tmp_path / "out.jsonl").rename(tmp_path / "first.jsonl")
    (tmp_path / "out.jsonl.journal").unlink()
    again = asks(4)
    renamed = [msgspec.structs.replace(row, id=f"other {row.id}") for row in again.questions]
    found, models = served(tmp_path, msgspec.structs.replace(again, questions=renamed))
    assert not models.calls
    assert found.served_by == {"cache": 4}
    assert found.cost == 0.0
    assert found.always_frontier == pytest.approx(4 * 0.0012)


def test_what_the_frontier_would_have_cost_is_unknown_where_nobody_counted(tmp_path: Path) -> None:
    def uncounted(call: Call) -> Draft:
        return draft(call, "x", usage=Usage(), cost=0.0, logprobs=[-0.1])

    assert served(tmp_path, asks(2), uncounted)[0].always_frontier is None
    made = Draft(tier="cheap", model="cheap-model", usage=Usage(prompt_tokens=7, completion_tokens=3), cost=1.0)
    assert cost_elsewhere(made, "large", (10.0, 20.0, 1.0)) == pytest.approx(130e-6)
    assert cost_elsewhere(made, "cheap-model", (10.0, 20.0, 1.0)) == 1.0
    assert cost_elsewhere(made, "large", None) is None


def test_a_reason_is_counted_without_what_is_of_one_request() -> None:
    assert kind_of("cheap: check json failed: line 3, column 8") == "cheap: check json failed"
    assert kind_of("m answered 500: oh no; 3 calls, billed 0.01 USD") == "m answered 500: oh no"
    assert kind_of("no open gate") == "no open gate"


# Going on


def test_a_second_run_asks_nothing_and_changes_nothing(tmp_path: Path) -> None:
    first, _ = served(tmp_path, asks(6))
    before = [(tmp_path / name).read_bytes() for name in ("out.jsonl", "out.jsonl.journal")]
    again, models = served(tmp_path, asks(6))
    assert not models.calls
    assert again == first
    assert [(tmp_path / name).read_bytes() for name in ("out.jsonl", "out.jsonl.journal")] == before


def test_an_interrupted_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was under way is asked again, and named as possibly billed with the most it can have cost."""

    def interrupted(call: Call) -> Any:
        if number(call) == 7:
            raise KeyboardInterrupt
        return says(call)

    with pytest.raises(KeyboardInterrupt):
        served(tmp_path, asks(20), interrupted, concurrency=1, max_tokens=50)
    assert [row["id"] for row in lines(tmp_path)] == [f"q{i}" for i in range(7)]
    found, models = served(tmp_path, asks(20), max_tokens=50)
    assert {name for _, name in asked(models)} == set(range(7, 20))
    assert [doubt.id for doubt in found.possibly_billed] == ["q7"]
    most = found.possibly_billed[0].most
    assert most is not None
    assert most == pytest.approx(found.unknown)
    assert 50 * 2.0 / 1e6 < most < 50 * 2.0 / 1e6 + 1000 * 1.0 / 1e6
    assert sorted(row["id"] for row in lines(tmp_path)) == sorted(f"q{i}" for i in range(20))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch of eight that has ended."""
    folder = tmp_path_factory.mktemp("whole")
    served(folder, asks(8), max_tokens=50, concurrency=2)
    return folder


@settings(max_examples=25)
@given(st.data())
def test_a_batch_cut_off_anywhere_loses_and_repeats_no_answer(whole: Path, data: st.DataObject) -> None:
    """Any beginning of the journal with any beginning of the output: whole lines stand, the others are asked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(whole / "p.toml", folder)
        shutil.copy(lock_path(whole / "p.toml"), folder)
        output, journal = ((whole / name).read_bytes() for name in ("out.jsonl", "out.jsonl.journal"))
        header = journal.index(b"\n") + 1  # the output is begun after it
        output = output[: data.draw(st.integers(0, len(output)))]
        journal = journal[: data.draw(st.integers(header, len(journal)))]
        (folder / "out.jsonl").write_bytes(output)
        (folder / "out.jsonl.journal").write_bytes(journal)
        kept = output[: output.rfind(b"\n") + 1]
        begun, ended = _calls(journal)
        found, models = served(folder, asks(8), max_tokens=50)
        done = {json.loads(line)["row"] - 1 for line in kept.splitlines()}
        assert {name for _, name in asked(models)} == set(range(8)) - done
        assert max(asked(models).values(), default=1) == 1
        assert (folder / "out.jsonl").read_bytes().startswith(kept)
        assert sorted(row["id"] for row in lines(folder)) == [f"q{i}" for i in range(8)]
        assert Counter(doubt.id for doubt in found.possibly_billed) == Counter(
            line.id for call, line in begun.items() if call not in ended
        )
        paid = sum(line.cost or 0.0 for line in ended.values())
        assert found.cost == pytest.approx(paid + sum(says(call).cost or 0.0 for call in models.calls))


def _calls(journal: bytes) -> tuple[dict[int, Line], dict[int, Line]]:
    """The calls of a journal's whole lines: begun, and ended."""
    whole = journal[: journal.rfind(b"\n") + 1].splitlines()[1:]
    read = [msgspec.json.decode(line, type=Line) for line in whole]
    return {line.call: line for line in read if line.begun}, {line.call: line for line in read if not line.begun}


EVENTS = st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0), st.one_of(st.none(), st.floats(0.0, 1.0))), max_size=12)


@given(EVENTS, st.data())
def test_any_beginning_of_a_journal_tells_what_was_spent_and_what_nobody_knows(
    events: list[tuple[bool, float, float | None]], data: st.DataObject
) -> None:
    """Calls begin and end in any order; a line cut off was never written. Reading changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "journal"
        journal, under_way = Journal(file, Header(policy="p")), []
        for begins, most, cost in events:
            if begins or not under_way:
                under_way.append(journal.begin("cheap", f"q{len(under_way)}", most))
            else:
                journal.end(under_way.pop(data.draw(st.integers(0, len(under_way) - 1))), cost, 0.1)
        journal.close()
        body = file.read_bytes()
        body = body[: data.draw(st.integers(0, len(body)))]
        file.write_bytes(body)
        begun, ended = _calls(body) if b"\n" in body else ({}, {})
        doubts = [line for line in ended.values() if line.cost is None]
        doubts += [line for call, line in begun.items() if call not in ended]
        for _ in range(2):
            journal = Journal(file, Header(policy="p"))
            assert journal.spent["cheap"] == pytest.approx(sum(line.cost or 0.0 for line in ended.values()))
            assert journal.unknown == pytest.approx(sum(line.unknown or 0.0 for line in doubts))
            assert {doubt.id for doubt in journal.possibly_billed} == {line.id for line in doubts}
            assert len(journal.possibly_billed) == len(doubts)
            journal.close()
        journal = Journal(file, Header(policy="p"))
        assert journal.begin("cheap", "next", None) > max([*begun, *ended], default=0)
        journal.close()
        assert file.stat().st_mode & 0o777 == 0o600


# What stops it


def test_a_budget_is_never_passed_and_what_is_done_stays_done(tmp_path: Path) -> None:
    highest = 0.0

    def look(call: Call) -> Draft:
        nonlocal highest
        highest = max(highest, made.meter.total)
        return says(call)

    made, _ = batch(tmp_path, asks(200), look, budget=0.02, max_tokens=20, concurrency=4)
    with made:
        found = made.serve()
    assert found.stopped == "budget"
    assert highest <= found.cost <= 0.02
    assert found.cost >= 0.02 - 2 * made.meter.dearest - 5 * 0.0014
    assert 0 < found.answered < 200
    assert found.failed == 0, "a question that the budget did not hold is left and has not failed"
    assert found.answered + found.left == 200
    done = {row["id"] for row in lines(tmp_path)}
    more, models = served(tmp_path, asks(200), budget=1.0, max_tokens=20)
    assert (more.answered, more.stopped) == (200, "")
    assert not done & {f"q{name}" for _, name in asked(models)}


def test_a_budget_that_holds_but_half_a_question_leaves_it(tmp_path: Path) -> None:
    """The cheap answer is paid for and not good enough; nobody has failed, the money has run out."""
    hard = Questions(questions=asks(2).questions[1:], rows=[2], bad=[], notes=[])
    found, models = served(tmp_path, hard, budget=0.001, max_tokens=20)
    assert asked(models) == {("cheap", 1): 1}
    assert (found.failed, found.left, found.stopped) == (0, 1, "budget")
    assert found.cost == pytest.approx(0.00012)
    assert not lines(tmp_path)


def test_what_a_request_costs_besides_calls_is_counted(tmp_path: Path) -> None:
    """Such as a check of the user's own that has its price."""
    policy_at(tmp_path, 'checks = [{ name = "paid" }]')
    paid = lambda request, found: CheckResult(name="paid", outcome="pass", cost=0.5)  # noqa: E731
    found, _ = served(tmp_path, asks(1), checks={"paid": paid})
    assert found.cost == pytest.approx(0.50012)
    assert served(tmp_path, asks(1), checks={"paid": paid})[0].cost == pytest.approx(0.50012)


def test_a_budget_that_nothing_bounds_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    made, models = batch(tmp_path, asks(3), budget=1.0)
    with made, pytest.raises(ConfigError, match="--max-tokens"):
        made.serve()
    assert not models.calls


def test_a_failed_question_has_its_line_and_is_asked_again_where_that_is_wished(tmp_path: Path) -> None:
    def down(call: Call) -> Any:
        return UpstreamError("down", billed=False, retryable=False) if number(call) in (2, 5) else says(call)

    found, _ = served(tmp_path, asks(8), down)
    failed = {row["id"]: row for row in lines(tmp_path) if "error" in row}
    assert set(failed) == {"q2", "q5"}
    assert all((row["served"], row["answer"], row["served_by"]) == ("failed", "", "") for row in failed.values())
    assert all("down" in row["error"] for row in failed.values())
    assert (found.answered, found.failed, found.left, found.stopped) == (6, 2, 0, "")
    assert found.errors == {"down": 2}
    assert not served(tmp_path, asks(8))[1].calls
    kept = [row for row in lines(tmp_path) if "error" not in row]
    again, models = served(tmp_path, asks(8), retry_failed=True)
    assert {name for _, name in asked(models)} == {2, 5}
    assert (again.answered, again.failed) == (8, 0)
    assert [row for row in lines(tmp_path) if row["id"] not in failed] == kept
    assert len(lines(tmp_path)) == 8


def test_a_provider_that_is_gone_ends_it_early(tmp_path: Path) -> None:
    """One fault after the other is no bad luck; faults with answers between them are."""
    gone = lambda call: UpstreamError("refused", billed=False, retryable=False)  # noqa: E731
    found, models = served(tmp_path, asks(100), gone, concurrency=2)
    assert found.stopped == "unreachable"
    assert len(models.calls) < 40
    assert 0 < found.failed < 20
    unlucky = lambda call: gone(call) if number(call) % 2 else says(call)  # noqa: E731
    other = tmp_path / "other"
    policy_at(other)
    assert served(other, asks(60), unlucky, concurrency=1)[0].stopped == ""


def test_a_key_that_is_missing_ends_it_at_the_first_call(tmp_path: Path) -> None:
    """Although the frontier could answer: the user meant the cheap model, and would pay for the other."""
    made, models = batch(tmp_path, asks(30), lambda call: ConfigError("no key") if call.tier == "cheap" else says(call))
    with made, pytest.raises(ConfigError, match="no key"):
        made.serve()
    assert len(models.calls) < 30
    other = tmp_path / "other"
    policy_at(other)
    with pytest.raises(ConfigError, match="no key"):
        served(other, asks(30), lambda call: ConfigError("no key"))
    assert not lines(other), "no question has failed: nobody was asked"


def test_no_more_questions_are_under_way_than_wished_their_shadows_included(tmp_path: Path) -> None:
    policy_at(tmp_path, 'mode = "observe"\nobserve = { rate = 1.0 }', locked=False)
    under_way = highest = 0

    async def slow(call: Call) -> Draft:
        nonlocal under_way, highest
        under_way += 1
        highest = max(highest, under_way)
        await asyncio.sleep(0.002)
        under_way -= 1
        return says(call)

    found, models = served(tmp_path, asks(20), slow, concurrency=3)
    assert highest == 3
    assert asked(models) == {(tier, i): 1 for tier in ("cheap", "frontier") for i in range(20)}
    assert found.served_by == {"frontier": 20}
    assert found.escalated == {"observe mode": 20}
    assert found.cost == pytest.approx(20 * (0.00012 + 0.0012)), "shadow calls are paid for too"


def test_shadow_work_keeps_to_the_days_ceiling(tmp_path: Path) -> None:
    policy_at(tmp_path, 'mode = "observe"\nobserve = { rate = 1.0, ceiling_usd_a_day = 0.0005 }', locked=False)
    _, models = served(tmp_path, asks(30), concurrency=1)
    assert sum(tier == "cheap" for tier, _ in asked(models)) == 5


# What is refused


def test_another_policy_or_other_questions_on_the_same_output_are_refused(tmp_path: Path) -> None:
    served(tmp_path, asks(4))
    before = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="other questions"):
        served(tmp_path, asks(4, start=1))
    policy_at(tmp_path, 'mode = "observe"', locked=False)
    with pytest.raises(ConfigError, match="another policy"):
        served(tmp_path, asks(4))
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_one_process_at_an_output(tmp_path: Path) -> None:
    with batch(tmp_path, asks(2))[0], pytest.raises(ConfigError, match="another process"):
        batch(tmp_path, asks(2))
    served(tmp_path, asks(2))


def test_a_file_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("my own notes\n")
    for _ in range(2):
        with pytest.raises(ConfigError, match="not of a batch"):
            served(tmp_path, asks(2))
    assert (tmp_path / "out.jsonl").read_text() == "my own notes\n"


def test_an_output_that_was_meddled_with_is_refused(tmp_path: Path) -> None:
    served(tmp_path, asks(2))
    with (tmp_path / "out.jsonl").open("a") as out:
        out.write('{"id": "q9"}\n')
    with pytest.raises(ConfigError, match=r"out\.jsonl, line 3"):
        served(tmp_path, asks(2))


def test_a_journal_that_is_damaged_is_refused(tmp_path: Path) -> None:
    served(tmp_path, asks(2))
    journal = tmp_path / "out.jsonl.journal"
    head, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([head, b"{}\n", *rest]))
    with pytest.raises(ConfigError, match=r"line 2: .*what was spent is not known"):
        served(tmp_path, asks(2))


def test_a_half_written_line_is_taken_away(tmp_path: Path) -> None:
    line = Answered(
        id="a", row=1, answer="x", served="accepted", served_by="cheap", why="", confidence=None, cost=0.0,
        latency=0.1, flags=[], decision="d",
    )  # fmt: skip
    file = tmp_path / "out.jsonl"
    body = msgspec.json.encode(line) + b"\n"
    file.write_bytes(body + body[:-1])
    answers = AnswersFile(file)
    assert list(answers.lines) == ["a"]
    assert file.read_bytes() == body
    answers.close()


def test_a_call_without_a_bound_is_possibly_billed_with_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin("cheap", "q1", None)
    journal.close()
    journal = Journal(tmp_path / "journal")
    assert journal.possibly_billed == [PossiblyBilled(id="q1", tier="cheap", most=None)]
    journal.close()


# Reading questions


def test_questions_keep_their_order_and_what_is_asked_twice_is_answered_twice(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl.gz"
    rows: list[dict[str, Any]] = [
        {"query": "why?"},
        {"id": "b", "messages": [{"role": "user", "content": "how?"}], "metadata": {"team": "x"}, "stakes": "high"},
        {"query": "why?", "system": "be short", "params": {"max_tokens": 5}, "tenant": "t", "slice": "s"},
        {"query": "why?"},
    ]
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    read = read_questions(file)
    assert [one.query for one in read.questions] == ["why?", None, "why?", "why?"]
    assert len({one.id for one in read.questions}) == 4
    assert [one.id for one in read.questions] == [one.id for one in read_questions(file).questions]
    third = read.questions[2]
    assert (third.system, third.params, third.tenant, third.slice) == ("be short", {"max_tokens": 5}, "t", "s")
    assert (read.questions[1].metadata, read.questions[1].stakes) == ({"team": "x"}, "high")
    assert read.rows == [1, 2, 3, 4]


def test_every_bad_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(
        '{"query": "a", "id": "x"}\n{"query": "b", "id": "x"}\n{"question": "c"}\n{"query": "d"\n{"query": 7}\n'
    )
    read = read_questions(file)
    assert [one.id for one in read.questions] == ["x"]
    assert sorted(one.row for group in read.bad for one in group.found) == [2, 3, 4, 5]


def test_tables_hold_questions_with_and_without_ids(tmp_path: Path) -> None:
    table = tmp_path / "q.csv"
    table.write_text('query,system,metadata.team,slice,odd\n"why, then?",be short,x,s,1\nhow?,,,,2\n')
    read = read_questions(table)
    first, second = read.questions
    assert (first.query, first.system, first.metadata, first.slice) == ("why, then?", "be short", {"team": "x"}, "s")
    assert (second.query, second.system, second.metadata) == ("how?", None, {})
    assert read.rows == [2, 3], "rows are numbered as a spreadsheet numbers them"
    assert any("odd" in one.detail for group in read.notes for one in group.found)
    table.write_text("id,query\na,why?\na,how?\n")
    assert [one.row for group in read_questions(table).bad for one in group.found] == [3]


def test_parquet_holds_questions_with_messages_and_params(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    turns = [{"role": "system", "content": "be short"}, {"role": "user", "content": "why?"}]
    rows = [{"id": 1, "messages": turns, "params": {"max_tokens": 5}}, {"id": 2, "messages": turns[1:], "params": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "q.parquet")
    first, second = read_questions(tmp_path / "q.parquet").questions
    assert (first.id, first.messages, first.params) == ("1", turns, {"max_tokens": 5})
    assert (second.id, second.messages, second.params) == ("2", turns[1:], {})


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n\n")
    with pytest.raises(ConfigError, match="holds no question"):
        read_questions(tmp_path / "q.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
