"""Laws of the cache on a hostile, broken or shared disk: a fault is a miss, and nothing is executed."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest

from cascade.cache.disk import RawDisk, RefusedError
from tests.caching import Clock, Fixed, answer, ask, build, text_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # children are forked here


def live_pickle(proof: Path) -> bytes:
    """Bytes that make the file ``proof`` when they are unpickled."""
    return b"cos\nsystem\n(S'touch %s'\ntR." % str(proof).encode()


def plant(folder: Path, **columns: Any) -> None:
    """Insert a row behind the cache's back; an ordinary one but for ``columns``."""
    row = {"raw": 1, "mode": 1, "store_time": time.time(), "access_time": time.time(), **columns}
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    with closing(sqlite3.connect(folder / "answers" / "cache.db", isolation_level=None)) as connection:
        connection.execute(f"INSERT INTO Cache ({names}) VALUES ({marks})", list(row.values()))


def rows_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "answers" / "cache.db")) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM Cache").fetchone()[0])


def test_a_planted_pickled_value_is_never_executed_nor_served_and_is_removed(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    cache = build(tmp_path)
    plant(tmp_path, key=cache.key(ask()), mode=4, value=live_pickle(proof))
    assert cache.lookup(ask()) is None
    assert not proof.exists()
    assert rows_of(tmp_path) == 0
    assert cache.faults == {"refused": 1}
    cache.keep(ask(), answer())
    assert cache.lookup(ask()) is not None


def test_the_plant_is_live_where_pickles_are_read(tmp_path: Path) -> None:
    """Else the test above would hold for any disk."""
    proof = tmp_path / "executed"
    cache = build(tmp_path)
    plant(tmp_path, key=cache.key(ask()), mode=4, value=live_pickle(proof))
    with diskcache.Cache(str(tmp_path / "answers")) as careless:
        careless.get(cache.key(ask()))
    assert proof.exists()


def test_a_planted_pickled_key_is_never_executed_and_is_removed_at_the_next_start(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    cache = build(tmp_path)
    plant(tmp_path, key=live_pickle(proof), raw=0, value=b"")
    plant(tmp_path, key=live_pickle(proof), mode=4, value=live_pickle(proof))
    assert cache.lookup(ask()) is None
    assert any("2 rows that this package did not write" in line for line in cache.check())
    cache.close()
    again = build(tmp_path, embedder=Fixed(), semantic_threshold=0.0)  # reads every row
    again.keep(ask(), answer())
    assert again.check() == []
    assert rows_of(tmp_path) == 1
    assert not proof.exists()


@pytest.mark.parametrize("mode", [2, 3, 4], ids=["binary", "text", "pickle"])
def test_a_planted_file_name_is_neither_read_nor_removed(tmp_path: Path, mode: int) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"not yours")
    cache = build(tmp_path)
    plant(tmp_path, key=cache.key(ask()), mode=mode, filename="../outside")
    assert cache.lookup(ask()) is None
    assert outside.read_bytes() == b"not yours"
    assert rows_of(tmp_path) == 0


@pytest.mark.parametrize("value", [None, {"a": 1}, (1,), 1.0, "text", object()], ids=lambda v: type(v).__name__)
def test_the_disk_refuses_whatever_would_have_to_be_pickled(tmp_path: Path, value: Any) -> None:
    raw = RawDisk(str(tmp_path))
    with pytest.raises(RefusedError):
        raw.store(value, read=False)
    if value != "text":
        with pytest.raises(RefusedError):
            raw.put(value)


def test_the_disk_reads_no_pickle_whoever_asks(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    raw = RawDisk(str(tmp_path))
    with pytest.raises(RefusedError):
        raw.get(live_pickle(proof), False)
    with pytest.raises(RefusedError):
        raw.get(live_pickle(proof), True)
    for mode in range(5):
        with pytest.raises(RefusedError):
            raw.fetch(mode, "value", None, False)
    with pytest.raises(RefusedError):
        raw.fetch(4, None, live_pickle(proof), False)
    assert not proof.exists()


def test_a_planted_setting_does_not_reach_the_database_object(tmp_path: Path) -> None:
    build(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "answers" / "cache.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO Settings VALUES ('get', 'planted')")
    cache = build(tmp_path)
    cache.keep(ask(), answer())
    cache.close()
    assert cache.lookup(ask()) is not None
    assert not cache.faults


@pytest.mark.parametrize("row", [b"", b"garbage", b"\x80", b"\x93\x01\x02\x03"], ids=repr)
def test_a_row_that_does_not_decode_is_a_miss_and_is_removed(tmp_path: Path, row: bytes) -> None:
    cache = build(tmp_path)
    plant(tmp_path, key=cache.key(ask()), value=row)
    assert cache.check() == ["disk: 1 rows do not decode"]
    assert cache.lookup(ask()) is None
    assert cache.faults == {"decode": 1}
    assert rows_of(tmp_path) == 0


def scribble_all(database: Path) -> None:
    database.write_bytes(os.urandom(20_000))


def scribble_pages(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    database.write_bytes(content)


def scribble_tail(database: Path) -> None:
    content = bytearray(database.read_bytes())
    half = len(content) // 2
    content[half:] = os.urandom(len(content) - half)
    database.write_bytes(content)


def truncate(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:5_000])


@pytest.mark.parametrize("spoil", [scribble_all, scribble_pages, scribble_tail, truncate])
@pytest.mark.parametrize("is_open", [True, False], ids=["while open", "while closed"])
def test_garbage_in_the_file_is_a_miss_and_the_cache_works_again(
    tmp_path: Path, spoil: Callable[[Path], None], is_open: bool
) -> None:
    database = tmp_path / "answers" / "cache.db"
    first = build(tmp_path)
    for i in range(50):
        first.keep(ask(str(i)), answer("x" * 500))
    first.close()
    cache = build(tmp_path) if is_open else first
    spoil(database)
    cache = cache if is_open else build(tmp_path)
    for i in range(50):
        assert text_of(cache.lookup(ask(str(i)))) in (None, "x" * 500)
    cache.keep(ask(), answer())  # may be the one that finds the garbage
    for i in range(50):
        cache.keep(ask(f"new {i}"), answer("y" * 500))
    later = build(tmp_path)
    assert all(text_of(later.lookup(ask(f"new {i}"))) == "y" * 500 for i in range(50))
    assert later.check() == []


def in_child(work: Callable[[], None]) -> None:
    """Run ``work`` in a forked child, and fail where it failed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def works_from_its_front(folder: Path) -> None:
    cache = build(folder)
    assert cache.lookup(ask()) is None
    cache.keep(ask(), answer())
    assert text_of(cache.lookup(ask())) == "On its way."
    assert cache.faults["open"] > 0
    assert cache.check() == [f"{folder / 'answers'}: cannot be opened"]
    cache.close()


@pytest.mark.parametrize("has_database", [False, True])
def test_a_folder_that_is_read_only_is_counted_and_memory_serves(has_database: bool) -> None:
    folder = Path(tempfile.mkdtemp())

    def work() -> None:
        if os.geteuid() == 0:  # to root, nothing is read-only
            os.setgid(65534)
            os.setuid(65534)
        works_from_its_front(folder)

    try:
        with tempfile.TemporaryDirectory() as other:
            build(folder if has_database else Path(other)).close()  # loads the modules as well
        if has_database:
            (folder / "answers" / "cache.db").chmod(0o444)
            (folder / "answers").chmod(0o555)
        folder.chmod(0o555)
        in_child(work)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_file_where_the_folder_should_be_is_counted_and_memory_serves(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("in the way")
    works_from_its_front(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in which 256 KiB fit: a file system of that size, or else a limit on files."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        yield tmp_path
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, hard))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_counted_and_memory_serves(small_disk: Path) -> None:
    cache = build(small_disk)
    for i in range(200):
        cache.keep(ask(str(i)), answer("x" * 3000))
        assert cache.lookup(ask(str(i))) is not None
    assert cache.faults["write"] > 0
    cache.close()
    assert all(text_of(cache.lookup(ask(str(i)))) in (None, "x" * 3000) for i in range(200))
    cache.close()  # before the disk goes


def test_a_lock_that_another_holds_delays_nothing_for_long(tmp_path: Path) -> None:
    clock = Clock()
    cache = build(tmp_path, clock=clock)
    cache.keep(ask(), answer())
    with closing(sqlite3.connect(tmp_path / "answers" / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        cache.keep(ask("while locked"), answer())
        newcomer = build(tmp_path, clock=clock)
        assert newcomer.lookup(ask()) is None
        assert time.monotonic() - start < 5.0
        assert cache.faults == {"write": 1}
        assert newcomer.faults == {"open": 1}
        assert cache.lookup(ask("while locked")) is not None
    clock.now += 60.0
    assert newcomer.lookup(ask()) is not None


def test_the_folder_is_private_and_what_lies_around_it_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    build(tmp_path)
    assert (tmp_path / "answers").stat().st_mode & 0o777 == 0o700
    assert tmp_path.stat().st_mode & 0o777 == 0o755


# Several at once


def test_processes_see_each_others_inserts(tmp_path: Path) -> None:
    cache = build(tmp_path)  # shared with the children by the fork
    cache.keep(ask("before"), answer())

    def work(child: int) -> Callable[[], None]:
        def fill() -> None:
            assert cache.lookup(ask("before")) is not None
            for i in range(25):
                cache.keep(ask(f"{child} {i}"), answer(f"{child} {i}"))
            assert not cache.faults

        return fill

    threads = [threading.Thread(target=in_child, args=(work(child),)) for child in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in range(4):
        for i in range(25):
            assert text_of(cache.lookup(ask(f"{child} {i}"))) == f"{child} {i}"
    assert cache.check() == []


def test_threads_share_a_cache(place: Path | None) -> None:
    cache = build(place, size_limit=2**17)
    wrong: list[str | None] = []

    def work(thread: int) -> None:
        for i in range(60):
            text = str((thread * 7 + i) % 40)
            cache.keep(ask(text), answer(text * 50))
            wrong.extend(found for found in [text_of(cache.lookup(ask(text)))] if found not in (None, text * 50))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not cache.faults
    assert cache.check() == []


def test_a_child_forked_while_a_lock_was_held_does_not_wait_for_it(place: Path | None) -> None:
    cache = build(place)
    with cache._lock:
        in_child(lambda: cache.keep(ask(), answer()))


def test_importing_the_cache_loads_neither_numpy_nor_diskcache() -> None:
    program = "import sys, cascade.cache; sys.exit(bool({'numpy', 'diskcache', 'sqlite3'} & set(sys.modules)))"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
