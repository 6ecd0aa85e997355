"""A candidate takes the place of the lock in force on evidence, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from cascade.cli import app
from cascade.errors import ConfigError
from cascade.ledger import write_outcomes
from cascade.lock import Lock, load_lock, lock_path, save_lock
from cascade.policy import Policy
from cascade.policyfile import load_policy
from cascade.promotion import standing, weigh
from cascade.types import Outcome
from tests.building import certificate_of, gate_of, lock_of, policy_of
from tests.test_following import POLICY as FILE
from tests.test_recheck import row


def serving(policy: Policy, threshold: float, id: str = "c1") -> Lock:
    """A lock whose gate lets drafts of at least this mean log-probability pass."""
    gate = gate_of(threshold=threshold)
    return lock_of(policy, gate, certificates=[certificate_of(policy, gate, id=id)])


def held_out(n: int, wrong: float, split: str | None = "test") -> list[Outcome]:
    """Half the drafts are sure (-0.1) and right, half less so (-0.5), of which this share is wrong."""
    made = []
    for i in range(n):
        sure = i % 2 == 0
        cheap = 1.0 if sure or (i // 2 % 100) >= 100 * wrong else 0.0
        made.append(row(f"q{i:05}", cheap, 1.0, -0.1 if sure else -0.5, split=split))
    # Beside a row of split fit, "test" is this project's word and not that of a data set's authors.
    return [*made, row("fitted", 1.0, 1.0, -0.1, split="fit")] if split is not None else made


POLICY_ = policy_of(preroute={"enabled": False}, cache={"enabled": False})
STRICT, LOOSE = serving(POLICY_, -0.2), serving(POLICY_, -1.0, "c2")


def test_a_candidate_that_loses_nothing_may_take_over() -> None:
    found = weigh(held_out(800, 0.0), POLICY_, STRICT, LOOSE)
    assert not found.refusals
    assert (found.rows, found.difference.estimate) == (800, 0.0)
    assert (found.current.accept_rate.estimate, found.candidate.accept_rate.estimate) == (0.5, 1.0)
    assert found.candidate.cost.estimate < found.current.cost.estimate


def test_a_candidate_that_loses_more_than_the_margin_is_refused_however_many_rows() -> None:
    found = weigh(held_out(800, 0.1), POLICY_, STRICT, LOOSE)
    assert found.difference.estimate == pytest.approx(-0.05)
    assert "no number of rows" in found.refusals[0]
    assert found.more_rows is None


def test_too_few_rows_are_refused_and_so_many_more_would_do() -> None:
    few = weigh(held_out(80, 0.0), POLICY_, STRICT, LOOSE)
    assert few.refusals
    assert few.more_rows
    assert not weigh(held_out(80 + few.more_rows, 0.0), POLICY_, STRICT, LOOSE).refusals


def test_the_margin_is_the_policy_s() -> None:
    generous = POLICY_.model_copy(update={"promotion": POLICY_.promotion.model_copy(update={"margin": 0.2})})
    assert weigh(held_out(800, 0.1), POLICY_, STRICT, LOOSE).refusals
    assert not weigh(held_out(800, 0.1), generous, STRICT, LOOSE).refusals


def test_without_a_lock_in_force_the_last_tier_alone_is_to_be_matched() -> None:
    found = weigh(held_out(800, 0.1), POLICY_, None, STRICT)
    assert found.current.accept_rate.estimate == 0.0
    assert not found.refusals


def test_graded_labels_without_a_difference_are_no_certainty() -> None:
    """Five rows on which nothing differs prove nothing, whatever a bootstrap would say."""
    graded = [row(f"q{i}", 0.7, 0.7, split="test") for i in range(5)]
    assert weigh(graded, POLICY_, None, LOOSE, held_out=True).refusals
    many = [replace(graded[0], id=f"q{i}") for i in range(1500)]
    assert not weigh(many, POLICY_, None, LOOSE, held_out=True).refusals


def test_only_rows_that_no_lock_was_made_from_count() -> None:
    tested = [replace(one, id=f"t{one.id}") for one in held_out(40, 0.0) if one.split == "test"]
    rows = [*held_out(80, 0.0, "fit"), *tested]
    found = weigh(rows, POLICY_, STRICT, LOOSE)
    assert (found.rows, found.left_out[0].rows) == (40, 81)
    assert weigh(rows, POLICY_, STRICT, LOOSE, held_out=True).rows == 121
    with pytest.raises(ConfigError, match="--held-out"):
        weigh(held_out(80, 0.0, "certify"), POLICY_, STRICT, LOOSE)


def test_a_candidate_that_could_not_serve_is_told_why() -> None:
    assert not standing(LOOSE, POLICY_)
    assert "not certified" in standing(replace(LOOSE, certificates=[], notes=["not certified"]), POLICY_)[0]
    assert "not of 'p'" in standing(replace(LOOSE, policy="q"), POLICY_)[0]
    stricter = POLICY_.model_copy(update={"target": POLICY_.target.model_copy(update={"max_error": 0.01})})
    assert "void" in standing(LOOSE, stricter)[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy with a lock in force, a candidate, and outcomes that favour it and that do not."""
    monkeypatch.chdir(tmp_path)
    for name in ("CASCADE_POLICY", "CASCADE_STORE", "CASCADE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    file = tmp_path / "mine.toml"
    file.write_text(FILE)
    policy = load_policy(file)
    save_lock(lock_path(file), serving(policy, -0.2))
    save_lock(tmp_path / "mine.candidate.lock.json", serving(policy, -1.0, "c2"))
    write_outcomes("good.jsonl", held_out(800, 0.0))
    write_outcomes("bad.jsonl", held_out(800, 0.1))
    return file


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def certificate(file: Path) -> str:
    lock = load_lock(lock_path(file))
    assert lock is not None
    return lock.certificates[0].id


def test_promote_then_rollback_gives_the_same_bytes_and_both_say_what_is_in_force(here: Path) -> None:
    lock, candidate = lock_path(here), here.with_suffix(".candidate.lock.json")
    before = lock.read_bytes()
    done = run("promote", candidate.name, "--outcomes", "good.jsonl", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["promoted"], said["refusals"], said["evidence"]["rows"]) == (True, [], 800)
    assert lock.read_bytes() == candidate.read_bytes()
    back = run("rollback", "--json")
    assert back.exit_code == 0, back.output
    assert json.loads(back.stdout) == {"lock": lock.name, "number": 1, "statement": said["statement"], "history": [2]}
    assert lock.read_bytes() == before
    assert "In force: Of 500 judged" in run("rollback").stdout
    assert run("rollback", "--to", "7").exit_code == 2


def test_a_refused_candidate_changes_nothing_but_by_force_which_the_lock_then_says(here: Path) -> None:
    candidate = "mine.candidate.lock.json"
    before = lock_path(here).read_bytes()
    done = run("promote", candidate, "--outcomes", "bad.jsonl")
    assert done.exit_code == 1
    assert "Refused: it may lose up to" in done.stdout
    assert lock_path(here).read_bytes() == before
    assert not lock_path(here).with_suffix(".d").exists()
    assert run("promote", candidate).exit_code == 2
    assert run("promote", candidate, "--outcomes", "bad.jsonl", "--force").exit_code == 0
    lock = load_lock(lock_path(here))
    assert lock is not None
    assert lock.certificates[0].id == "c2"
    assert "promoted by force in spite of this (800 rows compared)" in lock.notes[-1]


def test_a_void_or_uncertified_candidate_is_refused_whatever_the_rows_say(here: Path) -> None:
    lock = load_lock(here.with_suffix(".candidate.lock.json"))
    assert lock is not None
    void = replace(lock, certificates=[replace(lock.certificates[0], identity={})])
    for name, other in (("void", void), ("uncertified", replace(lock, certificates=[]))):
        save_lock(here.parent / f"{name}.json", other)
        done = run("promote", f"{name}.json", "--outcomes", "good.jsonl", "--json")
        assert done.exit_code == 1
        assert len(json.loads(done.stdout)["refusals"]) == 1
    assert certificate(here) == "c1"


def test_a_candidate_that_is_not_there_is_the_user_s_fault(here: Path) -> None:
    done = run("promote", "nope.json", "--outcomes", "good.jsonl")
    assert (done.exit_code, "nope.json is not there" in done.stderr) == (2, True)


def test_diff_alone_compares_with_the_candidate_and_later_with_the_lock_before(here: Path) -> None:
    before = json.loads(run("diff", "--json").stdout)
    assert (before["a"], before["b"], before["same"]) == ("mine.lock.json", "mine.candidate.lock.json", False)
    (gate,) = before["difference"]["gates"]
    assert (gate["change"], gate["was"], gate["now"]) == ("moved", -0.2, -1.0)
    run("promote", "mine.candidate.lock.json", "--outcomes", "good.jsonl")
    after = json.loads(run("diff", "--json").stdout)
    assert (after["a"], after["b"]) == ("mine.lock.d/0001.lock.json", "mine.lock.json")
    assert after["difference"] == before["difference"]
    same = run("diff", "mine.lock.json", "mine.lock.json")
    assert (same.exit_code, "nothing that matters differs" in same.stdout) == (0, True)
    assert run("diff", "mine.lock.json", "nope.json").exit_code == 2
