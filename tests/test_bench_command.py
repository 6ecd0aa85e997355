"""``cascade bench`` as a person types it: on past results, and with every tier asked first."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cascade.cli import app
from cascade.cli.bench import bench as command
from cascade.ledger import read_outcomes, write_outcomes
from tests.misbehaving import Server
from tests.populations import outcomes

TIERS = ("--tiers", "cheap,frontier", "--max-regret", 0.05)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("CASCADE_POLICY", "CASCADE_STORE", "CASCADE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    write_outcomes("rows.jsonl.gz", outcomes(0, (500, 900, 500), slices=("a", "b")))
    return tmp_path


def run(*words: Any) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def test_past_results_give_one_documented_object_and_a_page(here: Path) -> None:
    done = run("rows.jsonl.gz", *TIERS, "--quick", "--json", "--report", "page.html", "--judge-cost", 0.0)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    _, _, document = (command.__doc__ or "").partition("JSON:")
    documented = set(re.findall(r"`(\w+)`", document))
    assert set(found) <= documented
    assert {name for one in found["strategies"] for name in one} <= documented
    assert set(found["verdict"]) <= documented
    ours = next(one for one in found["strategies"] if one["name"] == "cascade")
    assert set(ours["saving"]) == {"estimate", "low", "high"}
    assert ours["saving"]["low"] <= ours["saving"]["estimate"] <= ours["saving"]["high"]
    assert [table["name"] for table in found["slices"]] == ["a", "b"]
    assert all(any(one["name"] == "cascade" for one in table["strategies"]) for table in found["slices"])
    assert found["verdict"]["pays"] == "pays"
    assert (here / "page.html").read_text().startswith("<!doctype html>")


def test_a_person_reads_the_verdict_first(here: Path) -> None:
    done = run("rows.jsonl.gz", *TIERS, "--quick")
    assert done.exit_code == 0, done.output
    assert done.stdout.lstrip().startswith("This cascade pays")
    assert "what a verdict costs is not recorded and not counted" in " ".join(done.stdout.split())


def test_a_cascade_that_does_not_pay_ends_with_status_1(here: Path) -> None:
    write_outcomes("flat.jsonl", outcomes(1, (60, 80, 80), strength=0.0, base=0.0))
    done = run("flat.jsonl", *TIERS, "--quick")
    assert done.exit_code == 1
    assert "does not pay" in done.stdout


def test_rows_without_labels_are_named_and_not_measured(here: Path) -> None:
    models = {"cheap": {"answer": "x", "cost": 1.0}, "frontier": {"answer": "y"}}
    rows = [{"id": f"q{i}", "query": "?", "models": models} for i in range(30)]
    (here / "bare.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = run("bare.jsonl", *TIERS)
    assert done.exit_code == 2
    assert "no label" in done.stderr


def test_decisions_of_another_system_stand_beside_the_others(here: Path) -> None:
    lines = [{"id": f"q{i:05d}", "name": "theirs 1.0", "accepted": i % 2 == 0} for i in range(1900)]
    (here / "theirs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = run("rows.jsonl.gz", *TIERS, "--quick", "--json", "--beside", "theirs.jsonl")
    theirs = next(one for one in json.loads(done.stdout)["strategies"] if one["name"] == "theirs 1.0")
    assert theirs["accept_rate"]["estimate"] == 0.5


def test_options_of_a_recording_without_one_are_refused(here: Path) -> None:
    done = run("rows.jsonl.gz", *TIERS, "--exact")
    assert done.exit_code == 2
    assert "--record" in done.stderr


def policy_at(folder: Path, server: Server) -> None:
    tiers = "".join(
        f'[[tiers]]\nname = "{name}"\nmodel = "{model}"\nbase_url = "{server.url}"\n'
        f"price = {{ input = {dollars}, output = {dollars} }}\n"
        for name, model, dollars in (("cheap", "ok-logprobs", 1.0), ("frontier", "ok", 20.0))
    )
    (folder / "support.toml").write_text(
        f'name = "support"\n[target]\nmax_regret = 0.1\n[signals]\nsets = [["text"]]\n{tiers}'
    )


def test_every_tier_is_asked_judged_and_kept_and_a_second_run_asks_nobody(here: Path, server: Server) -> None:
    policy_at(here, server)
    questions = [{"id": f"q{i}", "query": f"question {i}", "reference": "fine"} for i in range(8)]
    (here / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    words = ("questions.jsonl", "--record", "--policy", "support.toml", "--exact", "--budget", 1.0)
    done = run(*words)
    assert done.exit_code == 2, done.output  # eight rows carry no calibration, but they are recorded
    assert "calibration needs labelled rows" in done.stderr or "no scorer can be fitted" in done.stderr
    kept = list(read_outcomes(here / "questions.record" / "outcomes.jsonl.gz"))
    assert {row.id for row in kept} == {f"q{i}" for i in range(8)}
    assert all(set(row.models) == {"cheap", "frontier"} for row in kept)
    assert all(model.verdicts for row in kept for model in row.models.values())
    asked = len(server.asked)
    assert asked == 16
    run(*words)
    assert len(server.asked) == asked


@pytest.mark.parametrize(("words", "said"), [
    (["--exact"], "--budget USD, or --yes"),
    (["--budget", "1"], "exactly one judge"),
    (["--exact", "--numeric", "--yes"], "exactly one judge"),
])  # fmt: skip
def test_nobody_is_asked_before_a_judge_and_a_budget_are_named(
    here: Path, server: Server, words: list[str], said: str
) -> None:
    policy_at(here, server)
    (here / "questions.jsonl").write_text(json.dumps({"id": "a", "query": "?"}))
    done = run("questions.jsonl", "--record", "--policy", "support.toml", *words)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not server.asked


def test_a_budget_that_ends_first_is_status_4_and_what_was_asked_is_kept(here: Path, server: Server) -> None:
    policy_at(here, server)
    questions = [{"id": f"q{i}", "query": f"question {i}", "reference": "fine"} for i in range(40)]
    (here / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    done = run("questions.jsonl", "--record", "--policy", "support.toml", "--exact", "--budget", 0.05)
    assert done.exit_code == 4, done.output
    kept = list(read_outcomes(here / "questions.record" / "outcomes.jsonl.gz"))
    assert 0 < len(kept) < 40
