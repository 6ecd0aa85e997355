"""Laws of the ledger. What breaks is real: killed processes, locked files, full disks, forks."""

from __future__ import annotations

import gc
import gzip
import logging
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.ledger import Ledger, outcome_schema, read_outcomes, write_outcomes
from cascade.ledger import ledger as ledger_module
from cascade.ledger import spool as spool_module
from cascade.ledger.records import decode, encode
from cascade.ledger.spool import Spool, read, segments
from cascade.types import (
    CheckResult,
    Confidence,
    Decision,
    Miss,
    ModelOutcome,
    Outcome,
    Sample,
    Step,
    Usage,
    Verdict,
)

ROOT = Path(__file__).parent.parent
PRELUDE = """
import os, resource, signal, sys, time
from pathlib import Path
from cascade.ledger import Ledger, ledger, spool, writer
from cascade.types import ModelOutcome, Outcome
folder = Path(sys.argv[1])
def outcome(id, size=300):
    return Outcome(id=id, models={"cheap": ModelOutcome(answer="x" * size)})
def say(text):
    os.write(1, text.encode() + b"\\n")
"""


def child(script: str, *args: object) -> subprocess.Popen[str]:
    """A process of its own that runs ``script`` after the prelude, with pipes to talk through."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, *map(str, args)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> list[str]:
    """The lines a child has printed, once it has ended well."""
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    return out.split()


def outcome(id: str = "d-1", **fields: Any) -> Outcome:
    return Outcome(id=id, **fields)


def decision_of(id: str, policy: str = "support", at: float = 100.0, slice: str = "billing") -> Decision:
    return Decision(
        id=id,
        at=at,
        policy=policy,
        mode="enforce",
        slice=slice,
        served="accepted",
        served_by="cheap",
        why="confident enough",
    )


def decided(id: str, slice: str = "billing", **fields: Any) -> Outcome:
    decision = decision_of(id, slice=slice, **fields)
    return Outcome(id=id, slice=slice, decision=decision, models={"cheap": ModelOutcome(answer="yes")})


def ids(ledger: Ledger) -> list[str]:
    return [row.id for row in ledger.outcomes()]


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# ---- acknowledged means kept


APPEND_FOREVER = """
writer.TICK, spool.SEGMENT_BYTES = 0.01, 20_000
book = Ledger(folder)
for i in range(1_000_000):
    if book.append(outcome(f"{sys.argv[2]}-{i}", i % 700)):
        say(f"{sys.argv[2]}-{i}")
"""


def test_what_was_acknowledged_survives_kill_9_exactly_once(tmp_path: Path) -> None:
    """Four processes append, rotate and move at once; each is killed in the middle. Five rounds."""
    chance = random.Random(7)
    acknowledged: set[str] = set()
    for round in range(5):
        group = [child(APPEND_FOREVER, tmp_path, f"{round}.{n}") for n in range(4)]
        for process in group:
            assert process.stdout is not None
            acknowledged.add(process.stdout.readline().strip())
        for process in group:
            time.sleep(chance.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
        for process in group:
            with process:
                assert process.stdout is not None
                *lines, _half = process.stdout.read().split("\n")
            acknowledged.update(lines)
    with Ledger(tmp_path) as ledger:
        found = ids(ledger)
        health = ledger.check()
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(found) - len(acknowledged) <= 20  # killed between the write and saying so
    assert health.sound
    assert health.rows == len(found)
    assert not segments(tmp_path / "spool")


def test_rows_of_processes_that_append_at_once_arrive_once_each(tmp_path: Path) -> None:
    script = """
spool.SEGMENT_BYTES = 30_000
with Ledger(folder) as book:
    for i in range(400):
        assert book.append(outcome(f"{sys.argv[2]}-{i}"))
"""
    group = [child(script, tmp_path, n) for n in range(4)]
    with Ledger(tmp_path) as ledger:
        while any(process.poll() is None for process in group):
            ledger.flush()
        for process in group:
            finished(process)
        assert sorted(ids(ledger)) == sorted(f"{n}-{i}" for n in range(4) for i in range(400))


def test_threads_of_one_process_append_at_once(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        threads = [
            threading.Thread(target=lambda n=n: [ledger.append(outcome(f"{n}-{i}")) for i in range(200)])
            for n in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(ids(ledger))) == len(ids(ledger)) == 1000


def rows_in(folder: Path, expected: int) -> int:
    """How many rows SQLite has, as soon as there are ``expected``, or after five seconds."""
    deadline = time.monotonic() + 5
    rows = 0
    while rows < expected and time.monotonic() < deadline:
        time.sleep(0.02)
        with suppress(sqlite3.OperationalError):  # no file yet, or no tables
            db = sqlite3.connect(f"file:{folder}/ledger.sqlite?mode=ro", uri=True)
            with closing(db):
                (rows,) = db.execute("SELECT count(*) FROM outcomes").fetchone()
    return rows


def test_the_writer_moves_rows_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also out of segments that were full and closed meanwhile."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 100)
    with Ledger(tmp_path) as ledger:
        for rows in (5, 10):
            for i in range(5):
                ledger.append(outcome(f"d-{rows}-{i}", query="x" * 50))
            assert rows_in(tmp_path, rows) == rows


def test_a_crash_after_the_commit_moves_nothing_twice(tmp_path: Path) -> None:
    """Not when the file was not removed, and not when even the bookkeeping of offsets is lost."""
    with Ledger(tmp_path) as ledger:
        ledger.append(outcome("d-1"))
        (segment,) = segments(tmp_path / "spool")
        copy = segment.read_bytes()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("DELETE FROM segments")
    db.close()
    segment.write_bytes(copy)
    with Ledger(tmp_path) as ledger:
        assert ids(ledger) == ["d-1"]
        assert not segments(tmp_path / "spool")


def test_a_store_locked_by_another_process_loses_nothing(tmp_path: Path) -> None:
    script = """
import sqlite3
db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
say("locked")
sys.stdin.read()
"""
    with Ledger(tmp_path) as ledger:
        ledger.append(outcome("before"))
        assert ledger.flush()
        holder = child(script, tmp_path)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert ledger.append(outcome("meanwhile"))
        assert ledger.flush(timeout=0.1) is False
        finished(holder)  # closes its stdin, at which it ends
        assert rows_in(tmp_path, 2) == 2  # the writer has gone on trying
        assert ids(ledger) == ["before", "meanwhile"]


def test_a_full_disk_is_a_failure_that_harms_neither_neighbour(tmp_path: Path) -> None:
    """The limit cuts a record in two; what came before and what comes after is whole."""
    script = """
writer.TICK = 60
book = Ledger(folder)
assert book.append(outcome("before"))
size = book._spool.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
assert book.append(outcome("cut")) is False
assert book.append(outcome("refused")) is False
assert book.faults == 2
assert book._spool.path.stat().st_size == size + 100
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert book.append(outcome("after"))
book.close()
"""
    finished(child(script, tmp_path))
    with Ledger(tmp_path) as ledger:
        assert ids(ledger) == ["before", "after"]
        assert ledger.check().torn == 1


@settings(deadline=None)
@given(
    records=st.lists(
        st.tuples(st.binary(min_size=1).map(lambda b: b.replace(b"\n", b" ")), st.none() | st.floats(0, 1))
    ),
    split=st.floats(0, 1),
)
def test_wherever_records_are_cut_the_others_are_read(
    records: list[tuple[bytes, float | None]], split: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Reading a growing file in two goes gives the same records as reading it at once."""
    folder = tmp_path_factory.mktemp("cut")
    spool, path = Spool(folder), folder / "all"
    data, whole = b"", []
    for record, cut in records:
        spool.append(record)
        assert spool.path is not None
        frame = spool.path.read_bytes()
        spool.close()
        segments(folder)[0].unlink()
        if cut is None:
            whole.append(record)
        data += frame if cut is None else frame[: int(cut * (len(frame) - 2))]
    path.write_bytes(data[: int(split * len(data))])
    first = read(path, 0, whole=False)
    path.write_bytes(data)
    second = read(path, first.end, whole=True)
    assert [row for _, row in first.rows + second.rows] == whole
    assert second.end == len(data)
    assert len({at for at, _ in first.rows + second.rows}) == len(whole)
    assert first.torn + second.torn <= len(records) - len(whole)


def test_a_record_half_written_is_left_alone_while_its_writer_lives(tmp_path: Path) -> None:
    other = Spool(tmp_path / "spool")
    other.append(encode(outcome("whole")))
    assert other.path is not None
    frame = other.path.read_bytes().replace(b"whole", b"after")
    frame = b"\n%08x %b\n" % (crc32(frame[10:-1]), frame[10:-1])
    with other.path.open("ab", buffering=0) as half, Ledger(tmp_path) as ledger:
        half.write(frame[:30])
        assert ids(ledger) == ["whole"]
        half.write(frame[30:])
        assert ids(ledger) == ["whole", "after"]
        assert ledger.check().torn == 0
    other.close()


def test_a_forked_child_writes_its_own_files_and_does_not_keep_its_parent_alive(tmp_path: Path) -> None:
    """Though another thread of the parent held the store's lock at the moment of the fork."""
    script = """
import threading
book = Ledger(folder)
book.append(outcome("parent before"))
book.flush()
threading.Thread(target=lambda: book._store._lock.acquire() and time.sleep(60), daemon=True).start()
time.sleep(0.05)
if os.fork():
    book.append(outcome("parent after"))
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.05)
book.append(outcome("child"))
say(str(os.getpid()))
sys.stdin.read()
"""
    process = child(script, tmp_path)
    assert process.stdout is not None
    pid = process.stdout.readline().strip()
    assert process.wait(timeout=10) == -signal.SIGKILL
    assert rows_in(tmp_path, 3) == 3  # the child's own thread moves, and adopts what its parent left
    with Ledger(tmp_path) as ledger:
        assert sorted(ids(ledger)) == ["child", "parent after", "parent before"]
        (segment,) = segments(tmp_path / "spool")
        assert segment.name.startswith(f"{pid}-")  # the child's, which still lives
        process.communicate(timeout=10)


def test_a_damaged_store_stops_reading_but_not_recording(tmp_path: Path) -> None:
    """Once the file is moved aside, everything spooled since is there."""
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database" * 100)
    with Ledger(tmp_path) as ledger:
        assert ledger.append(outcome("kept"))
        with pytest.raises(ConfigError, match=r"ledger\.sqlite.*move the file aside"):
            ledger.get("kept")
        assert not ledger.check().sound
        (tmp_path / "ledger.sqlite").unlink()
        assert ids(ledger) == ["kept"]


# ---- where it lives


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with Ledger(folder, content="hashed") as ledger:
        ledger.append(outcome())
        ledger.flush()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert len(modes) >= 6
    assert all(mode == (0o700 if name in {"store", "spool"} else 0o600) for name, mode in modes.items())


def test_a_folder_that_cannot_be_written_means_memory_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING, logger="cascade"):
        for _ in range(2):
            ledger = Ledger(tmp_path / "file" / "store")
            assert ledger.durable is False
            assert ledger.append(decided("d-1"))
            ledger.label("d-1", "cheap", Verdict(judge="j", acceptable=True))
            assert ids(ledger) == ["d-1"]
            assert ledger.check().durable is False
            ledger.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "memory" in caplog.text


def test_a_folder_of_somebody_else_means_memory(tmp_path: Path) -> None:
    """As an unprivileged user, to whom a read-only folder is one."""
    tmp_path.chmod(0o500)
    script = "os.getuid() or os.setuid(65534)\nbook = Ledger(folder)\nsay(str(book.durable))"
    assert finished(child(script, tmp_path)) == ["False"]


def test_memory_keeps_the_newest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MEMORY_ROWS", 50)
    ledger = Ledger(None)
    for i in range(70):
        ledger.append(outcome(f"d-{i}"))
        if i == 40:
            ledger.flush()
    assert ids(ledger) == [f"d-{i}" for i in range(20, 70)]


def test_a_ledger_that_nobody_holds_ends_its_thread_and_lets_go_of_its_file(tmp_path: Path) -> None:
    before = threading.active_count()
    ledger = Ledger(tmp_path)
    ledger.append(outcome("d-1"))
    del ledger
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == before
    with Ledger(tmp_path) as other:
        assert ids(other) == ["d-1"]
        assert not segments(tmp_path / "spool")


def test_a_closed_ledger_may_be_used_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for id in ("one", "two"):
        ledger.append(outcome(id))
        ledger.close()
    assert ids(ledger) == ["one", "two"]
    ledger.close()


def test_importing_the_ledger_is_light() -> None:
    script = "say(' '.join({'numpy', 'pydantic', 'scipy', 'litellm', 'aiohttp'} & set(sys.modules)))"
    assert finished(child(script, ".")) == []


# ---- what may be written down


SECRET_WORDS = ("zebra-question", "zebra-answer", "zebra-system", "zebra-tool", "zebra-gold", "zebra-miss")


def telling() -> Outcome:
    verdict = Verdict(judge="j", acceptable=False, misses=["zebra-miss", Miss(what="zebra-miss", critical=True)])
    model = ModelOutcome(
        answer="zebra-answer",
        tool_calls=[{"function": {"name": "zebra-tool"}}],
        checks=[CheckResult(name="json", outcome="fail", detail="at 'zebra-answer'")],
        verdicts=[verdict],
        samples=[Sample(answer="zebra-answer", verdicts=[verdict])],
        signals={"length": 3.0},
    )
    step = Step(kind="check", detail="zebra-answer does not parse")
    return replace(
        decided("d-1"),
        query="zebra-question",
        system="zebra-system",
        messages=[{"role": "user", "content": "zebra-question"}],
        reference={"gold": "zebra-gold"},
        params={"tools": [{"name": "zebra-tool"}], "stop": "zebra-answer", "temperature": 0.5},
        models={"cheap": model},
        decision=replace(decision_of("d-1"), steps=[step]),
    )


@pytest.mark.parametrize("content", ["hashed", "none"])
def test_redacted_content_never_reaches_the_disk(tmp_path: Path, content: Any) -> None:
    with Ledger(tmp_path, content=content) as ledger:
        assert ledger.append(telling())
        spooled = every_byte(tmp_path)
        ledger.label("d-1", "cheap", Verdict(judge="k", acceptable=True, misses=["zebra-miss"]))
        stored = every_byte(tmp_path)
        row = ledger.get("d-1")
    for word in SECRET_WORDS:
        assert word.encode() not in spooled + stored + every_byte(tmp_path)
    assert row is not None
    assert row.content == content
    assert (row.query_hash is not None) == (content == "hashed")
    assert row.params == {"temperature": 0.5}
    assert row.models["cheap"].signals == {"length": 3.0}
    assert [v.judge for v in row.models["cheap"].verdicts] == ["j", "k"]
    assert [sample.quality for sample in row.models["cheap"].samples] == [0.0]
    assert [v.missed for v in row.models["cheap"].verdicts] == [[Miss(what="", critical=True)], []]


def test_the_hash_tells_questions_apart_within_a_store_and_nothing_between_stores(tmp_path: Path) -> None:
    turn = [{"role": "user", "content": "same"}]
    hashes = []
    for name in ("a", "b"):
        for question in (outcome("1", query="same"), outcome("2", messages=turn), outcome("3", query="else")):
            with Ledger(tmp_path / name, content="hashed") as ledger:
                ledger.append(question)
        with Ledger(tmp_path / name) as ledger:
            hashes.append([row.query_hash for row in ledger.outcomes()])
    (a1, a2, a3), (b1, _, _) = hashes
    assert a1 == a2
    assert len({a1, a3, b1}) == 3


@pytest.mark.parametrize("content", ["full", "hashed", "none"])
def test_credentials_among_parameters_are_never_kept(tmp_path: Path, content: Any) -> None:
    params = {
        "api_key": "sk-zebra",
        "extra_headers": {"Authorization": "Bearer zebra"},
        "extra_body": {"aws_secret_access_key": "zebra", "azure_ad_token": "zebra", "top_k": 4},
        "max_tokens": 7,
        "tools": [{"parameters": {"properties": {"password": {"type": "string"}}}}],
    }
    with Ledger(tmp_path, content=content) as ledger:
        ledger.append(outcome("d-1", params=params))
        spooled = every_byte(tmp_path)
        row = ledger.get("d-1")
    assert b"zebra" not in spooled + every_byte(tmp_path)
    assert row is not None
    assert row.params["max_tokens"] == 7
    if content == "full":
        assert row.params["tools"] == params["tools"]
        assert row.params["extra_body"] == {"top_k": 4}


class Dumped:
    """As the message objects of provider libraries are, which callers put into ``messages``."""

    def model_dump(self) -> dict[str, str]:
        return {"role": "assistant", "content": "dumped"}


class Strange:
    def __repr__(self) -> str:
        return "sk-zebra"


def test_what_json_cannot_hold_never_loses_the_row(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    model = ModelOutcome(
        answer="half a \ud83d", logprobs=[nan, -1.0], top_logprobs=[[-inf]], signals={"a": nan, "b": 1.0}
    )
    sure = Confidence(probability=0.5, score=-inf, signal_set="text", scorer="s")
    full = replace(
        decided("d-1"),
        models={"cheap": model},
        messages=[Dumped()],
        params={"response_format": Strange, "x": Strange(), "array": np.arange(2), "scalar": np.float64(2)},
        decision=replace(decision_of("d-1"), confidence=sure, threshold=inf),
    )
    with Ledger(tmp_path) as ledger:
        assert ledger.append(full)
        row = ledger.get("d-1")
    assert row is not None
    assert row.decision is not None
    assert row.decision.confidence is not None
    assert row.decision.confidence.score != row.decision.confidence.score
    read_back = row.models["cheap"]
    assert read_back.answer == "half a ?"
    assert read_back.logprobs is not None
    assert str(read_back.logprobs) == "[nan, -1.0]"
    assert read_back.signals == {"b": 1.0}
    assert row.messages == [{"role": "assistant", "content": "dumped"}]
    assert row.params["array"] == [0, 1]
    assert row.params["scalar"] == 2.0
    assert b"sk-zebra" not in every_byte(tmp_path)


def test_append_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with Ledger(tmp_path) as ledger, caplog.at_level(logging.WARNING, logger="cascade"):
        assert ledger.append(outcome(params=circle)) is False
        assert ledger.append(outcome(reference=circle)) is False
        assert ledger.faults == ledger.check().faults == 2
        assert ids(ledger) == []
    assert len(caplog.records) == 1


# ---- reading merges what belongs together


def test_shadow_calls_and_verdicts_join_the_decision_they_belong_to(tmp_path: Path) -> None:
    shadow = outcome("s-1", shadow_of="d-1", models={"cheap": ModelOutcome(answer="other"), "mid": ModelOutcome()})
    first = Verdict(judge="gpt", acceptable=True, score=0.9, labels={"tone": "kind"})
    second = Verdict(judge="human", acceptable=False)
    with Ledger(tmp_path) as ledger:
        ledger.append(shadow)  # a shadow may well be there first
        ledger.append(decided("d-1"))
        ledger.append(decided("d-2"))
        ledger.label("d-1", "cheap", first)
        ledger.label("d-1", "cheap", second)
        ledger.label("s-1", "mid", second)
        expected = replace(
            decided("d-1"),
            models={
                "cheap": ModelOutcome(answer="yes", verdicts=[first, second]),
                "mid": ModelOutcome(verdicts=[second]),
            },
        )
        assert ledger.get("d-1") == ledger.get("s-1") == expected
        assert list(ledger.outcomes()) == [expected, decided("d-2")]
        assert ledger.find("") == ["d-1", "d-2"]


def test_a_verdict_is_on_disk_when_label_returns(tmp_path: Path) -> None:
    script = """
from cascade.types import Verdict
book = Ledger(folder)
book.append(outcome("d-1"))
book.label("d-1", "cheap", Verdict(judge="j", acceptable=True))
os.kill(os.getpid(), signal.SIGKILL)
"""
    with child(script, tmp_path) as process:
        assert process.wait(timeout=10) == -signal.SIGKILL
    with Ledger(tmp_path) as ledger:
        row = ledger.get("d-1")
        assert row is not None
        assert [v.judge for v in row.models["cheap"].verdicts] == ["j"]


def test_a_label_for_an_unknown_id_is_an_error_that_names_it(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.get("nobody") is None
        with pytest.raises(ConfigError, match="nobody"):
            ledger.label("nobody", "cheap", Verdict(judge="j", acceptable=True))


def test_outcomes_are_filtered_found_by_prefix_and_paged(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for i in range(600):
            ledger.append(decided(f"d-{i:03}", policy=f"p{i % 2}", at=float(i), slice=f"s{i % 3}"))
        assert ids(ledger) == [f"d-{i:03}" for i in range(600)]
        chosen = [row.id for row in ledger.outcomes(policy="p1", slice="s2", since=500)]
        assert chosen == [f"d-{i}" for i in range(500, 600) if i % 2 == 1 and i % 3 == 2]
        assert ledger.find("d-59") == [f"d-{i}" for i in range(590, 600)]
        assert ledger.find("D") == []
        rows = ledger.outcomes()
        assert next(rows).id == "d-000"
        ledger.append(decided("later"))  # a reader half way through keeps nobody from writing
        assert ledger.flush(timeout=1)
        assert sum(1 for _ in rows) == 600


# ---- files


number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(max_size=8)
verdict = st.builds(Verdict, judge=text, acceptable=st.booleans(), score=st.none() | number)
model = st.builds(
    ModelOutcome,
    answer=st.none() | text,
    correct=st.none() | st.integers(0, 1),
    signals=st.dictionaries(text, number, max_size=2),
    verdicts=st.lists(verdict, max_size=2),
    samples=st.lists(st.builds(Sample, answer=st.none() | text, verdicts=st.lists(verdict, max_size=1)), max_size=2),
    logprobs=st.none() | st.lists(number, max_size=3),
    top_logprobs=st.none() | st.lists(st.lists(number, max_size=2), max_size=2),
)
step = st.builds(Step, kind=st.just("call"), cost=st.none() | number, usage=st.none() | st.just(Usage(prompt_tokens=3)))
decision = st.builds(
    Decision,
    **dict.fromkeys(("id", "policy", "slice", "served_by", "why"), text),
    mode=st.just("enforce"),
    served=st.just("accepted"),
    at=number,
    threshold=st.none() | number,
    steps=st.lists(step, max_size=2),
)
anything = st.recursive(st.none() | st.booleans() | number | text, lambda x: st.lists(x, max_size=2), max_leaves=3)
outcomes = st.builds(
    Outcome,
    id=text,
    slice=text,
    query=st.none() | text,
    reference=anything,
    params=st.dictionaries(st.sampled_from(["temperature", "stop"]), anything),
    models=st.dictionaries(text, model, max_size=2),
    decision=st.none() | decision,
)


@settings(max_examples=30, deadline=None)  # a busy disk is no fault
@given(rows=st.lists(outcomes, max_size=4))
def test_a_round_trip_is_exact(rows: list[Outcome], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Through files, plain and compressed, and through the ledger; and every line fits the schema."""
    folder = tmp_path_factory.mktemp("trip")
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        assert write_outcomes(folder / name, rows) == len(rows)
        assert list(read_outcomes(folder / name)) == rows
    assert sorted(path.name for path in folder.iterdir()) == ["rows.jsonl", "rows.jsonl.gz"]
    with Ledger(folder / "store") as ledger:
        assert all(ledger.append(row) for row in rows)
        assert list(ledger.outcomes()) == rows
    validator = jsonschema.Draft202012Validator(outcome_schema())
    for row in rows:
        validator.validate(msgspec.json.decode(encode(row)))


def test_recorded_data_sets_are_read_as_they_are(tmp_path: Path) -> None:
    """Unknown fields are ignored; right and wrong may be a number of either kind or a boolean."""
    path = tmp_path / "data.jsonl.gz"
    models = b'"a": {"correct": 1.0, "judge": "x"}, "b": {"correct": false}, "c": {"correct": 1, "score": 1}'
    models += b', "drawn": {"samples": [{"answer": "x", "correct": true}, {"correct": 0.0, "extra": 1}]}'
    path.write_bytes(gzip.compress(b'\n{"id": "q", "dataset": "d", "slice": "s", "models": {' + models + b"}}\n\n"))
    (row,) = read_outcomes(path)
    labelled = [*(row.models[name] for name in "abc"), *row.models["drawn"].samples]
    assert [(type(m.correct), m.correct) for m in labelled] == [(int, 1), (int, 0), (int, 1), (int, 1), (int, 0)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"id": "a"}\n{"slice": "s"}\n', r"rows\.jsonl, line 2: .*`id`"),
        (b'{"id": "a", "models": {"m": {"correct": "yes"}}}', r"line 1: .*correct"),
        (b'{"id": "a"}\n{"id": \n', r"line 2"),
        (b'{"id": "\xff"}\n', r"line 1"),
        (b"[1]", r"line 1: .*object"),
        (b'{"id": "a", "version": 99}', r"version 99.*upgrade"),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_number(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        list(read_outcomes(path))


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl.gz"
    write_outcomes(cut, [outcome(str(i)) for i in range(50)])
    cut.write_bytes(cut.read_bytes()[:-20])
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_bytes(b'{"id": "a"}\n')
    for path in (cut, plain, tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(ConfigError, match=path.name):
            list(read_outcomes(path))
    with pytest.raises(ConfigError, match="nowhere"):
        write_outcomes(tmp_path / "nowhere" / "rows.jsonl", [])


def test_an_export_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_outcomes(path, [outcome("old")])

    def rows() -> Any:
        yield outcome("new")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_outcomes(path, rows())
    assert [row.id for row in read_outcomes(path)] == ["old"]
    assert os.listdir(tmp_path) == ["rows.jsonl"]  # noqa: PTH208 (names only)


def test_dash_is_stdin_and_stdout() -> None:
    script = "from cascade.ledger import *\nwrite_outcomes('-', read_outcomes('-'))"
    out, _ = child(script, ".").communicate('{"id": "a"}\n', timeout=10)
    assert decode(out) == outcome("a")


def test_the_version_is_always_written_out() -> None:
    assert msgspec.json.decode(encode(outcome()))["version"] == 1
