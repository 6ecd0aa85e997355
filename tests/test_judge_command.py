"""``cascade judge``: one kind of judge, a price before it is paid, a report, an exit status that means it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cascade.cli import app
from cascade.decide import coin
from cascade.ledger import Ledger, read_outcomes, write_outcomes
from cascade.types import Decision, ModelOutcome, Outcome, Verdict
from tests.cases import row_of
from tests.misbehaving import ACCEPTS, Server

PRICE = ["--price", "1,4", "--yes"]
RUN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cascade.cli import main; main()"
POLICY = """
[target]
max_error = 0.05
[[tiers]]
name = "cheap"
model = "openai/gpt-5.4-mini"
[[tiers]]
name = "last"
model = "openai/gpt-5.5"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of the developer's own that the command reads."""
    monkeypatch.chdir(tmp_path)
    for name in ("CASCADE_POLICY", "CASCADE_STORE", "CASCADE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def rows(here: Path) -> Path:
    """Twenty rows whose cheap answer is right half of the time, and whose last answer always is."""
    file = here / "rows.jsonl"
    write_outcomes(file, [row_of(f"r{i:02}", "4" if i % 2 else "5", "4", reference="4") for i in range(20)])
    return file


@pytest.fixture
def asked(server: Server) -> Callable[..., list[str]]:
    """The options of a judge at the misbehaving server."""
    return lambda model="accepts", *more: ["--model", model, "--base-url", server.url, *more]


def run(*arguments: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, ["judge", *map(str, arguments)])


def report(*arguments: object, status: int = 0) -> dict[str, Any]:
    """The one JSON object that stdout has to be."""
    done = run(*arguments, "--json")
    assert done.exit_code == status, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def verdicts(file: Path, tier: str = "cheap") -> list[Verdict]:
    """All verdicts on a tier's answers."""
    return [verdict for row in read_outcomes(file) for verdict in row.models[tier].verdicts]


def test_a_rule_judges_every_answer_once(rows: Path) -> None:
    """A second run skips all, another judge none."""
    first = report(rows, "--exact")
    assert (first["judge"], first["judged"], first["acceptable"], first["left"]) == ("exact", 40, 30, 0)
    assert (first["cost"], first["stopped"], first["failed"]) == (0.0, "", {})
    again = report(rows, "--exact")
    assert (again["judged"], again["skipped"]) == (0, 40)
    assert report(rows, "--numeric", "--tolerance", "1", "--tier", "cheap")["acceptable"] == 20
    assert {verdict.judge for verdict in verdicts(rows)} == {"exact", "numeric:1"}


def test_people_read_the_same_figures(rows: Path) -> None:
    """What was judged on stdout, what was not on stderr."""
    run(rows, "--exact", "--tier", "cheap", "--limit", "5")
    done = run(rows, "--exact", "--tier", "cheap")
    assert "15 answers judged" in done.stdout
    assert "5 answers have been judged by exact before" in done.stderr


def test_a_command_judges(rows: Path) -> None:
    """Its words are read as a shell would split them, and run without one."""
    script = "import sys; sys.exit(open(sys.argv[1]).read() != '4')"
    found = report(rows, "--command", f'{sys.executable} -I -c "{script}" {{answer_file}}', "--limit", "3")
    assert (found["judged"], found["undrawn"]) == (6, 34)
    assert {verdict.acceptable for verdict in verdicts(rows, "last")} == {True}
    assert {verdict.propensity for verdict in verdicts(rows, "last")} == {3 / 20}


def test_a_model_judges_at_a_local_server(rows: Path, server: Server, asked: Callable[..., list[str]]) -> None:
    """Billed by its tokens; the verdicts say model and rubric."""
    found = report(rows, *asked(), *PRICE, "--rubric", "support", "--concurrency", "3")
    assert (found["judged"], found["acceptable"]) == (40, 40)
    assert found["judge"].startswith("llm:accepts/support@")
    each = (10 * 1.0 + len(ACCEPTS.split()) * 4.0) / 1e6
    assert [verdict.cost for verdict in verdicts(rows)] == pytest.approx([each] * 20)
    assert found["cost"] == pytest.approx(40 * each)
    assert server.count("accepts") == 40


def test_against_needs_to_know_which_tier_is_last(
    rows: Path, here: Path, asked: Callable[..., list[str]], server: Server
) -> None:
    """It asks for the policy; and what cannot be read there is an abstention, asked twice."""
    assert run(rows, *asked(), *PRICE, "--against").exit_code == 2
    (here / "mine.toml").write_text(POLICY)
    found = report(rows, *asked(), *PRICE, "--against")
    assert (found["judged"], found["abstained"]) == (0, 20)
    assert server.count("accepts") == 40
    assert 'kind="answer 2"' in server.asked[0].question
    assert run(rows, *asked(), *PRICE, "--against", "--tier", "last").exit_code == 2


def test_what_is_not_agreed_to_is_not_spent(rows: Path, asked: Callable[..., list[str]], server: Server) -> None:
    """Off a terminal nobody can agree, so it takes --yes; the price is said first."""
    done = run(rows, *asked(), "--price", "1,4", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "pass --yes" in done.stderr
    assert "40 answers to be judged" in done.stderr
    assert "USD" in done.stderr
    assert server.asked == []
    assert run(rows, *asked("accepts", "--json")).exit_code == 0  # a local server without a price costs nothing


@pytest.mark.parametrize(("said", "status", "calls"), [(b"n\n", 1, 0), (b"y\n", 0, 40)])
def test_at_a_terminal_it_asks(
    said: bytes, status: int, calls: int, rows: Path, asked: Callable[..., list[str]], server: Server
) -> None:
    """After saying the price; a no leaves everything as it was."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", RUN, "judge", str(rows), *asked(), "--price", "1,4", "--json"]
    process = subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True)
    os.close(theirs)
    shown = b""
    while b"Go on?" not in shown:
        shown += os.read(ours, 1024)
    assert b"USD" in shown
    os.write(ours, said)
    with suppress(OSError):  # how a terminal says that its other side has gone
        while os.read(ours, 1024):
            pass
    out, _ = process.communicate(timeout=20)
    os.close(ours)
    assert (process.returncode, server.count("accepts")) == (status, calls)
    assert (json.loads(out)["judged"] if calls else out) == (calls or "")


def test_a_budget_refuses_to_begin_and_needs_a_price(
    rows: Path, asked: Callable[..., list[str]], server: Server
) -> None:
    """Exit status 4 and 2; nothing was asked."""
    assert run(rows, *asked(), *PRICE, "--budget", "0.03").exit_code == 4
    unpriced = run(rows, *asked(), "--budget", "9", "--yes")
    assert unpriced.exit_code == 2
    assert "--price" in unpriced.stderr
    assert server.asked == []


def test_a_judge_that_is_gone_stops_the_run_with_3(rows: Path, asked: Callable[..., list[str]]) -> None:
    """After ten failures in a row, each counted by its reason; what was judged before is kept."""
    report(rows, *asked(), *PRICE, "--limit", "4")
    found = report(rows, *asked("401"), *PRICE, "--concurrency", "1", status=3)
    assert found["stopped"] == "unreachable"
    assert list(found["failed"].values()) == [10]
    assert "answered 401" in next(iter(found["failed"]))
    assert found["left"] == 30
    assert len(verdicts(rows)) == 4
    few = report(rows, *asked("401"), *PRICE, "--limit", "2", status=3)
    assert (few["stopped"], sum(few["failed"].values())) == ("", 4)


def ledger_of(folder: Path) -> Path:
    """A ledger with rows of two policies."""
    with Ledger(folder) as ledger:
        for i in range(6):
            decision = Decision(
                id=f"d{i}", at=1.0, policy="mine" if i % 2 else "other", mode="observe", slice="s", served="escalated",
                served_by="last", why="observe mode",
            )  # fmt: skip
            models = {"last": ModelOutcome(answer="4"), "cheap": ModelOutcome(answer="5")}
            ledger.append(Outcome(id=f"d{i}", slice="s", query="2+2?", reference=4, models=models, decision=decision))
    return folder


def test_a_ledger_keeps_its_verdicts_itself(here: Path) -> None:
    """By folder or file; a policy picks its own rows."""
    folder = ledger_of(here / "store")
    (here / "mine.toml").write_text(POLICY)
    assert report(folder, "--numeric", "--policy", "mine.toml")["judged"] == 6
    assert report(folder / "ledger.sqlite", "--numeric")["judged"] == 6
    with Ledger(folder) as ledger:
        found = {row.id: {t: len(m.verdicts) for t, m in row.models.items()} for row in ledger.outcomes()}
    assert found == {f"d{i}": {"last": 1, "cheap": 1} for i in range(6)}


def test_a_policy_s_salt_makes_the_draw(rows: Path, here: Path) -> None:
    """Another salt draws other rows."""
    (here / "mine.toml").write_text(f'{POLICY}[audit]\nsalt = "pepper"\n')
    report(rows, "--exact", "--limit", "5", "--policy", "mine.toml")
    coins = sorted((coin("pepper", "judge", row.id), row.id) for row in read_outcomes(rows))
    judged = {row.id for row in read_outcomes(rows) if row.models["cheap"].verdicts}
    assert judged == {id for _, id in coins[:5]} != {row.id for row in list(read_outcomes(rows))[:5]}


GOOD = "r01,true,0.9\nr02,false,0.1\n"
BAD = "r03,perhaps,\nr99,true,\n"


def test_verdicts_are_imported_all_or_none(rows: Path, here: Path) -> None:
    """Bad rows are named on stderr and in the report; --keep-going takes the others, a second time none."""
    file = here / "verdicts.csv"
    file.write_text(f"id,acceptable,score\n{GOOD}{BAD}")
    options = [rows, "--verdicts", file, "--judge-name", "human:ann", "--tier", "cheap"]
    before = rows.read_bytes()
    refused = report(*options, status=2)
    assert (refused["judged"], refused["left"], refused["stopped"]) == (0, 2, "bad rows")
    assert [bad["row"] for bad in refused["bad"]] == [4, 5]
    assert rows.read_bytes() == before
    done = run(*options)
    assert (done.exit_code, done.stdout.startswith("0 answers")) == (2, True)
    assert f"{file}, row 5: there is no row with id 'r99'" in done.stderr
    taken = report(*options, "--keep-going")
    assert (taken["judged"], taken["acceptable"], len(taken["bad"])) == (2, 1, 2)
    assert [(v.judge, v.acceptable, v.score) for v in verdicts(rows)] == [
        ("human:ann", True, 0.9), ("human:ann", False, 0.1),
    ]  # fmt: skip
    assert report(*options, "--keep-going")["skipped"] == 2


def test_an_import_finds_the_first_tier_in_the_policy(rows: Path, here: Path) -> None:
    """The one that other commands would find; without one each row has to say."""
    (here / "v.csv").write_text(f"id,acceptable,score\n{GOOD}")
    assert len(report(rows, "--verdicts", "v.csv", "--judge-name", "human:ann", status=2)["bad"]) == 2
    (here / "mine.toml").write_text(POLICY)
    assert report(rows, "--verdicts", "v.csv", "--judge-name", "human:ann")["judged"] == 2
    assert len(verdicts(rows)) == 2


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--exact", "--numeric"],
        ["--exact", "--rubric", "support"],
        ["--exact", "--budget", "1"],
        ["--exact", "--tolerance", "1"],
        ["--exact", "--keep-going"],
        ["--exact", "--share", "0.5", "--limit", "5"],
        ["--exact", "--share", "0"],
        ["--exact", "--share", "1.5"],
        ["--exact", "--limit", "0"],
        ["--exact", "--tier", "chaep"],
        ["--exact", "--slice", "no"],
        ["--model", "m", "--judge-name", "human:ann"],
        ["--model", "m", "--price", "cheap"],
        ["--model", "m", "--rubric", "suport"],
        ["--command", "'"],
        ["--command", ""],
        ["--verdicts", "v.csv", "--limit", "5"],
        ["--verdicts", "no.csv"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_one_line(options: list[str], rows: Path) -> None:
    """Exit status 2, nothing on stdout, the file as it was, no journal left behind."""
    before = rows.read_bytes()
    done = run(rows, *options)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert rows.read_bytes() == before
    assert list(rows.parent.iterdir()) == [rows]


def test_help_names_the_fields_of_the_json_object(rows: Path) -> None:
    """All that the object has."""
    shown = run("--help").stdout
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert all(name in shown for name in report(rows, "--exact"))


@pytest.mark.parametrize("kind", ["model", "rule"])
def test_an_interruption_keeps_what_was_judged(kind: str, rows: Path, server: Server) -> None:
    """Ctrl-C: exit status 130, the file whole, no journal, and the next run goes on."""
    if kind == "rule":
        options = ["--command", f"{sys.executable} -I -S -c 'import time; time.sleep(0.1)'"]
    else:
        options = ["--model", "slow-accepts", "--base-url", server.url, "--yes"]
    command = [sys.executable, "-c", RUN, "judge", str(rows), *options, "--concurrency", "1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = rows.with_name(f"{rows.name}.verdicts")
    until = time.monotonic() + 20
    while (not journal.exists() or journal.read_bytes().count(b"\n") < 3) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, ""), err
    kept = len(verdicts(rows)) + len(verdicts(rows, "last"))
    assert 3 <= kept < 40
    assert f"interrupted: {kept} verdicts are kept" in err
    assert list(rows.parent.iterdir()) == [rows]
