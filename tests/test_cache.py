"""Laws of the cache: what may be found, by whom, for how long, and what happens when things break."""

from __future__ import annotations

import itertools
import math
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
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.cache import Cache
from cascade.cache.disk import RawDisk, RefusedError
from cascade.cache.semantic import SemanticIndex
from cascade.errors import ConfigError
from cascade.types import Confidence, Draft, Entry, Hit, Request, Usage

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # children are forked here


def ask(text: str = "Where is my order?", **changes: Any) -> Request:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return Request(**{"id": "r", "messages": messages, "params": {"temperature": 0}, **changes})


def answer(text: str = "On its way.", **changes: Any) -> Entry:
    return Entry(draft=Draft(tier="cheap", model="m", text=text, **changes))


def build(folder: Path | None = None, **changes: Any) -> Cache:
    arguments = {"identity": "ladder", "ttl": None, "size_limit": 2**24, "max_temperature": 0.0}
    return Cache(folder=folder, **{**arguments, **changes})


def text_of(hit: Hit | None) -> str | None:
    return None if hit is None else hit.draft.text


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "disk" else None


# What is kept


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.floats(allow_nan=False)
DRAFTS = st.builds(
    Draft,
    tier=TEXT,
    model=TEXT,
    text=TEXT,
    tool_calls=st.lists(st.dictionaries(TEXT, st.none() | st.booleans() | TEXT | NUMBER), max_size=2),
    finish_reason=st.none() | TEXT,
    logprobs=st.none() | st.lists(NUMBER, max_size=3),
    top_logprobs=st.none() | st.lists(st.lists(NUMBER, max_size=2), max_size=2),
    usage=st.builds(Usage, prompt_tokens=st.integers(0, 2**40)),
    cost=st.none() | NUMBER,
    latency=NUMBER,
)
FRESH = itertools.count()
CONFIDENCES = st.builds(Confidence, probability=NUMBER, score=NUMBER, signal_set=TEXT, scorer=TEXT)


@pytest.fixture(scope="module")
def pairs() -> Iterator[list[tuple[Cache, Cache]]]:
    """Who keeps and who looks up: one cache in memory, and two on one folder."""
    memory = build()
    with tempfile.TemporaryDirectory() as folder:
        keeper, reader = build(Path(folder)), build(Path(folder))
        yield [(memory, memory), (keeper, keeper), (keeper, reader)]
        keeper.close()
        reader.close()


@given(
    entry=st.builds(Entry, draft=DRAFTS, confidence=st.none() | CONFIDENCES, certificate=st.none() | TEXT),
)
@settings(max_examples=60, deadline=None)
def test_what_is_kept_comes_back_equal(pairs: list[tuple[Cache, Cache]], entry: Entry) -> None:
    request = ask(str(next(FRESH)))  # else the reader's front has the example before
    for keeper, reader in pairs:
        keeper.keep(request, entry)
        hit = reader.lookup(request)
        assert hit is not None
        assert (hit.draft, hit.confidence, hit.certificate) == (
            entry.draft,
            entry.confidence,
            entry.certificate,
        )
        assert (hit.kind, hit.similarity, hit.shared) == ("exact", 1.0, False)
        assert not keeper.faults + reader.faults


def test_log_probabilities_that_are_not_numbers_survive(place: Path | None) -> None:
    cache = build(place)
    cache.keep(ask(), answer(logprobs=[math.nan, -math.inf]))
    hit = cache.lookup(ask())
    assert hit is not None
    assert hit.draft.logprobs is not None
    assert math.isnan(hit.draft.logprobs[0])
    assert hit.draft.logprobs[1] == -math.inf


def test_the_providers_own_object_is_never_kept(place: Path | None) -> None:
    cache = build(place)
    cache.keep(ask(), answer(raw=object()))
    hit = cache.lookup(ask())
    assert hit is not None
    assert hit.draft.raw is None


def test_who_changes_the_answer_it_got_changes_a_copy(place: Path | None) -> None:
    cache = build(place)
    cache.keep(ask(), answer(tool_calls=[{"name": "a"}]))
    for _ in range(2):
        hit = cache.lookup(ask())
        assert hit is not None
        assert hit.draft.tool_calls == [{"name": "a"}]
        hit.draft.tool_calls[0]["name"] = "changed"


# Identity


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "b"},
        {"slice": "billing"},
        {"stakes": "high"},
        {"metadata": {"plan": "gold"}},
        {"messages": [{"role": "user", "content": "Where is my order?"}]},
        {"params": {"temperature": 0, "seed": 1}},
        {"params": {"temperature": 0, "response_format": {"type": "json_object"}}},
        {"params": {}},
    ],
    ids=str,
)
def test_whatever_can_change_the_answer_changes_the_key(changes: dict[str, Any]) -> None:
    assert build().key(ask()) != build().key(ask(**changes))


def test_another_ladder_has_other_keys() -> None:
    assert build().key(ask()) != build(identity="other").key(ask())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, math.nan]) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(one=JSON, other=JSON)
def test_keys_are_equal_exactly_when_the_parameters_are(one: Any, other: Any) -> None:
    cache = build()
    # repr tells 1, 1.0 and True apart, as JSON does; order within a dict must not tell.
    equal = repr(_reversed(_reversed(one, sort=True))) == repr(_reversed(_reversed(other, sort=True)))
    assert (cache.key(ask(params={"x": one})) == cache.key(ask(params={"x": other}))) == equal
    assert cache.key(ask(params={"x": one})) == cache.key(ask(params={"x": _reversed(one)}))


def _reversed(value: Any, sort: bool = False) -> Any:
    """The same value with every dict's entries in another order."""
    if isinstance(value, dict):
        names = sorted(value) if sort else list(value)[::-1]
        return {name: _reversed(value[name], sort) for name in names}
    return [_reversed(item, sort) for item in value] if isinstance(value, list) else value


def test_how_an_answer_is_delivered_does_not_change_the_key() -> None:
    streamed = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}, "timeout": 3}
    assert build().key(ask()) == build().key(ask(params=streamed, id="another"))


def test_only_the_named_metadata_counts_once_some_are_named() -> None:
    cache = build(metadata=["plan"])
    traced = ask(metadata={"plan": "gold", "trace": "1"})
    assert cache.key(traced) == cache.key(ask(metadata={"plan": "gold", "trace": "2"}))
    assert cache.key(traced) != cache.key(ask(metadata={"plan": "free", "trace": "1"}))


HISTORIES = st.lists(
    st.tuples(st.booleans(), st.sampled_from("ABC"), st.sampled_from(["refund?", "order?", "safe?"])),
    max_size=30,
)


@given(history=HISTORIES, semantic=st.booleans())
@settings(max_examples=60)
def test_no_tenant_ever_gets_what_another_stored(history: list[tuple[bool, str, str]], semantic: bool) -> None:
    """Not even with an embedder to which all questions are one."""
    cache = build(embedder=Fixed(), semantic_threshold=-1.0) if semantic else build()
    kept: set[tuple[str, str]] = set()
    for keeps, tenant, question in history:
        request = ask(question, tenant=tenant)
        if keeps:
            cache.keep(request, answer(f"{tenant} {question}"))
            kept.add((tenant, question))
            continue
        found = text_of(cache.lookup(request))
        assert found is None or found.startswith(tenant)
        if (tenant, question) in kept:
            assert found == f"{tenant} {question}"
    assert not cache.faults


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": None},
        {"temperature": 0.7},
        {"temperature": "0"},
        {"temperature": math.nan},
        {"temperature": 0, "n": 2},
        {"temperature": 0, "tools": [{}]},
        {"temperature": 0, "functions": [{}]},
    ],
    ids=str,
)
def test_draws_and_side_effects_are_neither_kept_nor_found(params: dict[str, Any]) -> None:
    cache = build()
    assert not cache.cacheable(ask(params=params))
    cache.keep(ask(params=params), answer())
    assert cache.lookup(ask(params=params)) is None
    assert not cache.faults


def test_the_policy_says_what_may_be_kept() -> None:
    assert build(default_temperature=0.0).cacheable(ask(params={}))
    assert build(max_temperature=1.0).cacheable(ask(params={"temperature": 1}))
    assert build(tools_cacheable=True).cacheable(ask(params={"temperature": 0, "tools": [{}]}))
    assert build().cacheable(ask(params={"temperature": 0, "n": 1, "tools": []}))


@pytest.mark.parametrize("odd", [object(), {1: 2}, "\ud800", 2**70], ids=ascii)
def test_what_has_no_canonical_form_is_a_counted_miss(odd: Any) -> None:
    cache = build()
    cache.keep(ask(params={"temperature": 0, "odd": odd}), answer())
    assert cache.lookup(ask(params={"temperature": 0, "odd": odd})) is None
    cache.keep(ask(), answer(tool_calls=[{"odd": object()}]))
    assert cache.lookup(ask()) is None
    assert cache.faults == {"key": 2, "encode": 1}


# Age and size


def test_an_answer_is_found_until_its_ttl_and_says_its_age(place: Path | None) -> None:
    clock = Clock()
    cache = build(place, ttl=60.0, clock=clock)
    cache.keep(ask(), answer())
    clock.now += 59.0
    hit = cache.lookup(ask())
    assert hit is not None
    assert hit.age == 59.0
    clock.now += 1.0
    assert cache.lookup(ask()) is None
    cache.keep(ask(), answer("Delivered."))
    assert text_of(cache.lookup(ask())) == "Delivered."


def test_an_answer_that_expired_in_the_front_is_found_renewed_on_disk(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (build(tmp_path, ttl=60.0, clock=clock) for _ in range(2))
    one.keep(ask(), answer("old"))
    clock.now += 50.0
    other.keep(ask(), answer("new"))
    clock.now += 20.0
    assert text_of(one.lookup(ask())) == "new"


def test_memory_stays_within_its_limit_and_drops_what_was_least_used() -> None:
    cache = build(size_limit=10_000)
    for i in range(100):
        cache.keep(ask(str(i)), answer("x" * 500))
        assert cache.lookup(ask("0")) is not None
    assert cache.lookup(ask("99")) is not None
    assert cache.lookup(ask("1")) is None
    assert cache.check() == []


def test_the_disk_stays_within_its_limit_and_drops_what_is_oldest(tmp_path: Path) -> None:
    limit = 2**18
    cache = build(tmp_path, size_limit=limit)
    for i in range(300):
        cache.keep(ask(str(i)), answer("x" * (20_000 if i % 50 == 0 else 500)))
    assert cache.check() == []
    cache.close()
    assert (tmp_path / "answers" / "cache.db").stat().st_size <= limit
    assert cache.lookup(ask("299")) is not None
    assert cache.lookup(ask("1")) is None


def test_one_large_answer_displaces_as_many_small_ones_as_it_needs(tmp_path: Path) -> None:
    cache = build(tmp_path, size_limit=2**18)
    for i in range(150):
        cache.keep(ask(str(i)), answer("x" * 500))
    cache.keep(ask("long"), answer("x" * 2**17))
    assert cache.check() == []
    cache.close()
    assert cache.lookup(ask("long")) is not None


def test_an_answer_larger_than_the_cache_leaves_the_others_in_it(place: Path | None) -> None:
    cache = build(place, size_limit=2**17)
    cache.keep(ask(), answer())
    cache.keep(ask("long"), answer("x" * 2**18))
    assert cache.lookup(ask("long")) is None
    assert cache.lookup(ask()) is not None
    assert cache.faults == {"oversize": 1}


@pytest.mark.parametrize(
    "wrong", [{"size_limit": 0}, {"ttl": 0}, {"ttl": math.nan}, {"semantic_threshold": 0.9}], ids=str
)
def test_arguments_that_make_no_sense_are_the_users_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build(**wrong)


# A hostile or broken disk


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


# By similarity


class Fixed:
    """An embedder that gives each text the vector that it was told, or (1, 0)."""

    name = "fixed"
    dimensions = 2

    def __init__(self, **vectors: tuple[float, float]) -> None:
        self.vectors = vectors
        self.calls = 0

    def embed(self, texts: list[str]) -> Any:
        self.calls += 1
        return np.array([self.vectors.get(text, (1.0, 0.0)) for text in texts], np.float32)


class Renamed(Fixed):
    name = "renamed"


def test_similarity_is_off_by_default_and_embeds_nothing(place: Path | None) -> None:
    embedder = Fixed()
    cache = build(place, embedder=embedder)
    cache.keep(ask("a"), answer())
    assert cache.lookup(ask("b")) is None
    assert embedder.calls == 0


def test_a_question_within_the_threshold_is_found_and_says_how_near(place: Path | None) -> None:
    embedder = Fixed(b=(0.8, 0.6), c=(0.6, 0.8))
    cache = build(place, embedder=embedder, semantic_threshold=0.7)
    cache.keep(ask("a"), answer("for a"))
    hit = cache.lookup(ask("b"))
    assert hit is not None
    assert (hit.kind, hit.key, hit.draft.text) == ("semantic", cache.key(ask("a")), "for a")
    assert hit.similarity == pytest.approx(0.8)
    assert cache.lookup(ask("c")) is None


def test_an_exact_hit_embeds_nothing() -> None:
    embedder = Fixed()
    cache = build(embedder=embedder, semantic_threshold=0.0)
    cache.keep(ask(), answer())
    before = embedder.calls
    hit = cache.lookup(ask())
    assert hit is not None
    assert hit.kind == "exact"
    assert embedder.calls == before


IMAGE = {"type": "image_url", "image_url": {"url": "data:,a"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "b"},
        {"slice": "billing"},
        {"stakes": "high"},
        {"metadata": {"plan": "gold"}},
        {"params": {"temperature": 0, "seed": 1}},
        {"messages": [{"role": "system", "content": "Be rude."}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "user", "content": "b"}]},
        {"messages": [*ask("a").messages, {"role": "assistant", "content": "?"}, *ask("b").messages[1:]]},
        {"messages": [*ask("b").messages, {"role": "assistant", "content": "Yes,"}]},
        {
            "messages": [
                ask().messages[0],
                {"role": "user", "content": [{"type": "text", "text": "b"}, IMAGE]},
            ]
        },
        {"messages": [ask().messages[0], {"role": "user", "content": "b", "name": "Ann"}]},
    ],
    ids=str,
)
def test_similarity_speaks_only_within_an_identical_context(changes: dict[str, Any]) -> None:
    cache = build(embedder=Fixed(), semantic_threshold=-1.0)
    cache.keep(ask("a"), answer())
    assert cache.lookup(ask("b")) is not None
    assert cache.lookup(ask("b", **changes)) is None


def test_the_index_is_rebuilt_from_the_store_and_vectors_of_embedders_never_mix(tmp_path: Path) -> None:
    first = build(tmp_path, embedder=Fixed(), semantic_threshold=0.5)
    first.keep(ask("a"), answer())
    first.close()
    assert build(tmp_path, embedder=Fixed(), semantic_threshold=0.5).lookup(ask("b")) is not None
    assert build(tmp_path, embedder=Renamed(), semantic_threshold=0.5).lookup(ask("b")) is None


def test_an_entry_that_expired_is_not_found_by_similarity_but_the_next_nearest_is(place: Path | None) -> None:
    clock = Clock()
    cache = build(place, ttl=60.0, clock=clock, embedder=Fixed(far=(0.8, 0.6)), semantic_threshold=0.0)
    cache.keep(ask("near"), answer("near"))
    clock.now += 30.0
    cache.keep(ask("far"), answer("far"))
    assert text_of(cache.lookup(ask("?"))) == "near"
    clock.now += 30.0
    assert text_of(cache.lookup(ask("?"))) == "far"
    clock.now += 30.0
    assert cache.lookup(ask("?")) is None
    assert not cache.faults


class Longer(Fixed):
    """Says two dimensions and gives three."""

    def embed(self, texts: list[str]) -> Any:
        return np.ones((len(texts), 3), np.float32)


class Broken(Fixed):
    def embed(self, texts: list[str]) -> Any:
        raise RuntimeError("out of order")


@pytest.mark.parametrize(
    "embedder",
    [Broken(), Longer(), Fixed(a=(math.nan, 0.0), b=(math.inf, 0.0)), Fixed(a=(0.0, 0.0), b=(0.0, 0.0))],
    ids=["throws", "other dimensions", "not numbers", "zero"],
)
def test_an_embedder_that_fails_is_a_counted_miss_and_exact_hits_go_on(embedder: Fixed) -> None:
    cache = build(embedder=embedder, semantic_threshold=-1.0)
    cache.keep(ask("a"), answer())
    assert cache.lookup(ask("b")) is None
    assert cache.lookup(ask("a")) is not None
    assert cache.faults == {"embed": 2}


VECTOR = st.tuples(*[st.floats(-1, 1, width=16)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "nearest"]),
        st.sampled_from("xy"),
        st.sampled_from("abcdef"),
        VECTOR,
    ),
    max_size=40,
)


@given(steps=STEPS, limit=st.integers(1, 8))
def test_the_index_finds_what_comparing_with_every_vector_finds(steps: list[Any], limit: int) -> None:
    index, kept = SemanticIndex(limit), dict[str, tuple[str, Any]]()
    for verb, context, key, vector in steps:
        direction = np.array(vector) / np.linalg.norm(vector)
        if verb == "add":
            index.add(context, key, vector)
            kept.pop(key, None)
            kept[key] = (context, direction)
            kept = dict(list(kept.items())[-limit:])
        elif verb == "remove":
            index.remove(key)
            kept.pop(key, None)
        else:
            scores = {k: float(v @ direction) for k, (where, v) in kept.items() if where == context}
            found = index.nearest(context, vector)
            assert (found is None) == (not scores)
            if found is not None:
                assert found[1] == pytest.approx(max(scores.values()), abs=1e-5)
                assert scores[found[0]] == pytest.approx(found[1], abs=1e-5)
        assert len(index) == len(kept)


def test_a_vector_of_another_length_than_its_contexts_is_refused_and_changes_nothing() -> None:
    index = SemanticIndex(8)
    index.add("x", "a", [1.0, 0.0])
    with pytest.raises(ValueError, match="shape"):
        index.add("x", "b", [1.0, 0.0, 0.0])
    assert index.nearest("x", [1.0, 0.0]) == ("a", 1.0)


def test_a_request_is_not_changed_by_being_looked_up() -> None:
    request = ask(params={"temperature": 0, "stream": True})
    before = msgspec.json.encode(request)
    cache = build(embedder=Fixed(), semantic_threshold=0.0)
    cache.keep(request, answer())
    cache.lookup(request)
    assert msgspec.json.encode(request) == before
