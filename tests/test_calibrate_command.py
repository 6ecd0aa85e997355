"""``cascade calibrate`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cascade.cli import app
from cascade.ledger import write_outcomes
from cascade.lock import load_lock
from cascade.policyfile import load_policy
from tests.populations import outcomes


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_outcomes("rows.jsonl.gz", outcomes(0, (600, 1200, 600), slices=("a", "b"), tenant="acme"))
    return tmp_path


def run(*words: Any) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, words)])


def test_tiers_and_a_target_are_enough_for_a_policy_a_lock_and_a_page(here: Path) -> None:
    done = run("rows.jsonl.gz", "--tiers", "cheap,frontier", "--max-error", 0.12, "-o", "mine", "--report", "r.html")
    assert done.exit_code == 0, done.output
    policy, lock = load_policy(here / "mine.toml"), load_lock(here / "mine.lock.json")
    assert (policy.target.kind, policy.target.level) == ("error", 0.12)
    assert policy.signals.sets == [["size", "sure"]]
    assert lock is not None
    assert lock.certificates[0].level == 0.12
    assert (here / "r.html").read_text().startswith("<!doctype html>")
    again = run("rows.jsonl.gz", "--policy", "mine.toml", "--json")
    assert again.exit_code == 0
    said = json.loads(again.stdout)
    assert said["certified"]
    assert said["gates"] == {gate.id: gate.threshold for gate in lock.gates}
    assert said["evidence"]["rows"] == {"certify": 1200, "fit": 600, "test": 600}


def test_a_policy_in_the_way_is_not_overwritten(here: Path) -> None:
    (here / "mine.toml").write_text("name = 'somebody else'")
    done = run("rows.jsonl.gz", "--tiers", "cheap,frontier", "--max-error", 0.1, "-o", "mine")
    assert done.exit_code == 2
    assert (here / "mine.toml").read_text() == "name = 'somebody else'"


def test_nothing_certified_ends_with_one_and_the_gates_are_closed(here: Path) -> None:
    done = run("rows.jsonl.gz", "--tiers", "cheap,frontier", "--max-error", 0.0001, "-o", "mine", "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["status"] == "refused"
    assert set(said["gates"].values()) == {None}
    assert "no" in said["statement"]


def test_slices_come_from_the_field_that_is_named_and_costs_from_the_command_line(here: Path) -> None:
    done = run(
        "rows.jsonl.gz", "--tiers", "cheap,frontier", "--max-error", 0.12, "-o", "mine", "--slice-by", "tenant",
        "--signal-cost", "sure=1.0", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert load_policy(here / "mine.toml").signals.cost == {"sure": 1.0}
    assert json.loads(done.stdout)["evidence"]["break_even"]["cost_cheap"] == pytest.approx(2e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tiers", "cheap,frontier"], "needs a target"),
        (["--tiers", "cheap,frontier", "--max-error", "0.1", "--max-regret", "0.1"], "state one of them"),
        (["--tiers", "cheap,other", "--max-error", "0.1"], "other"),
        (["--tiers", "cheap,frontier", "--max-error", "2"], "less than 1"),
        (["--tiers", "cheap,frontier", "--max-error", "0.1", "--signal-cost", "sure"], "NAME=UNITS"),
        (["--policy", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_two(here: Path, words: list[str], said: str) -> None:
    done = run("rows.jsonl.gz", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(here.glob("*.lock.json"))


def test_a_truncated_file_is_read_up_to_the_cut_and_the_cut_is_named(here: Path) -> None:
    body = (here / "rows.jsonl.gz").read_bytes()
    (here / "cut.jsonl.gz").write_bytes(body[: len(body) * 4 // 5])
    done = run("cut.jsonl.gz", "--tiers", "cheap,frontier", "--max-error", 0.2, "-o", "mine")
    assert "cut" in done.stderr or "truncated" in done.stderr or "damaged" in done.stderr
