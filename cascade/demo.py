"""The demo: recorded or live answers of real local models through the real flow, on held-out questions.

Two small models stand in for a hosted pair and are priced as one; the table says so, beside the
CPU seconds that they really took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cascade.compare import Comparison, compare
from cascade.errors import ConfigError
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.ledger import read_outcomes
from cascade.lock import Lock, load_lock, lock_path
from cascade.policy import Policy, load_policy
from cascade.replay import Replayed, replay
from cascade.run import Rules
from cascade.shipped import shipped
from cascade.types import Outcome, Record

POLICY = "demo.toml"
RECORDING = "demo.jsonl.gz"
HELD_OUT = "test"


class Demo(Record, frozen=True, kw_only=True):
    """What a demo shows: the comparison, overall and per slice, and under which lock."""

    kind: str
    policy: Policy
    lock: Lock
    overall: Comparison
    slices: dict[str, Comparison]


def recorded() -> list[Outcome]:
    """All recorded questions with the answers of every tier."""
    return list(read_outcomes(shipped(RECORDING)))


def rules() -> tuple[Rules, Lock]:
    """Policy and lock of the demo."""
    file = shipped(POLICY)
    policy = load_policy(file)
    lock = load_lock(lock_path(file))
    if lock is None:
        raise ConfigError(f"{lock_path(file)} is missing; run: python -m calibration")
    return Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy)), lock


def replayed_demo(progress: Callable[[Iterable[Outcome]], Iterable[Outcome]] = iter) -> Demo:
    """The recorded demo: every held-out question through the flow, no model needed."""
    made, lock = rules()
    held_out = [outcome for outcome in recorded() if outcome.split == HELD_OUT]
    return summarise("replayed", list(replay(progress(held_out), made)), made.policy, lock)


def summarise(kind: str, rows: list[Replayed], policy: Policy, lock: Lock) -> Demo:
    """Compare overall and for each slice."""
    slices = sorted({row.outcome.slice for row in rows})
    return Demo(
        kind=kind,
        policy=policy,
        lock=lock,
        overall=compare(rows, policy),
        slices={name: compare([row for row in rows if row.outcome.slice == name], policy) for name in slices},
    )


