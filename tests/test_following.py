"""A running process follows its lock file, and no request notices but by its certificate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from cascade import following
from cascade.engine import Cascade
from cascade.history import History, bytes_of
from cascade.lock import Lock, lock_path, save_lock
from cascade.policyfile import load_policy
from cascade.run import Rules
from cascade.testing import FakeModels, draft
from tests.building import certificate_of, gate_of, lock_of

POLICY = """
[target]
max_error = 0.05
[cache]
enabled = false
[preroute]
enabled = false
[[tiers]]
name = "cheap"
model = "cheap-model"
price = { input = 1.0, output = 2.0 }
[[tiers]]
name = "frontier"
model = "frontier-model"
price = { input = 10.0, output = 20.0 }
"""
ASK = [{"role": "user", "content": "what is two and two?"}]


def locks(file: Path) -> tuple[Lock, Lock]:
    """Two locks that serve alike and differ in the name of their certificate."""
    policy = load_policy(file)
    first = lock_of(policy)
    other = replace(first, certificates=[certificate_of(policy, gate_of(), id="c2")])
    return first, other


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(POLICY)
    save_lock(lock_path(file), locks(file)[0])
    return file


@pytest.fixture
def load(file: Path) -> Iterator[Callable[[], Cascade]]:
    opened: list[Cascade] = []

    def made() -> Cascade:
        models = FakeModels(lambda call: draft(call, "it is four", logprobs=[-0.1] * 3))
        opened.append(Cascade.load(file, transport=models, store=file.parent / "store"))
        return opened[-1]

    yield made
    for cascade in opened:
        cascade.close()


def certificate(cascade: Cascade) -> str | None:
    found: str | None = cascade.completion(ASK).cascade.certificate
    return found


def soon(found: Callable[[], bool]) -> bool:
    """Does it become true within three looks?"""
    end = time.monotonic() + 3 * following.EVERY
    while time.monotonic() < end:
        if found():
            return True
        time.sleep(0.02)
    return False


def test_another_lock_is_in_force_within_a_second_and_a_run_keeps_its_own(
    file: Path, load: Callable[[], Cascade]
) -> None:
    cascade, (_, other) = load(), locks(file)
    assert certificate(cascade) == "c1"
    begun = cascade.run(cascade.request(ASK))
    save_lock(lock_path(file), other)
    assert soon(lambda: certificate(cascade) == "c2")
    assert begun.rules is not cascade.rules
    assert begun.rules.gates.find("cheap", "", "logprobs+text").certificate.id == "c1"  # type: ignore[union-attr]


def test_a_broken_lock_changes_nothing_and_is_said_once(
    file: Path, load: Callable[[], Cascade], caplog: pytest.LogCaptureFixture
) -> None:
    cascade = load()
    lock_path(file).write_text("{")
    with caplog.at_level(logging.WARNING, logger="cascade"):
        assert soon(lambda: certificate(cascade) == "c1" and bool(cascade.parts.faults))
        time.sleep(1.2 * following.EVERY)
        assert certificate(cascade) == "c1"
    assert dict(cascade.parts.faults) == {"lock: PolicyError": 1}
    assert sum("refused" in line for line in caplog.messages) == 1


def test_a_lock_that_is_gone_closes_every_gate(file: Path, load: Callable[[], Cascade]) -> None:
    cascade = load()
    lock_path(file).unlink()
    assert soon(lambda: cascade.completion(ASK).cascade.served_by == "frontier")
    assert certificate(cascade) is None


def test_without_a_file_of_its_own_a_cascade_follows_none(file: Path) -> None:
    looked = []

    def make(lock: Lock | None) -> Rules:
        looked.append(lock)
        return Rules(policy=load_policy(file), gates=None, ladder=None)  # type: ignore[arg-type]

    from collections import Counter

    still = following.Following(make, None, Counter())
    time.sleep(1.1 * following.EVERY)
    assert still.rules is still.rules
    assert looked == [None]


def test_under_load_every_decision_stands_under_one_of_the_locks(file: Path, load: Callable[[], Cascade]) -> None:
    """Promotions and rollbacks while eight threads ask: no request fails, no other certificate appears."""
    cascade, (_, other) = load(), locks(file)
    history, done = History(lock_path(file)), time.monotonic() + 3.2
    body = msgspec.json.encode(other)

    def ask() -> set[str | None]:
        seen: set[str | None] = set()
        while time.monotonic() < done:
            seen.add(certificate(cascade))
        return seen

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        history.promote(body, bytes_of(lock_path(file)))
        time.sleep(1.5)
        history.rollback()
        seen = set().union(*(found.result() for found in asked))
    assert seen == {"c1", "c2"}
    assert not cascade.parts.faults
