"""``cascade run``: over real connections, through kills and interruptions, and what it says of itself."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from cascade.batch.journal import Line
from cascade.cli import app
from cascade.cli.run import run as command
from cascade.lock import lock_path, save_lock
from cascade.policyfile import load_policy
from tests.building import lock_of
from tests.misbehaving import Server

RUN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cascade.cli import main; main()"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of the developer's own that the command reads."""
    monkeypatch.chdir(tmp_path)
    for name in ("CASCADE_POLICY", "CASCADE_STORE", "CASCADE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def policy_at(folder: Path, server: Server, cheap: str = "ok-logprobs", frontier: str = "ok", more: str = "") -> None:
    """Two tiers of the server's models; the lock lets a sure cheap answer pass."""
    file = folder / "support.toml"
    tiers = "".join(
        f'[[tiers]]\nname = "{name}"\nmodel = "{model}"\nbase_url = "{server.url}"\n{extra}\n'
        f"price = {{ input = {dollars}, output = {dollars} }}\n"
        for name, model, dollars, extra in (("cheap", cheap, 10.0, more), ("frontier", frontier, 1000.0, more))
    )
    file.write_text(f'name = "support"\n[target]\nmax_error = 0.05\n{tiers}')
    save_lock(lock_path(file), lock_of(load_policy(file)))


def questions_at(folder: Path, count: int) -> Path:
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps({"id": f"q{i}", "query": f"question {i}"}) + "\n" for i in range(count)))
    return file


def run(*arguments: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, ["run", *map(str, arguments), "--policy", "support.toml"])


def answers(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the output."""
    body = (folder / "answers.jsonl").read_bytes() if (folder / "answers.jsonl").exists() else b""
    return [json.loads(line) for line in body[: body.rfind(b"\n") + 1].splitlines()]


def test_a_file_is_answered_and_everything_said_of_it_is_documented(here: Path, server: Server) -> None:
    policy_at(here, server)
    file = questions_at(here, 12)
    done = run(file, "-o", "answers.jsonl", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0, done.stderr
    assert (found["questions"], found["answered"], found["failed"], found["left"]) == (12, 12, 0, 0)
    assert found["served_by"] == {"cheap": 12}
    assert found["cost"] == pytest.approx(sum(row["cost"] for row in answers(here)))
    assert found["always_frontier"] == pytest.approx(100 * found["cost"], rel=0.01)
    assert {row["id"] for row in answers(here)} == {f"q{i}" for i in range(12)}
    told, _, document = (command.__doc__ or "").partition("JSON:")
    assert set(found) <= set(re.findall(r"`(\w+)`", document))
    assert {name for row in answers(here) for name in row} <= set(re.findall(r"`(\w+)`", told))
    again = run(file, "-o", "answers.jsonl")
    assert again.exit_code == 0
    assert "12 of 12 answered, 0 failed, 0 left" in again.stdout
    assert "12 of 12 have their line from before; 0 are asked" in again.stderr
    assert len(server.asked) == 12


def test_a_question_reaches_the_model_as_it_was_written(here: Path, server: Server) -> None:
    policy_at(here, server, cheap="show")
    line = {
        "id": "a",
        "messages": [{"role": "user", "content": "why?"}],
        "params": {"temperature": 0.5, "max_tokens": 7},
    }
    (here / "q.jsonl").write_text(json.dumps(line))
    assert run("q.jsonl", "-o", "answers.jsonl").exit_code == 0
    body = server.last("show").body
    assert (body["messages"], body["temperature"], body["max_tokens"]) == (line["messages"], 0.5, 7)


@pytest.mark.parametrize("name", ["q.csv", "q.parquet", "q.jsonl.gz", "q.txt"])
def test_any_kind_of_file_is_asked(here: Path, server: Server, name: str) -> None:
    policy_at(here, server, cheap="echo")
    rows = [{"query": "one?"}, {"query": "two, please?"}]
    if name == "q.parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), here / name)
    elif name == "q.jsonl.gz":
        import gzip

        (here / name).write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    else:
        (here / name).write_text('query\none?\n"two, please?"\n' if name == "q.csv" else "one?\ntwo, please?\n")
    assert run(name, "-o", "answers.jsonl").exit_code == 0
    assert {row["answer"] for row in answers(here)} == {"one?", "two, please?"}


def test_bad_rows_are_named_and_nothing_is_asked_unless_that_is_wished(here: Path, server: Server) -> None:
    policy_at(here, server)
    file = questions_at(here, 2)
    file.write_text(file.read_text() + '{"question": "no"}\n{"query": "cut')
    done = run(file, "-o", "answers.jsonl", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "row 3" in done.stderr
    assert "row 4" in done.stderr
    assert not server.asked
    assert not (here / "answers.jsonl").exists()
    done = run(file, "-o", "answers.jsonl", "--json", "--keep-going")
    assert done.exit_code == 0
    assert [one["row"] for one in json.loads(done.stdout)["bad"]] == [3, 4]
    assert len(answers(here)) == 2


def test_failures_have_their_lines_and_their_status(here: Path, server: Server) -> None:
    """Each says why; a run that is repeated says so again, and asks none of them unless told to."""
    bad = [{"id": "bad", "query": "?", "slice": "s"}, {"id": "good", "query": "?"}]
    policy_at(here, server, cheap="422", frontier="400", more="retries = 0")
    (here / "q.jsonl").write_text("\n".join(map(json.dumps, bad)))
    done = run("q.jsonl", "-o", "answers.jsonl", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["failed"] == 2
    assert all("400" in row["error"] for row in answers(here))
    assert "--retry-failed" in done.stderr
    count = len(server.asked)
    assert run("q.jsonl", "-o", "answers.jsonl").exit_code == 3
    assert len(server.asked) == count
    assert run("q.jsonl", "-o", "answers.jsonl", "--retry-failed").exit_code == 3
    assert len(server.asked) == 2 * count
    assert len(answers(here)) == 2


def test_a_budget_that_is_reached_is_said_in_words_and_status(here: Path, server: Server) -> None:
    policy_at(here, server, cheap="unsure")
    file = questions_at(here, 60)
    done = run(file, "-o", "answers.jsonl", "--json", "--budget", "0.5", "--max-tokens", "20")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["stopped"]) == (4, "budget")
    assert "stopped: the next question could pass the budget of 0.5 USD" in done.stderr
    assert 0 < found["cost"] <= 0.5
    assert 0 < found["answered"] < 60
    first = len(server.asked)
    done_ids = {row["id"] for row in answers(here)}
    more = run(file, "-o", "answers.jsonl", "--json", "--max-tokens", "20")
    assert (more.exit_code, json.loads(more.stdout)["answered"]) == (0, 60)
    assert not done_ids & {asked.question.replace("question ", "q") for asked in server.asked[first:]}


def test_no_more_are_asked_at_once_than_wished(here: Path, server: Server) -> None:
    policy_at(here, server, cheap="slow-accepts")
    assert run(questions_at(here, 12), "-o", "answers.jsonl", "--concurrency", "3").exit_code == 0
    assert server.most == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-o", "questions.jsonl"], "questions themselves"),
        (["-o", "answers.jsonl.gz"], "JSON lines"),
        (["-o", "answers.jsonl", "--budget", "1"], "--max-tokens"),
        (["-o", "other.jsonl"], "not of a batch"),
        (["-o", "none/answers.jsonl"], "no folder none"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    here: Path, server: Server, more: list[str], said: str
) -> None:
    policy_at(here, server)
    (here / "other.jsonl").write_text("mine\n")
    done = run(questions_at(here, 2), *more)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
    assert not server.asked


def begun(folder: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    arguments = ["questions.jsonl", "-o", "answers.jsonl", "--policy", "support.toml", "--concurrency", "3", "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "run", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def reach(server: Server, calls: int) -> None:
    """Wait until the server has been asked so often."""
    until = time.monotonic() + 30
    while len(server.asked) < calls and time.monotonic() < until:
        time.sleep(0.002)


def journal(folder: Path) -> list[Line]:
    body = (folder / "answers.jsonl.journal").read_bytes()
    return [msgspec.json.decode(line, type=Line) for line in body[: body.rfind(b"\n") + 1].splitlines()[1:]]


def test_what_is_recorded_is_never_asked_again_however_often_it_is_killed(here: Path, server: Server) -> None:
    """Every call that the server saw was written down before; those without an end are possibly billed."""
    policy_at(here, server, cheap="slow-accepts")
    questions_at(here, 24)
    rng, recorded = random.Random(), set[str]()
    for _ in range(2):
        before = len(server.asked)
        process = begun(here)
        reach(server, before + rng.randint(2, 9))
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.communicate()
        asked = {one.question.replace("question ", "q") for one in server.asked[before:]}
        assert not asked & recorded
        recorded = {row["id"] for row in answers(here)}
        seen = Counter(one.question.replace("question ", "q") for one in server.asked)
        assert seen <= Counter(line.id for line in journal(here) if line.begun)
    before = len(server.asked)
    open_ = Counter(line.id for line in journal(here) if line.begun)
    open_ -= Counter(line.id for line in journal(here) if not line.begun)
    done = run("questions.jsonl", "-o", "answers.jsonl", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["answered"]) == (0, 24), done.stderr
    assert Counter(doubt["id"] for doubt in found["possibly_billed"]) == open_
    assert sum(open_.values()) > 0
    assert all(f"possibly billed: {id}" in done.stderr for id in open_)
    later = {one.question.replace("question ", "q") for one in server.asked[before:]}
    assert later == {f"q{i}" for i in range(24)} - recorded
    assert sorted(row["id"] for row in answers(here)) == sorted(f"q{i}" for i in range(24))


def test_an_interrupted_run_says_what_it_leaves(here: Path, server: Server) -> None:
    """Status 130; what was under way is written down as cut off before the process ends."""
    policy_at(here, server, cheap="slow-accepts")
    questions_at(here, 24)
    process = begun(here)
    reach(server, 8)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    written = answers(here)
    assert 0 < len(written) < 24
    assert f"interrupted: {len(written)} answers are written" in error.decode()
    assert b"possibly billed: q" in error
    assert all(line.begun is False or any(not other.begun and other.call == line.call for other in journal(here))
               for line in journal(here))  # fmt: skip
    assert run("questions.jsonl", "-o", "answers.jsonl").exit_code == 0
    assert answers(here)[: len(written)] == written
    assert len(answers(here)) == 24


def test_a_second_process_is_refused(here: Path, server: Server) -> None:
    policy_at(here, server, cheap="slow-accepts")
    questions_at(here, 24)
    process = begun(here)
    reach(server, 1)
    done = run("questions.jsonl", "-o", "answers.jsonl")
    process.kill()
    process.communicate()
    assert done.exit_code == 2
    assert "another process" in done.stderr
