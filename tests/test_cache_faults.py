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

import pytest

from benchmarks.cache import kill
from cascade.cache import Cache
from tests.caching import Fixed, answer, ask, build, text_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # children are forked here


def tamper(folder: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    """Change the database behind the cache's back."""
    with closing(sqlite3.connect(folder / "answers" / "cache.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement, values)


def rows_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "answers" / "cache.db")) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0])


LIVE_PICKLE = b"cos\nsystem\n(S'touch %s'\ntR."


@pytest.mark.parametrize("row", [b"", b"garbage", b"\x80", b"\x93\x01\x02\x03", LIVE_PICKLE], ids=repr)
def test_a_row_that_does_not_decode_is_never_executed_nor_served_and_is_removed(tmp_path: Path, row: bytes) -> None:
    proof = tmp_path / "executed"
    build(tmp_path).keep(ask(), answer())
    row = row.replace(b"%s", str(proof).encode())
    tamper(tmp_path, "UPDATE answers SET row = ?", values=(row,))
    cache = build(tmp_path)
    assert any("1 rows do not decode" in line for line in cache.check())
    assert cache.lookup(ask()) is None
    assert not proof.exists()
    assert cache.faults == {"decode": 1}
    assert rows_of(tmp_path) == 0
    cache.keep(ask(), answer())
    assert cache.lookup(ask()) is not None
    assert cache.check() == []


def test_a_garbage_row_is_not_served_by_similarity_either_but_the_next_nearest_is(tmp_path: Path) -> None:
    embedder = Fixed(far=(0.6, 0.8))
    first = build(tmp_path, embedder=embedder)
    first.keep(ask("near"), answer("near"))
    first.keep(ask("far"), answer("far"))
    tamper(tmp_path, "UPDATE answers SET row = ? WHERE id = (SELECT MIN(id) FROM answers)", values=(b"garbage",))
    cache = build(tmp_path, embedder=embedder)
    assert text_of(cache.lookup(ask("where is it"))) == "far"
    assert cache.faults == {"decode": 1}
    assert rows_of(tmp_path) == 1


@pytest.mark.parametrize("vector", [b"", b"xyz", bytes(4), bytes(12)], ids=len)
def test_a_vector_of_another_length_is_refused(tmp_path: Path, vector: bytes) -> None:
    build(tmp_path, embedder=Fixed()).keep(ask("a"), answer())
    tamper(tmp_path, "UPDATE places SET vector = ?", values=(vector,))
    cache = build(tmp_path, embedder=Fixed())
    assert cache.lookup(ask("b")) is None
    assert text_of(cache.lookup(ask("a"))) == "On its way."
    assert cache.faults == {"refused": 1}
    assert any("1 vectors have not the embedder's length" in line for line in cache.check())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER planted AFTER INSERT ON answers BEGIN UPDATE answers SET row = X'00'; END",
        "CREATE VIEW planted AS SELECT * FROM answers",
        "CREATE TABLE planted (x)",
        "ALTER TABLE places RENAME TO elsewhere",
        "DROP INDEX by_rank",
        "DROP TABLE tags",
    ],
)
def test_a_database_of_another_schema_is_discarded_as_garbage_is(tmp_path: Path, statement: str) -> None:
    cache = build(tmp_path)
    cache.keep(ask(), answer())
    cache.close()
    tamper(tmp_path, statement)
    again = build(tmp_path)
    assert again.lookup(ask()) is None
    again.keep(ask(), answer())
    again.close()
    assert again.lookup(ask()) is not None
    assert again.check() == []
    assert again.faults == {"discarded": 1}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM answers", "1 places without an entry"),
        ("UPDATE answers SET labels = 0", "3 tags without an entry"),
        ("UPDATE answers SET size = 1", "1 entries whose size is miscounted"),
        ("DELETE FROM places", "entries of the index of this process are not in the store"),
        ("UPDATE places SET id = 99", "entries are missing from the index"),
        ("UPDATE answers SET id = 99", "1 entries with an id of the future"),
    ],
)
def test_check_says_what_does_not_fit_together(tmp_path: Path, statement: str, said: str) -> None:
    cache = build(tmp_path, embedder=Fixed())
    cache.keep(ask(), answer())
    assert cache.check() == []
    tamper(tmp_path, statement)
    assert any(said in line for line in cache.check())


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
    cache = build(tmp_path)
    cache.keep(ask(), answer())
    with closing(sqlite3.connect(tmp_path / "answers" / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        cache.keep(ask("while locked"), answer())
        newcomer = build(tmp_path)
        assert newcomer.lookup(ask()) is not None  # readers never wait
        assert time.monotonic() - start < 1.0
        assert cache.faults == {"write": 1}
        assert cache.lookup(ask("while locked")) is not None
    cache.keep(ask("later"), answer())
    assert newcomer.lookup(ask("later")) is not None


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


def test_two_processes_see_each_others_inserts_replacements_and_removals_within_a_second(tmp_path: Path) -> None:
    """By identity and by similarity, and past the front of the one that looks."""
    cache = build(tmp_path, embedder=Fixed(other=(0.6, 0.8), asked=(0.8, 0.6)))
    cache.keep(ask("other"), answer("other"))

    def sees(text: str | None, question: str = "asked") -> bool:
        until = time.monotonic() + 1.0
        while text_of(cache.lookup(ask(question))) != text and time.monotonic() < until:
            time.sleep(0.02)
        return text_of(cache.lookup(ask(question))) == text

    def elsewhere(work: Callable[[Cache], object]) -> None:
        program = lambda: work(build(tmp_path, embedder=Fixed(near=(1.0, 0.0))))  # noqa: E731
        in_child(program)

    assert sees("other")
    elsewhere(lambda there: there.keep(ask("asked"), answer("first")))
    assert sees("first")
    elsewhere(lambda there: there.keep(ask("asked"), answer("second")))
    assert sees("second")
    elsewhere(lambda there: there.retract(there.key(ask("asked"))))
    assert sees("other")
    elsewhere(lambda there: there.keep(ask("near"), answer("near")))
    assert sees("near", "where is it")
    elsewhere(lambda there: there.invalidate("model=m"))
    assert sees(None, "unheard of")
    assert sees(None, "near")
    assert cache.check() == []
    assert not cache.faults


def test_who_fell_behind_the_log_of_changes_begins_anew(tmp_path: Path) -> None:
    cache = build(tmp_path, embedder=Fixed(), size_limit=2**20)
    cache.keep(ask("a"), answer("old"))
    assert text_of(cache.lookup(ask("where is it"))) == "old"

    def work() -> None:
        there = build(tmp_path, embedder=Fixed(), size_limit=2**20)
        there.retract(there.key(ask("a")))
        for i in range(300):
            there.keep(ask(f"where is {i % 3}"), answer(str(i)))

    in_child(work)
    time.sleep(0.3)
    assert text_of(cache.lookup(ask("a"))) in ("297", "298", "299")
    assert cache.lookup(ask("a", tenant="b")) is None
    assert cache.check() == []


def test_a_file_that_another_process_has_begun_anew_is_followed(tmp_path: Path) -> None:
    cache = build(tmp_path, embedder=Fixed())
    cache.keep(ask("a"), answer("lost"))
    for file in (tmp_path / "answers").iterdir():
        file.unlink()
    in_child(lambda: build(tmp_path, embedder=Fixed()).keep(ask("b"), answer("found")))
    time.sleep(0.3)
    assert text_of(cache.lookup(ask("where is it"))) == "found"
    assert text_of(cache.lookup(ask("a"))) == "found"
    assert cache.check() == []


def test_writers_killed_at_random_points_lose_nothing_that_was_acknowledged() -> None:
    """Ten rounds of three processes; two hundred are in ``benchmarks/results/cache_kill.md``."""
    found = kill.measure(10, lambda line: None, seed=int(time.time()))["found"]
    assert found["done"] > 100
    assert (found["unsound"], found["lost"], found["back"], found["faults"]) == (0, 0, 0, 0)


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
    with cache._shared.lock:
        in_child(lambda: cache.keep(ask(), answer()))


def test_in_memory_a_child_begins_with_an_empty_cache() -> None:
    cache = build(embedder=Fixed())
    cache.keep(ask("a"), answer())

    def work() -> None:
        assert cache.lookup(ask("a")) is None
        assert cache.lookup(ask("b")) is None
        cache.keep(ask("a"), answer("the child's"))
        assert text_of(cache.lookup(ask("b"))) == "the child's"
        assert cache.check() == []
        assert not cache.faults

    in_child(work)
    assert text_of(cache.lookup(ask("b"))) == "On its way."


def test_importing_the_cache_loads_neither_numpy_nor_sqlite() -> None:
    program = "import sys, cascade.cache; sys.exit(bool({'numpy', 'sqlite3'} & set(sys.modules)))"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
