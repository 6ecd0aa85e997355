"""Which lock is in force: nothing is lost, whoever promotes at the same time and whenever a process dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.errors import ConfigError, PolicyError
from cascade.history import KEPT, History, bytes_of
from cascade.lock import Lock, encoded

CRASHING = """
import os, signal, sys
from pathlib import Path
from cascade.history import History, bytes_of

folder, step, body = Path(sys.argv[1]), sys.argv[2], sys.argv[3].encode()
CALLS = {"open", "write", "flush", "fsync", "close", "replace", "unlink", "mkdir", "flock", "read", "scandir"}

def crashed(at):
    '''A child that dies before its at-th call that touches the disk; whether it died.'''
    child = os.fork()
    if child == 0:
        history, left = History(folder / "p.lock.json"), [at]

        def hook(frame, event, argument):
            if event == "c_call" and argument.__name__ in CALLS:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(hook)
        if step == "promote":
            history.promote(body, bytes_of(history.path))
        else:
            history.rollback()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

lock = folder / "p.lock.json"
files = lambda: {file.read_bytes() for file in [lock, *(folder / "p.lock.d").glob("*.json")]}
begun, kept, known = lock.read_bytes(), files(), files() | {body}
at = 0
while crashed(at):
    now = lock.read_bytes()
    assert now in known, now
    assert kept <= files() <= known, (at, files())
    for file in (folder / "p.lock.d").glob("*"):
        file.unlink()
    for number, old in enumerate(kept - {begun}, 1):
        (folder / "p.lock.d" / f"{number:04}.lock.json").write_bytes(old)
    lock.write_bytes(begun)
    at += 1
print(at)
"""

CROWD = """
import sys
from pathlib import Path
from cascade.errors import ConfigError
from cascade.history import History, bytes_of
from cascade.lock import Lock, encoded

history, name = History(Path(sys.argv[1]) / "p.lock.json"), sys.argv[2]
for turn in range(4):
    body = encoded(Lock(policy=f"{name}{turn}"))
    while True:
        try:
            history.promote(body, bytes_of(history.path))
            break
        except ConfigError:
            pass
    history.rollback()
"""


def named(name: str) -> bytes:
    return encoded(Lock(policy=name))


@pytest.fixture
def history(tmp_path: Path) -> History:
    (tmp_path / "p.lock.json").write_bytes(named("first"))
    return History(tmp_path / "p.lock.json")


def promoted(history: History, *names: str) -> None:
    for name in names:
        history.promote(named(name), bytes_of(history.path))


def kept(history: History) -> list[bytes | None]:
    return [bytes_of(history.file(number)) for number in history.numbers()]


def test_promote_then_rollback_gives_the_same_bytes(history: History) -> None:
    """Also of a lock that a person has formatted otherwise; and a second rollback undoes the first."""
    history.path.write_bytes(before := b'{"policy":"by hand"}\n')
    promoted(history, "second")
    assert bytes_of(history.path) == named("second")
    history.rollback()
    assert bytes_of(history.path) == before
    history.rollback()
    assert bytes_of(history.path) == named("second")
    assert kept(history) == [before]


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=12))
@settings(max_examples=25)  # each step waits for the disk
def test_whatever_is_promoted_and_rolled_back_no_lock_is_lost(steps: list[int | None]) -> None:
    """Until the history is full, in force and history together hold each lock exactly once."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        history, known = History(Path(folder) / "p.lock.json"), [named("first")]
        history.path.write_bytes(known[0])
        for at, step in enumerate(steps):
            numbers = history.numbers()
            if step is None or not numbers:
                promoted(history, f"lock {at}")
                known.append(named(f"lock {at}"))
            else:
                history.rollback(numbers[step % len(numbers)])
            there = [bytes_of(history.path), *kept(history)]
            assert len(set(there)) == len(there) == min(len(known), KEPT + 1)
            assert set(there) <= set(known)


def test_the_oldest_goes_when_the_history_is_full(history: History) -> None:
    promoted(history, *(str(i) for i in range(KEPT + 3)))
    assert kept(history) == [named(str(i)) for i in range(2, KEPT + 2)]


def test_an_older_one_is_found_by_its_number(history: History) -> None:
    promoted(history, "second", "third")
    assert history.rollback(to=1) == 1
    assert bytes_of(history.path) == named("first")
    with pytest.raises(ConfigError, match="there are: 2, 3"):
        history.rollback(to=1)


def test_what_cannot_be_put_in_force_changes_nothing(history: History) -> None:
    with pytest.raises(ConfigError, match="no lock before"):
        history.rollback()
    with pytest.raises(ConfigError, match="weighed"):
        history.promote(named("late"), named("another"))
    with pytest.raises(ConfigError, match="already"):
        history.promote(named("first"), named("first"))
    promoted(history, "second")
    history.file(1).write_bytes(b"{")
    with pytest.raises(PolicyError, match="not a lock"):
        history.rollback()
    assert bytes_of(history.path) == named("second")


@pytest.mark.parametrize("step", ["promote", "rollback"])
def test_a_process_that_dies_at_any_call_leaves_the_old_lock_or_the_new_one(history: History, step: str) -> None:
    promoted(history, "second")
    arguments = [str(history.path.parent), step, named("third").decode()]
    done = subprocess.run(
        [sys.executable, "-c", CRASHING, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_crowd_of_processes_loses_no_lock(history: History) -> None:
    command = [sys.executable, "-c", CROWD, str(history.path.parent)]
    crowd = [subprocess.Popen([*command, name]) for name in "abcd"]
    assert [process.wait(30) for process in crowd] == [0] * 4
    there = {bytes_of(history.path), *kept(history)}
    assert there == {named("first"), *(named(f"{name}{turn}") for name in "abcd" for turn in range(4))}
