"""``cascade trial``: asks before it spends, survives what happens to a process, and says one thing everywhere."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cascade import local
from cascade.cli import app
from cascade.cli.trial import trial
from cascade.ledger import Ledger
from tests.misbehaving import Server

RUN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cascade.cli import main; main()"
PRICES = ["--price-cheap", "1,4", "--price-frontier", "100,400"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of the developer's own that the command reads."""
    monkeypatch.chdir(tmp_path)
    for name in ("CASCADE_POLICY", "CASCADE_STORE", "CASCADE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def prompts_at(folder: Path, count: int) -> Path:
    """The cheap model repeats what it is asked: right where that is short."""
    file = folder / "mine.jsonl"
    lines = []
    for i in range(count):
        text = f"say {i}" if i % 4 else f"say {i} and then whatever else comes to your mind about it"
        lines.append({"id": f"p{i}", "query": text, "reference": text if i % 4 else "nothing"})
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def options(server: Server, *more: str, cheap: str = "echo") -> list[str]:
    models = ["--cheap", cheap, "--frontier", "ok-logprobs", "--base-url", server.url, *PRICES]
    return [*models, "--max-error", "0.1", *(more or ["--exact", "--yes", "--json"])]


def run(*arguments: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, ["trial", *map(str, arguments)])


def test_a_trial_over_a_real_connection_ends_in_files_that_say_the_same(here: Path, server: Server) -> None:
    """Policy, lock and page; the verdict is the first line of everything; all documented fields are there."""
    file = prompts_at(here, 200)
    done = run(file, *options(server))
    found = json.loads(done.stdout)
    assert (done.exit_code, found["verdict"]) == (0, "pays"), done.stderr
    assert found["certified"]
    assert (found["prompts"], found["recorded"], found["failed"], found["stopped"]) == (200, 200, {}, "")
    assert found["cost"]["total"] == pytest.approx(found["quote"]["within"], rel=0.2)
    page = Path(found["page"]).read_text()
    assert page.index(found["verdict"], page.index("<main>")) < page.index(found["statement"][:30])
    assert all(Path(found[name]).is_file() for name in ("policy", "lock", "outcomes"))
    documented = re.findall(r"`(\w+)`", (trial.__doc__ or "").partition("JSON:")[2])
    assert set(found) <= set(documented)
    assert set(found["cost"]) <= set(documented)
    before = len(server.asked)
    again = run(file, *options(server, "--exact"))
    assert again.stdout.splitlines()[0] == "pays"
    assert len(server.asked) == before


def test_what_is_bad_is_named_and_the_rest_goes_on(here: Path, server: Server) -> None:
    file = prompts_at(here, 8)
    file.write_text(file.read_text() + '\n{"question": "no"}\n')
    done = run(file, *options(server, cheap="timeout-is-no-model"))
    assert done.exit_code == 3
    assert "row 9" in done.stderr
    assert "left out: p" in done.stderr
    done = run(file, *options(server, "--exact", "--yes", "--json", "--name", "other"))
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["verdict"].startswith("cannot tell yet: ")
    assert found["bad"][0]["found"][0]["row"] == 9
    assert found["lock"] is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--exact", "--json"], "pass --yes"),
        (["--yes"], "exactly one judge"),
        (["--exact", "--numeric"], "exactly one judge"),
        (["--exact", "--policy", "x.toml"], "--cheap and --frontier, or a --policy"),
        (["--exact", "--rubric", "support"], "for --judge"),
        (["--judge", "no-such-model"], "--price-judge"),
        (["--exact", "--max-regret", "0.1"], "one of them"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    here: Path, server: Server, wrong: list[str], said: str
) -> None:
    done = run(prompts_at(here, 8), *options(server, *wrong))
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
    assert not server.asked


def test_files_that_are_not_of_the_trial_are_left_alone(here: Path, server: Server) -> None:
    """An existing policy is never overwritten; that of the same trial is reused."""
    file = prompts_at(here, 4)
    (here / "mine.toml").write_text("# mine")
    done = run(file, *options(server))
    assert done.exit_code == 2
    assert "mine.toml" in done.stderr
    assert (here / "mine.toml").read_text() == "# mine"
    (here / "mine.toml").unlink()
    run(file, *options(server))
    written = (here / "mine.toml").read_text()
    (here / "mine.toml").write_text(f"# a word of mine\n{written}")
    assert run(file, *options(server)).exit_code == 1
    assert (here / "mine.toml").read_text().startswith("# a word of mine")
    other = run(file, *options(server, cheap="ok"))
    assert other.exit_code == 2
    assert "other models" in other.stderr
    own = run(file, "--policy", "mine.toml", "--exact", "--yes", "--name", "again", "--json")
    assert json.loads(own.stdout)["policy"] == "mine.toml"


@pytest.mark.parametrize(("said", "calls"), [(b"n\n", False), (b"y\ny\n", True)])
def test_a_person_is_asked_before_money_is_spent(here: Path, server: Server, said: bytes, calls: bool) -> None:
    """The most that the first prompts can cost, and then what all will cost."""
    file = prompts_at(here, 30)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", RUN, "trial", str(file), *options(server, "--exact", "--json")]
    process = subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    shown = b""
    while b"Go on?" not in shown:
        shown += os.read(ours, 1024)
    assert b"at most" in shown
    assert not server.asked
    os.write(ours, said)
    with suppress(OSError):  # how a terminal says that its other side has gone
        while more := os.read(ours, 1024):
            shown += more
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert bool(server.asked) == bool(out) == calls
    assert (b"will cost" in shown) == calls


@pytest.mark.parametrize(("how", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_what_was_answered_is_never_paid_for_twice(here: Path, server: Server, how: int, status: int) -> None:
    """Killed or interrupted in the middle: the next run asks only for what the ledger does not hold."""
    file = prompts_at(here, 16)
    more = ["--judge", "slow-accepts", "--price-judge", "1,4", "--concurrency", "2", "--yes", "--json"]
    arguments = [str(file), *options(server, *more)]
    process = subprocess.Popen([sys.executable, "-c", RUN, "trial", *arguments], stderr=subprocess.PIPE)
    until = time.monotonic() + 30
    while len(server.asked) < 20 and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(how)
    assert process.wait(20) == status
    assert process.stderr is not None
    process.stderr.close()
    with Ledger(here / "mine.trial") as ledger:
        rows = list(ledger.outcomes())
    answered = {(name, row.messages[0]["content"]) for row in rows if row.messages for name in row.models}
    judged = sum(len(model.verdicts) for row in rows for model in row.models.values())
    assert judged >= 4
    first = len(server.asked)
    found = json.loads(run(*arguments).stdout)
    assert found["recorded"] == 16
    names = {"echo": "cheap", "ok-logprobs": "frontier"}
    asked = [(names.get(one.model, "judge"), one.question) for one in server.asked[first:]]
    assert not answered & set(asked)
    verdicts = sum(tier == "judge" for tier, _ in asked)
    needed = sum(len(model.verdicts) for row in _rows(here) for model in row.models.values())
    assert verdicts == needed - judged


def _rows(here: Path) -> list[Any]:
    with Ledger(here / "mine.trial") as ledger:
        return list({row.id: row for row in ledger.outcomes()}.values())


def test_a_trial_of_two_real_models(here: Path) -> None:
    """llama.cpp under both tiers: log-probabilities are there, every call is counted, the quote holds."""
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: uv run --extra local pytest")
    if not all((local.home() / weight.name).is_file() for weight in (local.CHEAP, local.FRONTIER)):
        pytest.skip(f"the models' weights are not in {local.home()}: cascade demo --live fetches them")
    files = local.weights()
    capitals = {
        "France": "Paris",
        "Italy": "Rome",
        "Japan": "Tokyo",
        "Peru": "Lima",
        "Egypt": "Cairo",
        "Cuba": "Havana",
    }
    lines = [
        {"query": f"What is the capital of {land}? Answer with its name alone.", "reference": f"{city} | {city}."}
        for land, city in capitals.items()
    ]
    file = here / "capitals.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    with local.serve(files.cheap) as cheap, local.serve(files.frontier) as frontier:
        done = run(
            file, "--cheap", files.cheap.name, "--base-url-cheap", cheap.url, "--frontier", files.frontier.name,
            "--base-url-frontier", frontier.url, *PRICES, "--exact", "--max-error", "0.1", "--max-tokens", "16",
            "--yes", "--json",
        )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["recorded"] == len(lines), done.stderr
    assert found["verdict"].startswith("cannot tell yet: ")
    assert found["cost"]["frontier"] > found["cost"]["cheap"] > 0
    assert found["cost"]["total"] == pytest.approx(found["quote"]["within"], rel=0.2)
    with Ledger(here / "capitals.trial") as ledger:
        assert all("logprobs.mean" in row.models["cheap"].signals for row in ledger.outcomes())
