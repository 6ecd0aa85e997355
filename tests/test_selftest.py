"""The self-test passes a sound engine and names a broken one: one that cannot fail would be worthless."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from cascade.cli import app
from cascade.learning import path as paths
from cascade.learning.calibrate import calibrate
from cascade.lock import Lock, load_lock, save_lock
from cascade.policy import Policy
from cascade.policyfile import load_policy
from cascade.selftest import Engine, Finding, selftest
from cascade.shipped import shipped
from cascade.types import ModelOutcome, Outcome
from tests.building import policy_of

RUNS = 40
KINDS = ["error", "regret"]
SHARE = "gates serve as much as their certificates"
TESTS = "certificates pass their own tests"
STAND = "gates stand where their certificates say"


def target(kind: str) -> Policy:
    return policy_of(target={f"max_{kind}": 0.05 if kind == "error" else 0.02})


def broken(
    policy: Policy, lock: Lock | None, runs: int = RUNS, only: list[str] | None = None, **parts: Any
) -> set[str]:
    """Names of the scenarios in which something broke that may not."""
    found = list(selftest(policy, lock, repetitions=runs, engine=Engine(**parts), only=only))
    assert found
    return {finding.scenario for finding in found if not finding.ok}


def answered(correct: bool, mean: float) -> ModelOutcome:
    return ModelOutcome(answer="it is four", finish_reason="stop", correct=int(correct), logprobs=[mean] * 5)


@lru_cache(maxsize=8)
def calibrated(seed: int = 0) -> tuple[Policy, Lock]:
    """A lock as calibration writes it, for a tier that is the likelier wrong the less sure it was."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(900):
        mean = -float(random.exponential(0.5)) - 0.001
        cheap = answered(bool(random.random() < np.exp(mean) * 0.995), mean)
        models = {"cheap": cheap, "frontier": answered(True, -0.1)}
        split = ("fit", "certify")[i % 2]
        rows.append(Outcome(id=f"q{i}", slice="s", query=f"question {i}?", split=split, models=models))
    policy = policy_of(target={"max_error": 0.2}, preroute={"enabled": False})
    return policy, calibrate(rows, policy, now="2026-01-01T00:00:00+00:00")


@lru_cache(maxsize=1)
def committed() -> tuple[Policy, Lock]:
    """The demo's: two cheap tiers, scored by what they would lose against the last one."""
    lock = load_lock(shipped("demo.lock.json"))
    assert lock is not None
    return load_policy(shipped("demo.toml")), lock


LOCKS: dict[str, Callable[[], tuple[Policy, Lock]]] = {
    "calibrated 0": calibrated,
    "calibrated 1": lambda: calibrated(1),
    "calibrated 2": lambda: calibrated(2),
    "the demo's": committed,
}


@lru_cache(maxsize=2)
def sound(kind: str) -> tuple[Finding, ...]:
    return tuple(selftest(target(kind), None, repetitions=RUNS))


@pytest.mark.parametrize("kind", KINDS)
def test_the_installed_engine_keeps_its_promises_without_a_lock(kind: str) -> None:
    assert [finding for finding in sound(kind) if not finding.ok] == []
    made = {finding.scenario: finding.certified for finding in sound(kind)}
    assert (made["honest judge"] or 0) > 0.3
    assert (made["ties"] or 0) > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_a_lenient_judge_is_shown_with_its_price_and_fails_nothing(kind: str) -> None:
    (found,) = (finding for finding in sound(kind) if finding.demand == "cannot be promised")
    assert found.ok
    assert found.broke > found.may / 2
    assert "people" in found.said


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_as_calibration_writes_it_passes(lock: str) -> None:
    policy, made = LOCKS[lock]()
    assert made.certificates
    assert broken(policy, made, runs=20) == set()


def beyond(line: Any, scores: Any, quality: Any, kind: str) -> list[paths.Counts]:
    """Counts above each threshold instead of from it on: the tied ones at it are served and not counted."""
    return paths.sweep(np.nextafter(line, np.inf), scores, quality, kind)


def forgiving(line: Any, scores: Any, quality: Any, kind: str) -> list[paths.Counts]:
    """Half of the bad ones are lost on the way."""
    return [replace(counts, bad=counts.bad // 2) for counts in paths.sweep(line, scores, quality, kind)]


def serving_all(line: Any, scores: Any, quality: Any, kind: str) -> list[paths.Counts]:
    """Drafts without a score are taken for the surest."""
    return paths.sweep(line, np.where(np.isfinite(scores), scores, 1e9), quality, kind)


def test_a_gate_that_counts_beyond_its_threshold_is_noticed_at_ties() -> None:
    assert broken(target("error"), None, sweep=beyond, only=["ties"]) == {"ties"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_count_that_loses_bad_answers_is_noticed(kind: str) -> None:
    names = ["honest judge", "biased labels"]
    assert broken(target(kind), None, sweep=forgiving, only=names) == set(names)


def test_serving_drafts_without_a_score_is_noticed() -> None:
    assert broken(target("error"), None, sweep=serving_all, only=["missing signals"])


def asleep(bad: Any, level: float, delta: float) -> list[int | None]:
    return [None] * len(bad)


def rolling(bad: Any, level: float, delta: float) -> list[int | None]:
    """What monitors commonly do: an alarm whenever the mean of the last 200 is above the level."""
    sums = np.cumsum(bad, axis=1)
    means = (sums[:, 200:] - sums[:, :-200]) / 200
    return [int(row.argmax()) + 200 if row.any() else None for row in means > level]


@pytest.mark.parametrize(("alarms", "name"), [(asleep, "drift"), (rolling, "no drift")], ids=["asleep", "cries wolf"])
def test_a_monitor_that_sleeps_and_one_that_cries_wolf_are_noticed(alarms: Any, name: str) -> None:
    assert broken(target("error"), None, alarms=alarms, only=["drift", "no drift"]) == {name}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_threshold_lowered_by_hand_is_noticed(lock: str) -> None:
    policy, made = LOCKS[lock]()
    lowered = [replace(gate, threshold=-3.0) for gate in made.gates]
    assert broken(policy, replace(made, gates=lowered), runs=1) >= {SHARE}


def test_gates_of_one_promise_with_different_thresholds_are_noticed() -> None:
    policy, made = committed()
    first, *others = made.gates
    moved = replace(first, threshold=(first.threshold or 0.0) - 0.01)
    assert broken(policy, replace(made, gates=[moved, *others]), runs=1) >= {STAND}


@pytest.mark.parametrize(
    "fields",
    [{"bad": 120}, {"level": 0.001}, {"accepted": 100_000}],
    ids=["more bad ones", "a stricter level", "more than were judged"],
)
def test_a_certificate_edited_by_hand_is_noticed(fields: dict[str, Any]) -> None:
    policy, made = calibrated()
    edited = replace(made, certificates=[replace(made.certificates[0], **fields)])
    assert broken(policy, edited, runs=1) >= {TESTS}


@pytest.mark.parametrize("threshold", [float("-inf"), float("nan"), None])
def test_a_gate_without_a_finite_threshold_under_a_certificate_is_noticed(threshold: float | None) -> None:
    policy, made = calibrated()
    edited = replace(made, gates=[replace(made.gates[0], threshold=threshold)])
    assert broken(policy, edited, runs=1) >= {STAND}


POLICY = """
name = "p"
[target]
max_error = 0.05
[[tiers]]
name = "cheap"
model = "cheap-model"
[[tiers]]
name = "frontier"
model = "frontier-model"
"""


def test_the_command_prints_its_findings_and_exits_1_only_when_one_is_broken(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(POLICY)
    call = ["selftest", "--policy", str(tmp_path / "p.toml"), "--repetitions", "20", "--json"]
    done = CliRunner().invoke(app, call)
    found = json.loads(done.stdout)
    assert (done.exit_code, found["ok"]) == (0, True)
    assert all(set(one) == set(Finding.__struct_fields__) for one in found["findings"])
    assert CliRunner().invoke(app, call).stdout == done.stdout
    _, lock = calibrated()
    save_lock(tmp_path / "p.lock.json", replace(lock, certificates=[replace(lock.certificates[0], bad=120)]))
    done = CliRunner().invoke(app, call[:-1])
    assert done.exit_code == 1
    assert "BROKEN" in done.stdout
