"""``cascade replay``: what is told of recorded traffic, and what it refuses to tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from cascade.asks import Call
from cascade.cli import app
from cascade.engine import Cascade
from cascade.hindsight import difference, saving
from cascade.ledger import Ledger, write_outcomes
from cascade.lock import lock_path, save_lock
from cascade.policyfile import load_policy
from cascade.testing import FakeModels, draft
from cascade.types import ModelOutcome, Outcome
from tests.building import lock_of

POLICY = """
name = "p"
[target]
max_error = 0.05
[cache]
max_temperature = 1.0
[[tiers]]
name = "cheap"
model = "cheap-model"
price = { input = 1.0, output = 2.0 }
[[tiers]]
name = "frontier"
model = "frontier-model"
price = { input = 10.0, output = 20.0 }
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy file with an open gate in the lock beside it."""
    file = tmp_path / "p.toml"
    file.write_text(POLICY)
    save_lock(lock_path(file), lock_of(load_policy(file)))
    return file


def run(*words: Any) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, words)], catch_exceptions=False)


def told(*words: Any) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(count: int = 20, **frontier: Any) -> list[Outcome]:
    """Judged rows of both tiers, every second of which the cheap one is sure about."""
    tokens = {"prompt_tokens": 100, "completion_tokens": 10}
    found = []
    for i in range(count):
        sure = {"logprobs.mean": -0.1 if i % 2 else -3.0, "text.length": 2.0}
        cheap = ModelOutcome(answer="x", finish_reason="stop", signals=sure, cost=0.001, correct=1, **tokens)
        last = ModelOutcome(answer="y", finish_reason="stop", cost=0.01, correct=1, **{**tokens, **frontier})
        found.append(Outcome(id=f"q{i}", query=f"question {i}", models={"cheap": cheap, "frontier": last}))
    return found


def written(folder: Path, outcomes: list[Outcome]) -> Path:
    file = folder / "rows.jsonl"
    write_outcomes(file, outcomes)
    return file


def test_the_saving_is_that_of_the_hand_count(policy: Path, tmp_path: Path) -> None:
    """Ten accepted at 0.001, ten escalated at 0.011, against twenty at 0.01."""
    found = told(written(tmp_path, rows()), "--policy", policy)
    assert (found["requests"], found["replayed"], found["left_out"]) == (20, 20, {})
    assert found["flow"] == {"not recorded": {"cheap": 10, "frontier": 10}}
    assert found["now"]["cost"] == pytest.approx(0.12)
    assert sum(found["spent"].values()) == pytest.approx(0.12)
    assert found["saving"]["figure"]["estimate"] == pytest.approx(0.4)
    assert found["saving"]["figure"]["low"] < 0.4 < found["saving"]["figure"]["high"]
    assert found["quality"]["figure"]["estimate"] == 0.0


def test_new_prices_are_asked_about_with_reprice(policy: Path, tmp_path: Path) -> None:
    found = told(written(tmp_path, rows()), "--policy", policy, "--reprice")
    cheap, last = (100 * 1.0 + 10 * 2.0) / 1e6, (100 * 10.0 + 10 * 20.0) / 1e6
    assert found["now"]["cost"] == pytest.approx(20 * cheap + 10 * last)
    assert found["saving"]["figure"]["estimate"] == pytest.approx(1 - (20 * cheap + 10 * last) / (20 * last))


def test_an_answer_that_is_not_recorded_is_counted_and_not_guessed(policy: Path, tmp_path: Path) -> None:
    some = [replace(row, models={"cheap": row.models["cheap"]}) if i < 5 else row for i, row in enumerate(rows())]
    found = told(written(tmp_path, some), "--policy", policy)
    assert found["left_out"] == {"answer of frontier is not recorded": 3}
    assert (found["replayed"], found["saving"]["rows"]) == (17, 15)
    assert sum(found["saving"]["left_out"].values()) == 2


def test_rows_that_a_lock_is_made_from_are_in_no_figure(policy: Path, tmp_path: Path) -> None:
    some = [replace(row, split="certify" if i < 8 else "test") for i, row in enumerate(rows())]
    found = told(written(tmp_path, some), "--policy", policy)
    assert found["replayed"] == 20
    assert (found["saving"]["rows"], found["quality"]["rows"]) == (12, 12)


def answers(call: Call) -> Any:
    sure = "sure" in call.messages[-1]["content"]
    return draft(call, "it is four", logprobs=[-0.1 if sure else -3.0] * 5)


def ledger(policy: Path, folder: Path, questions: list[str]) -> Path:
    with Cascade.load(policy, transport=FakeModels(answers), store=folder) as cascade:
        for text in questions:
            cascade.completion([{"role": "user", "content": text}], temperature=0.0)
    return folder


def test_an_engines_own_ledger_replays_to_what_it_did(policy: Path, tmp_path: Path) -> None:
    """Under the same policy nothing changes hands; enforced traffic tells no saving against always-frontier."""
    store = ledger(policy, tmp_path / "store", ["sure one?", "maybe two?", "sure three?", "sure one?"])
    found = told(store, "--policy", policy)
    assert found["flow"] == {"cheap": {"cheap": 2}, "frontier": {"frontier": 1}, "cache": {"cache": 1}}
    assert found["changed"] == 0
    assert found["then"]["cost"] == pytest.approx(found["now"]["cost"], abs=1e-12)
    assert found["saving"]["figure"] is None
    assert "one side" in found["saving"]["why"]
    assert told(store / "ledger.sqlite", "--policy", policy)["flow"] == found["flow"]
    simulated = told(store, "--policy", policy, "--cache", "simulated")
    assert simulated["flow"] == found["flow"]
    without = told(store, "--policy", policy, "--cache", "none")
    assert without["left_out"] == {"answer of cheap is not recorded": 1}


def test_other_rows_do_not_speak_for_a_side_of_a_gate_that_none_of_its_own_speaks_for(
    policy: Path, tmp_path: Path
) -> None:
    store = ledger(policy, tmp_path / "store", ["sure?"])
    with Ledger(store) as accepted:
        mixed = [*rows(6), *accepted.outcomes()]
    found = told(written(tmp_path, mixed), "--policy", policy)
    assert found["saving"]["rows"] == 6
    assert found["saving"]["figure"] is None


def test_changes_are_listed_and_written(policy: Path, tmp_path: Path) -> None:
    """Without a lock everything escalates, and an accepted row has no frontier answer."""
    store = ledger(policy, tmp_path / "store", ["maybe?", "sure?"])
    lock_path(policy).unlink()
    out = tmp_path / "out.jsonl"
    done = run(store, "--policy", policy, "--json", "-o", out)
    assert "There is no lock" in done.stderr
    found = json.loads(done.stdout)
    assert found["left_out"] == {"answer of frontier is not recorded": 1}
    assert found["flow"] == {"frontier": {"frontier": 1}}
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["then"], line["now"], line["missing"]) for line in lines] == [
        ("frontier", "frontier", []),
        ("cheap", "nobody", ["answer of frontier"]),
    ]
    assert not list(tmp_path.glob("*.part"))


def test_a_request_that_changes_hands_is_named_with_why(policy: Path, tmp_path: Path) -> None:
    store = ledger(policy, tmp_path / "store", ["maybe?", "perhaps?"])
    lenient = tmp_path / "lenient.lock.json"
    lock = lock_of(load_policy(policy))
    save_lock(lenient, replace(lock, gates=[replace(lock.gates[0], threshold=-5.0)]))
    found = told(store, "--policy", policy, "--lock", lenient, "--show", 1)
    assert found["changed"] == 2
    (change,) = found["changes"]
    assert (change["then"], change["now"]) == ("frontier", "cheap")
    assert change["why"] == "confidence reached the certified threshold"
    page = run(store, "--policy", policy, "--lock", lenient, "--show", 1)
    assert "2 requests" in page.stdout
    assert "and 1 more" in page.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl"),
        (["rows.jsonl", "--lock", "nowhere.json"], "nowhere.json is not there"),
        (["empty.jsonl"], "no request in it can be replayed"),
        (["rows.jsonl", "--cache", "real"], "real"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    written(tmp_path, rows(2))
    (tmp_path / "empty.jsonl").write_text("not json\n")
    monkeypatch.chdir(tmp_path)
    done = run(*words, "--policy", policy)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not done.stdout


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.1, 5.0)), min_size=2, max_size=30), st.floats(0.1, 9.0))
def test_one_weight_for_all_rows_is_no_weight(pairs: list[tuple[float, float]], weight: float) -> None:
    ours, theirs = np.array(pairs).T
    for figure in (saving, difference):
        one, other = figure(ours, theirs, np.ones(len(ours))), figure(ours, theirs, np.full(len(ours), weight))
        assert one is not None
        assert other is not None
        assert other.estimate == pytest.approx(one.estimate, abs=1e-9)
        assert other.low == pytest.approx(one.low, abs=1e-9)


def test_weights_undo_an_uneven_draw_and_the_interval_covers() -> None:
    """Dear rows drawn with one tenth the chance: the weighted saving covers that of all rows."""
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        theirs = random.gamma(2.0, size=4000)
        ours = theirs * random.uniform(0.2, 0.9, size=4000)
        dear = ours / theirs > 0.6
        chance = np.where(dear, 0.1, 1.0)
        drawn = random.random(4000) < chance
        figure = saving(ours[drawn], theirs[drawn], 1 / chance[drawn])
        assert figure is not None
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 1 - ours.sum() / theirs.sum() <= figure.high
    assert covered >= 185
