"""Does the promise still hold? The answer is wrong no oftener than it says, however often one asks."""

from __future__ import annotations

import json
import sqlite3
from functools import lru_cache
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from cascade.cli import app
from cascade.errors import ConfigError
from cascade.learning.calibrate import calibrate
from cascade.learning.path import Counts
from cascade.learning.populations import divide, population_of
from cascade.learning.rows import read_rows
from cascade.ledger import Ledger, write_outcomes
from cascade.ledger.database import connect
from cascade.lock import Lock, lock_path, save_lock
from cascade.policy import Policy
from cascade.policyfile import load_policy
from cascade.recheck import Checked, check, p_broken, p_holds
from cascade.types import Decision, ModelOutcome, Outcome
from cascade.watch import Watch
from tests.building import certificate_of, gate_of, lock_of, policy_of
from tests.test_following import POLICY as FILE

LEVEL, ALARM, REPETITIONS = 0.1, 0.05, 400
SLACK = ALARM + 3 * (ALARM * (1 - ALARM) / REPETITIONS) ** 0.5
KINDS = ["error", "regret"]


def promising(kind: str, **more: Any) -> Policy:
    return policy_of(target={f"max_{kind}": LEVEL}, preroute={"enabled": False}, **more)


def row(name: str, cheap: float, frontier: float = 1.0, mean: float = -0.1, **fields: Any) -> Outcome:
    """A row whose cheap answer the hand-made gate serves where ``mean`` is at least -1."""
    said = {"answer": "it is four", "finish_reason": "stop"}
    models = {
        "cheap": ModelOutcome(score=cheap, logprobs=[mean] * 3, cost=1e-5, **said),
        "frontier": ModelOutcome(score=frontier, cost=1e-4, **said),
    }
    return Outcome(**{"id": name, "slice": "s", "query": f"what is {name}?", "models": models, **fields})


def rows(losses: list[float], prefix: str = "q") -> list[Outcome]:
    return [row(f"{prefix}{i:04}", 1.0 - max(loss, 0.0), 1.0 + min(loss, 0.0)) for i, loss in enumerate(losses)]


class Remembered(dict[str, str]):
    """A memory that is a dictionary."""

    def watch(self, key: str) -> str | None:
        return self.get(key)

    def keep_watch(self, key: str, body: str) -> None:
        self[key] = body


@lru_cache(maxsize=16)
def calibrated(seed: int, kind: str, graded: bool) -> tuple[tuple[Outcome, ...], Policy, Lock]:
    """A lock, and the rows of split certify that it was certified on."""
    random, policy, found = np.random.default_rng(seed), promising(kind), []
    for i in range(700):
        mean = -float(random.exponential(0.5)) - 0.001
        right = float(random.random() < np.exp(mean) * 0.995)
        cheap = 0.8 * right + 0.1 * random.random() if graded else right
        frontier = float(random.random() < 0.97) * (0.9 if graded else 1.0)
        found.append(row(f"q{i}", cheap, frontier, mean, split="fit" if i < 300 else "certify"))
    lock = calibrate(found, policy, now="2026-01-01")
    return tuple(one for one in found if one.split == "certify"), policy, lock


@pytest.mark.parametrize(
    ("seed", "kind", "graded"), [(0, "error", False), (2, "error", False), (0, "regret", False), (0, "regret", True)]
)
def test_on_its_own_rows_a_certificate_counts_what_it_says_and_is_never_broken(
    seed: int, kind: str, graded: bool
) -> None:
    certify, policy, lock = calibrated(seed, kind, graded)
    for memory in (None, Remembered()):
        found = check(certify, policy, lock, memory=memory)
        for one, certificate in zip(found.findings, lock.certificates, strict=True):
            counted = (one.rows, one.accepted, one.bad, one.better)
            assert counted == (certificate.judged, certificate.accepted, certificate.bad, certificate.better)
            assert one.answer == "holds" if memory is None else one.answer != "broken"
    assert lock.certificates


def test_the_rows_of_a_lock_are_known_again() -> None:
    certify, policy, lock = calibrated(0, "error", False)
    assert not check(certify, policy, lock).same_rows
    alone = replace(lock, outcomes=calibrate(certify, policy, base=lock, now="2026-01-01").outcomes)
    assert check(certify, policy, alone).same_rows


@pytest.mark.parametrize("kind", KINDS)
def test_at_exactly_the_target_false_alarms_are_within_their_level(kind: str) -> None:
    """400 draws of 50 rows at exactly the promised risk; three times the risk is noticed far oftener."""
    policy, random = promising(kind), np.random.default_rng(1)
    lock, better = lock_of(policy), 0.05 if kind == "regret" else 0.0

    def broken(risk: float, repetitions: int) -> float:
        chances, found = [risk + better, better, 1 - risk - 2 * better], 0
        for repetition in range(repetitions):
            losses = random.choice([1.0, -1.0, 0.0], p=chances, size=50)
            counts = Counts(n=50, bad=int((losses > 0).sum()), better=int((losses < 0).sum()), served=50)
            alarm = p_broken(counts, kind, LEVEL, ALARM) <= ALARM
            # How many more rows a regret would take is worked out slowly: every tenth goes all the way.
            if kind == "error" or repetition % 10 == 0:
                assert (check(rows(losses.tolist()), policy, lock).answer == "broken") == alarm
            found += alarm
        return found / repetitions

    assert broken(LEVEL, REPETITIONS) <= SLACK
    assert broken(3 * LEVEL, 40) >= 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_asking_again_and_again_raises_no_more_false_alarms(kind: str) -> None:
    """400 lives of ten checks each at the promised risk: neither gambler gets rich oftener than his level."""
    random = np.random.default_rng(2)
    alarms = proofs = 0
    for _ in range(REPETITIONS):
        watch, alarmed, proved = Watch(kind=kind, level=LEVEL), False, False  # type: ignore[arg-type]
        for look in range(10):
            better = 0.05 if kind == "regret" else 0.0
            losses = random.choice([1.0, -1.0, 0.0], p=[LEVEL + better, better, 1 - LEVEL - 2 * better], size=30)
            watch = watch.fed([f"{look}/{i}" for i in range(30)], losses)
            alarmed |= watch.log_e_broken >= log(1 / ALARM)
            proved |= watch.log_e_holds >= log(1 / ALARM)
        alarms, proofs = alarms + alarmed, proofs + proved
    assert alarms / REPETITIONS <= SLACK
    assert proofs / REPETITIONS <= SLACK


@pytest.mark.parametrize("kind", KINDS)
def test_a_watch_finds_what_is_broken_and_proves_what_holds(kind: str) -> None:
    random = np.random.default_rng(3)
    for rate, answer in ((0.3, "broken"), (0.01, "holds")):
        memory, policy = Remembered(), promising(kind)
        for look in range(4):
            losses = (random.random(150) < rate).astype(float).tolist()
            found = check(rows(losses, f"{look}-"), policy, lock_of(policy), memory=memory)
        assert found.answer == answer


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_add_no_evidence_and_new_ones_go_on(kind: str) -> None:
    policy, memory, at_once = promising(kind), Remembered(), Remembered()
    lock, first, more = lock_of(policy), rows([1.0, 0.0, 0.0, 1.0] * 9), rows([0.0, 1.0] * 8, "r")
    one = check(first, policy, lock, memory=memory).findings[0]
    again = check(first, policy, lock, memory=memory).findings[0]
    assert replace(again, new=one.new) == one
    assert (one.new, again.new) == (36, 0)
    check([*first[10:], *more], policy, lock, memory=memory)
    check([*first, *more], policy, lock, memory=at_once)
    ((key, gradually),) = memory.items()
    assert _alike(json.loads(gradually), json.loads(at_once[key]))


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other or (isinstance(one, float) and one == pytest.approx(other, rel=1e-9)))


def test_an_alarm_does_not_wear_off() -> None:
    policy, memory = promising("error"), Remembered()
    lock = lock_of(policy)
    assert check(rows([1.0, 0.0] * 30), policy, lock, memory=memory).answer == "broken"
    for look in range(3):
        assert check(rows([0.0] * 300, f"{look}-"), policy, lock, memory=memory).answer == "broken"


@given(st.integers(1, 400), st.data(), st.sampled_from(KINDS))
@settings(max_examples=40)
def test_more_bad_labels_never_turn_broken_into_holds(n: int, data: st.DataObject, kind: str) -> None:
    better = data.draw(st.integers(0, n if kind == "regret" else 0))
    bad = data.draw(st.integers(0, n - better))
    more = data.draw(st.integers(bad, n - better))
    was, now = (Counts(n=n, bad=count, better=better, served=n) for count in (bad, more))
    if p_broken(was, kind, LEVEL, ALARM) <= ALARM:
        assert p_holds(was, kind, LEVEL, ALARM) > ALARM
        assert p_holds(now, kind, LEVEL, ALARM) > ALARM
        assert kind == "regret" or p_broken(now, kind, LEVEL, ALARM) <= ALARM


def test_a_void_certificate_is_void_with_its_reason() -> None:
    policy = promising("error")
    lock = lock_of(policy)
    other = policy.model_copy(update={"tiers": [policy.tiers[0].model_copy(update={"model": "x"}), policy.last]})
    found = check(rows([0.0] * 50), other, lock)
    assert found.answer == found.findings[0].answer == "void"
    assert "tier:cheap is not what it was certified with" in found.findings[0].reason


def undecided(outcomes: list[Outcome], reason: str) -> Checked:
    policy = promising("error")
    found = check(outcomes, policy, lock_of(policy))
    assert found.answer == "undecided"
    assert reason in found.findings[0].reason
    assert found.findings[0].more_rows is None
    return found


def test_without_labels_or_accepted_rows_nothing_is_decided_and_it_is_said_why() -> None:
    undecided([], "no labelled row")
    undecided([row(f"q{i}", 1.0, mean=-3.0) for i in range(9)], "none of the 9 labelled rows")
    bare = [replace(one, models={"cheap": replace(one.models["cheap"], score=None)}) for one in rows([0.0] * 5)]
    assert undecided(bare, "no labelled row").left_out[0].rows == 5


def test_what_stands_for_nothing_is_left_out_by_name() -> None:
    """Rows that fitted the scorers, that a gate chose, or that ask the same again."""
    enforced = Decision(
        id="d", at=0.0, policy="p", mode="enforce", slice="s", served="accepted", served_by="cheap", why=""
    )
    outcomes = [
        *rows([0.0] * 3),
        *(replace(one, split="fit") for one in rows([1.0] * 4, "f")),
        *(replace(one, decision=enforced) for one in rows([1.0] * 5, "e")),
        *(replace(one, paraphrase_of="q0000") for one in rows([1.0] * 6, "t")),
    ]
    policy = promising("error")
    found = check(outcomes, policy, lock_of(policy))
    assert (found.findings[0].n, found.findings[0].bad) == (3, 0)
    assert sorted(gone.rows for gone in found.left_out) == [4, 5, 6]


def test_certificates_share_the_level_and_count_their_own_rows_only() -> None:
    policy = promising("error", slices={"a": {}, "b": {}}, stakes=[])
    gates = [gate_of(slice=name) for name in "ab"]
    certificates = [certificate_of(policy, gate, id=gate.slice, delta=0.025) for gate in gates]
    outcomes = [replace(one, slice="a") for one in rows([0.0] * 200)] + [
        replace(one, slice="b") for one in rows([1.0] * 20, "r")
    ]
    found = check(outcomes, policy, lock_of(policy, *gates, certificates=certificates))
    assert [(one.answer, one.n, one.bad) for one in found.findings] == [("holds", 200, 0), ("broken", 20, 20)]
    assert {one.alarm for one in found.findings} == {0.025}
    assert found.answer == "broken"


def test_a_promise_for_any_slice_does_not_count_what_a_slice_s_own_gate_serves() -> None:
    policy = promising("error", slices={"a": {}, "b": {}})
    pooled, own = gate_of(), gate_of(slice="b")
    certificates = [certificate_of(policy, gate, id=gate.slice) for gate in (pooled, own)]
    outcomes = [replace(one, slice="a") for one in rows([0.0] * 30)] + [
        replace(one, slice="b") for one in rows([1.0] * 20, "r")
    ]
    found = check(outcomes, policy, lock_of(policy, pooled, own, certificates=certificates))
    assert [(one.n, one.bad) for one in found.findings] == [(30, 0), (20, 20)]


def test_the_population_of_a_certificate_is_the_one_it_was_issued_for() -> None:
    for kind in KINDS:
        certify, policy, lock = calibrated(0, kind, False)
        (certificate,) = lock.certificates
        sets = sorted({scorer.signal_set for scorer in lock.scorers})
        (issued,) = divide(read_rows(certify, policy)[0], sets, policy).populations
        assert replace(population_of(certificate, lock, policy), name=issued.name) == issued


def test_so_many_more_rows_do_decide() -> None:
    policy = promising("error")
    for share, answer in ((20, "holds"), (7, "broken")):
        few = check(rows([float(i % share == 0) for i in range(60)]), policy, lock_of(policy))
        assert few.answer == "undecided"
        more = few.findings[0].more_rows
        assert more
        enough = check(rows([float(i % share == 0) for i in range(60 + 3 * more)]), policy, lock_of(policy))
        assert enough.answer == answer


@pytest.mark.parametrize("alarm", [0.0, 0.5, 1.0, -1.0, float("nan")])
def test_a_level_that_is_none_is_refused(alarm: float) -> None:
    policy = promising("error")
    with pytest.raises(ConfigError, match="between 0 and"):
        check([], policy, lock_of(policy), alarm=alarm)
    with pytest.raises(ConfigError, match="no certificate"):
        check([], policy, lock_of(policy, certificates=[]))


def test_a_store_of_an_older_release_gets_its_table(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.check()
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    db.execute("DROP TABLE watches")
    db.close()
    connect(tmp_path / "ledger.sqlite").close()
    with Ledger(tmp_path) as ledger:
        assert ledger.watch("k") is None
        ledger.keep_watch("k", "1")
        ledger.keep_watch("k", "2")
    with Ledger(tmp_path) as ledger:
        assert ledger.watch("k") == "2"


@pytest.fixture
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("CASCADE_POLICY", "CASCADE_STORE", "CASCADE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "mine.toml"
    file.write_text(FILE)
    save_lock(lock_path(file), lock_of(load_policy(file)))
    for name, share in (("good", 200), ("bad", 3), ("few", 1000)):
        write_outcomes(
            f"{name}.jsonl", rows([float(i % share == 0) for i in range(30 if name == "few" else 300)], name)
        )
    return file


@pytest.mark.parametrize(
    ("name", "status", "answer"), [("good", 0, "holds"), ("bad", 1, "broken"), ("few", 0, "undecided")]
)
def test_the_exit_status_means_the_answer(policy_file: Path, name: str, status: int, answer: str) -> None:
    done = CliRunner().invoke(app, ["check", "mine.toml", "--outcomes", f"{name}.jsonl", "--once", "--json"])
    assert done.exit_code == status, done.output
    found = json.loads(done.stdout)
    assert (found["answer"], found["test"], found["alarm"]) == (answer, "exact", 0.05)
    assert ("warning: undecided" in done.stderr) == (answer == "undecided")


def test_without_a_store_it_is_said_that_nothing_is_remembered(policy_file: Path) -> None:
    done = CliRunner().invoke(app, ["check", "mine.toml", "--outcomes", "good.jsonl"])
    assert done.exit_code == 0
    assert "Nothing will be remembered" in done.stderr
    assert "False-alarm level 0.05" in done.stdout
    assert not (policy_file.parent / ".cascade").exists()


def test_a_second_check_of_the_same_rows_counts_none_of_them(policy_file: Path) -> None:
    with Ledger(policy_file.parent / ".cascade") as ledger:
        ledger.check()
    counted = []
    for _ in range(2):
        done = CliRunner().invoke(app, ["check", "mine.toml", "--outcomes", "few.jsonl", "--json"])
        (one,) = json.loads(done.stdout)["findings"]
        counted.append((one["n"], one.get("new", 0)))
    assert counted == [(30, 30), (30, 0)]


def test_without_a_lock_there_is_nothing_to_check(policy_file: Path) -> None:
    lock_path(policy_file).unlink()
    done = CliRunner().invoke(app, ["check", "mine.toml", "--outcomes", "good.jsonl"])
    assert done.exit_code == 2
    assert "no promise to check" in done.stderr
