"""From answers to labels: who is drawn, what is kept, and what survives."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.asks import Call
from cascade.decide import coin
from cascade.errors import ConfigError, UpstreamError
from cascade.judging.case import Case
from cascade.judging.drawing import Docket, draw
from cascade.judging.hearing import IN_A_ROW, Heard, hear
from cascade.judging.rules import RuleJudge
from cascade.judging.source import JOURNAL, Source, opened_source
from cascade.ledger import Ledger, read_outcomes, write_outcomes
from cascade.testing import draft
from cascade.types import Draft, ModelOutcome, Outcome, Verdict
from tests.cases import NO, YES, judge_of, row_of

ROOT = Path(__file__).parent.parent
ROWS = [row_of(f"r{i:03}", reference="4") for i in range(200)]


def always(name: str = "r", word: bool | None = True) -> RuleJudge:
    """A judge of one word."""
    return RuleJudge(name, lambda answer, reference: word)


def heard_of(docket: Docket, judge: Any, source: Source | None = None, **options: Any) -> tuple[Heard, list[Case]]:
    """How the hearing of a docket went, and which cases got a verdict."""
    heard, kept = Heard(), []

    def keep(case: Case, verdict: Verdict) -> None:
        kept.append(case)
        if source is not None:
            source.keep(case.outcome, case.tier, verdict)

    asyncio.run(hear(docket.cases, judge, keep, heard, **options))
    return heard, kept


def verdicts(rows: list[Outcome]) -> Counter[tuple[str, str, str]]:
    """How often each judge's verdict stands on each tier of each row."""
    return Counter(
        (row.id, tier, verdict.judge)
        for row in rows
        for tier, model in row.models.items()
        for verdict in model.verdicts
    )


# The draw


@given(st.floats(0.01, 1.0), st.text(max_size=5))
def test_a_share_draws_rows_by_their_coin_and_says_so(share: float, salt: str) -> None:
    """All tiers of a row or none; anybody can make the same draw again."""
    docket = draw(ROWS, "j", share=share, salt=salt)
    drawn = {case.outcome.id for case, _ in docket.cases}
    assert drawn == {row.id for row in ROWS if coin(salt, "judge", row.id) < share}
    assert {propensity for _, propensity in docket.cases} <= {share}
    assert len(docket.cases) + docket.undrawn == 2 * len(ROWS)


@given(st.integers(1, 250))
def test_a_limit_draws_so_many_and_says_their_share(limit: int) -> None:
    """A smaller draw is part of a larger one."""
    docket = draw(ROWS, "j", limit=limit)
    drawn = {case.outcome.id for case, _ in docket.cases}
    assert len(drawn) == min(limit, len(ROWS))
    assert {propensity for _, propensity in docket.cases} == {min(limit / len(ROWS), 1.0)}
    assert drawn <= {case.outcome.id for case, _ in draw(ROWS, "j", limit=limit + 1).cases}


def test_the_draw_does_not_change_when_part_of_it_is_judged() -> None:
    """A second run judges the rest of the first one's draw, and no row besides."""
    first = draw(ROWS, "j", limit=20)
    models = {t: ModelOutcome(answer="4", verdicts=[Verdict(judge="j", acceptable=True)]) for t in ("cheap", "last")}
    done = {case.outcome.id for case, _ in first.cases[:14]}
    rows = [Outcome(id=r.id, query=r.query, models=models) if r.id in done else r for r in ROWS]
    second = draw(rows, "j", limit=20)
    assert {c.outcome.id for c, _ in second.cases} == {c.outcome.id for c, _ in first.cases} - done
    assert second.skipped == 2 * len(done)
    assert len(draw(rows, "another", limit=20).cases) == 40


def test_what_holds_nothing_to_judge_is_counted_and_not_drawn() -> None:
    """Rows whose content was not kept; and, against the last tier, rows without its answer."""
    rows = [row_of("a"), row_of("b", cheap=None), row_of("c", last=None)]
    alone, paired = draw(rows, "j", limit=3), draw(rows, "j", against="last")
    assert [(c.outcome.id, c.tier) for c, _ in alone.cases] == [
        ("a", "cheap"), ("a", "last"), ("b", "last"), ("c", "cheap"),
    ]  # fmt: skip
    assert alone.unanswered == 2
    blank = row_of("d", cheap=None, last=None)
    assert {share for _, share in draw([*rows, blank], "j", limit=1).cases} == {1 / 3}
    assert [(c.outcome.id, c.tier, c.against) for c, _ in paired.cases] == [("a", "cheap", "last")]
    assert paired.unanswered == 2


def test_a_tier_and_a_slice_narrow_the_draw() -> None:
    """And the population whose share the propensity is."""
    rows = [row_of(f"r{i}", slice="x" if i % 4 else "y") for i in range(40)]
    docket = draw(rows, "j", slice="y", tiers=["cheap"], limit=5)
    assert {(case.tier, case.outcome.slice, share) for case, share in docket.cases} == {("cheap", "y", 0.5)}


# The hearing


def test_each_case_is_heard_once_and_its_verdict_carries_its_propensity(tmp_path: Path) -> None:
    """However many are heard at once; a second run has nothing left to do."""
    file = tmp_path / "o.jsonl"
    write_outcomes(file, ROWS)
    for run in range(2):
        with opened_source(file) as source:
            docket = draw(source.rows(), "r", share=0.5)
            heard, _ = heard_of(docket, always(), source, concurrency=7)
        assert (heard.judged, docket.skipped)[run] == sum(coin("", "judge", row.id) < 0.5 for row in ROWS) * 2
    rows = list(read_outcomes(file))
    assert set(verdicts(rows).values()) == {1}
    assert {v.propensity for r in rows for m in r.models.values() for v in m.verdicts} == {0.5}


def test_an_abstention_is_never_a_label() -> None:
    """It is counted, billed, and nothing is kept."""
    judge, _, _ = judge_of(lambda call: '{"acceptable": null}')
    heard, kept = heard_of(draw(ROWS[:6], judge.name), judge)
    assert (heard.judged, heard.abstained, kept) == (0, 12, [])
    assert heard.cost == judge.spent > 0
    heard, kept = heard_of(draw(ROWS[:6], "r"), always(word=None))
    assert (heard.judged, heard.abstained, kept) == (0, 12, [])


def test_the_budget_is_not_passed_and_what_was_judged_is_kept() -> None:
    """By replies that cost what was expected, however many are under way at once."""
    judge, _, _ = judge_of(lambda call: YES)
    docket = draw(ROWS, judge.name)
    each = judge.estimate(docket.cases[0][0])

    async def reply(call: Call) -> Draft:
        await asyncio.sleep(0.001)
        return draft(call, NO, cost=each)

    judge, _, _ = judge_of(reply)
    heard, kept = heard_of(docket, judge, budget=10 * each, concurrency=4)
    assert (heard.judged, len(kept), heard.stopped) == (10, 10, "budget")
    assert heard.cost == pytest.approx(10 * each)
    judge, _, _ = judge_of(reply)
    heard, _ = heard_of(docket, judge, budget=sum(judge.estimate(case) for case, _ in docket.cases))
    assert (heard.judged, heard.stopped) == (len(docket.cases), "")


def test_failures_leave_their_rows_unjudged_and_many_in_a_row_end_it() -> None:
    """Counted by reason; a good reply in between starts the count anew."""
    gone, models, _ = judge_of(lambda call: UpstreamError("x", provider="host", status=401, retryable=False))
    heard, kept = heard_of(draw(ROWS, gone.name), gone, concurrency=1)
    assert (heard.failed, heard.stopped, kept) == ({"host answered 401": IN_A_ROW}, "unreachable", [])
    assert len(models.calls) == IN_A_ROW
    replies = iter(range(10**6))
    shaky, _, _ = judge_of(lambda call: UpstreamError("x", retryable=False) if next(replies) % IN_A_ROW else YES)
    heard, kept = heard_of(draw(ROWS, shaky.name), shaky, concurrency=1)
    assert (heard.judged, heard.failed, heard.stopped) == (40, {"x": 360}, "")


def test_the_user_s_mistake_ends_a_hearing_and_keeps_what_came_before() -> None:
    """A missing key is raised at once, not counted two hundred times."""
    replies = iter([YES, YES, ConfigError("no key")])
    judge, _, _ = judge_of(lambda call: next(replies))
    heard, kept = Heard(), []
    with pytest.raises(ConfigError, match="no key"):
        asyncio.run(
            hear(draw(ROWS, judge.name).cases, judge, lambda case, verdict: kept.append(case), heard, concurrency=1)
        )
    assert heard.judged == len(kept) == 2


# What is kept


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz"])
def test_a_file_keeps_what_is_no_field_of_an_outcome(name: str, tmp_path: Path) -> None:
    """A data set's own columns; lines without a new verdict are the same bytes, and so is the file's mode."""
    file = tmp_path / name
    lines = [
        b'{"id": "a", "match": "number", "models": {"cheap": {"answer": "4", "logprobs": [null], "mine": 1}}}\n',
        b"\n",
        b'{"id": "b",   "models": {"cheap": {"correct": 1}}, "more": [1.50]}',
    ]
    file.write_bytes(gzip.compress(b"".join(lines)) if name.endswith("gz") else b"".join(lines))
    file.chmod(0o640)
    with opened_source(file) as source:
        heard_of(draw(source.rows(), "r"), always(), source)
    body = gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes()
    first, *rest = body.splitlines(keepends=True)
    found = json.loads(first)
    assert found["match"] == "number"
    assert found["models"]["cheap"]["mine"] == 1
    assert found["models"]["cheap"]["logprobs"] == [None]
    assert found["models"]["cheap"]["verdicts"] == [{"judge": "r", "acceptable": True, "propensity": 1.0, "cost": 0.0}]
    assert rest == [b"\n", lines[2] + b"\n"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208  a name is all that is wanted


def test_another_output_leaves_the_source_as_it_is(tmp_path: Path) -> None:
    """Also with nothing to add: the copy is whole."""
    file, other = tmp_path / "o.jsonl", tmp_path / "judged.jsonl.gz"
    write_outcomes(file, ROWS[:3])
    before = file.read_bytes()
    with opened_source(file, output=other) as source:
        heard_of(draw(source.rows(), "r"), always(), source)
    assert file.read_bytes() == before
    assert len(verdicts(list(read_outcomes(other)))) == 6
    with opened_source(other, output=file) as source:
        source.rows()
    assert len(verdicts(list(read_outcomes(file)))) == 6


JUDGE_AND_DIE = """
import asyncio, os, sys
from pathlib import Path
from cascade.judging.drawing import draw
from cascade.judging.hearing import Heard, hear
from cascade.judging.rules import RuleJudge
from cascade.judging.source import opened_source
with opened_source(Path(sys.argv[1])) as source:
    def keep(case, verdict):
        source.keep(case.outcome, case.tier, verdict)
        os.write(1, f"{case.outcome.id} {case.tier}\\n".encode())
    docket = draw(source.rows(), "r")
    asyncio.run(hear(docket.cases, RuleJudge("r", lambda answer, reference: True), keep, Heard()))
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["file", "ledger"])
def test_a_crash_loses_no_verdict_that_was_acknowledged(kind: str, tmp_path: Path) -> None:
    """And a second run judges the rest, once."""
    place = tmp_path / "o.jsonl" if kind == "file" else tmp_path / "store"
    rows = ROWS[:60]
    if kind == "file":
        write_outcomes(place, rows)
    else:
        with Ledger(place) as ledger:
            for row in rows:
                ledger.append(row)
    process = subprocess.Popen(
        [sys.executable, "-c", JUDGE_AND_DIE, str(place)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = [process.stdout.readline().split() for _ in range(25)]
    process.send_signal(signal.SIGKILL)
    said += [line.split() for line in process.communicate(timeout=20)[0].splitlines()]
    with opened_source(place) as source:
        found = source.rows()
        there = set(verdicts(found))
        assert {(id, tier, "r") for id, tier in said} <= there
        docket = draw(found, "r")
        assert docket.skipped == len(there) >= 25
        heard_of(docket, always(), source)
    with opened_source(place) as source:
        after = verdicts(source.rows())
    assert len(after) == 2 * len(rows)
    assert set(after.values()) == {1}


def test_a_crash_after_the_rewriting_doubles_nothing(tmp_path: Path) -> None:
    """The journal is still there, and every line of it is in the file already; a torn line was never promised."""
    file, journal = tmp_path / "o.jsonl", tmp_path / f"o.jsonl{JOURNAL}"
    write_outcomes(file, ROWS[:3])
    with opened_source(file) as source:
        heard_of(draw(source.rows(), "r"), always(), source)
        kept = journal.read_bytes()
    journal.write_bytes(kept + kept[:20])
    with opened_source(file) as source:
        rows = source.rows()
        assert draw(rows, "r").cases == []
        source.keep(rows[0], "cheap", Verdict(judge="j", acceptable=True))
        assert [json.loads(line)["id"] for line in journal.read_bytes().splitlines()][-1] == rows[0].id
    found = verdicts(list(read_outcomes(file)))
    assert set(found.values()) == {1}
    assert len(found) == 7
    assert not journal.exists()


def test_an_error_before_the_rows_are_read_leaves_the_journal(tmp_path: Path) -> None:
    """It holds what an earlier run has paid for."""
    file, journal = tmp_path / "o.jsonl", tmp_path / f"o.jsonl{JOURNAL}"
    write_outcomes(file, ROWS[:1])
    journal.write_text('{"id":"r000","tier":"cheap","verdict":{"judge":"r","acceptable":true}}\n')
    with pytest.raises(ConfigError, match="later"), opened_source(file):
        raise ConfigError("later")
    assert journal.exists()
    journal.write_text('{"id":"gone","tier":"cheap","verdict":{"judge":"r","acceptable":true}}\n')
    with pytest.raises(ConfigError, match="no row"), opened_source(file) as source:
        source.rows()
    assert journal.exists()


def test_one_process_at_a_time_labels_a_file(tmp_path: Path) -> None:
    """The second one is told, and nothing is lost."""
    file = tmp_path / "o.jsonl"
    write_outcomes(file, ROWS[:1])
    with opened_source(file), pytest.raises(ConfigError, match="another process"), opened_source(file):
        pass


def test_an_id_that_stands_twice_is_named(tmp_path: Path) -> None:
    """Verdicts are found by it."""
    file = tmp_path / "o.jsonl"
    write_outcomes(file, [ROWS[0], ROWS[1], ROWS[0]])
    with pytest.raises(ConfigError, match="row 3: the id 'r000' stands twice"), opened_source(file) as source:
        source.rows()


def test_reasons_are_not_kept_where_content_is_not(tmp_path: Path) -> None:
    """They quote the answer."""
    file = tmp_path / "o.jsonl"
    write_outcomes(file, [row_of(content="hashed")])
    with opened_source(file) as source:
        (row,) = source.rows()
        source.keep(row, "cheap", Verdict(judge="j", acceptable=False, misses=["says 4"]))
    assert b"says 4" not in file.read_bytes()
    assert len(verdicts(list(read_outcomes(file)))) == 1


def test_what_is_neither_file_nor_ledger_is_an_error(tmp_path: Path) -> None:
    """And a ledger takes no other output."""
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(ConfigError), opened_source(path):
            pass
    Ledger(tmp_path).close()
    with Ledger(tmp_path) as ledger:
        ledger.append(ROWS[0])
    with pytest.raises(ConfigError, match="leave out -o"), opened_source(tmp_path, output=tmp_path / "x"):
        pass
    with opened_source(tmp_path / "ledger.sqlite") as source:
        assert [row.id for row in source.rows()] == ["r000"]
