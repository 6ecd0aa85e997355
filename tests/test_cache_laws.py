"""Laws of the cache over random histories, against a dict that remembers what should be there."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.cache import Cache
from cascade.cache.semantic import SemanticIndex
from cascade.cache.shelf import FIRST, NEXT
from cascade.types import Entry, Hit, Request
from tests.caching import Clock, Fixed, answer, ask, build, text_of

QUESTIONS = "abcdef"
ANGLES = {question: i * 0.37 for i, question in enumerate(QUESTIONS)}
VECTORS = {question: (math.cos(angle), math.sin(angle)) for question, angle in ANGLES.items()}


def embedder() -> Fixed:
    return Fixed(**VECTORS)


class Model:
    """What a cache should hold: entry by (tenant, question), and which of them are proven."""

    def __init__(self, clock: Clock, ttl: float) -> None:
        self.rows: dict[tuple[str, str], tuple[str, float, bool]] = {}
        self._clock, self._ttl = clock, ttl

    def live(self) -> dict[tuple[str, str], tuple[str, float, bool]]:
        return {where: row for where, row in self.rows.items() if self._clock.now - row[1] < self._ttl}

    def expected(self, tenant: str, question: str) -> set[str]:
        """Texts of which a look-up may return any: the exact one, or the nearest proven ones."""
        live = {asked: row for (owner, asked), row in self.live().items() if owner == tenant}
        if question in live:
            return {live[question][0]}
        far = {asked: abs(ANGLES[asked] - ANGLES[question]) for asked, row in live.items() if row[2]}
        return {live[asked][0] for asked, angle in far.items() if angle <= min(far.values()) + 1e-3}


STEP = st.tuples(
    st.sampled_from(["keep", "accepted", "lookup", "lookup", "passed", "failed", "retract", "later", "invalidate"]),
    st.sampled_from("AB"),
    st.sampled_from(QUESTIONS),
    st.sampled_from(["x", "y"]),
)


def request_of(tenant: str, question: str) -> Request:
    return ask(question, tenant=tenant)


def entry_of(tenant: str, question: str, text: str, certified: bool) -> Entry:
    made = answer(f"{tenant} {text}")
    return Entry(draft=made.draft, slice=text, certificate="c" if certified else None)


@pytest.fixture(scope="module", params=["memory", "one on disk", "two on disk"])
def caches(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes an empty writer and its reader; two on one folder are two processes to each other."""
    with tempfile.TemporaryDirectory() as folder:

        def make(clock: Clock) -> tuple[Cache, Cache]:
            place = None if request.param == "memory" else Path(folder)
            writer = build(place, clock=clock, ttl=10.0, embedder=embedder())
            for tenant in "AB":
                writer.invalidate(f"tenant={tenant}")
            if request.param != "two on disk":
                return writer, writer
            return writer, build(place, clock=clock, ttl=10.0, embedder=embedder())

        yield make


@given(history=st.lists(STEP, max_size=25))
@settings(max_examples=60, deadline=None)
def test_every_look_up_equals_brute_force_over_what_is_live(caches: Any, history: list[tuple[str, ...]]) -> None:
    clock = Clock()
    writer, reader = caches(clock)
    model = Model(clock, 10.0)
    for verb, tenant, question, text in history:
        where, request = (tenant, question), request_of(tenant, question)
        key = writer.key(request)
        if verb in ("keep", "accepted"):
            writer.keep(request, entry_of(tenant, question, text, verb == "accepted"))
            model.rows[where] = (f"{tenant} {text}", clock.now, verb == "keep")
        elif verb == "later":
            clock.now += 4.0
        elif verb == "passed":
            writer.audited(key, True)
            if where in model.rows:
                model.rows[where] = (*model.rows[where][:2], True)
        elif verb in ("failed", "retract"):
            writer.audited(key, False) if verb == "failed" else writer.retract(key)
            gone = model.rows.pop(where, None)
            same = {w for w, row in model.rows.items() if gone and w[0] == tenant and row[0] == gone[0]}
            model.rows = {w: row for w, row in model.rows.items() if w not in same}
        elif verb == "invalidate":
            writer.invalidate(f"slice={text}")
            model.rows = {w: row for w, row in model.rows.items() if not row[0].endswith(text)}
        else:
            reader._shared._follow_again = 0.0  # a quarter of a second later
            found = text_of(reader.lookup(request))
            assert found in (model.expected(tenant, question) or {None})
            assert found is None or found.startswith(tenant)
    assert writer.check() == []
    assert reader.check() == []
    assert not writer.faults + reader.faults
    reader.close()


@given(history=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(QUESTIONS), st.booleans()), max_size=60))
@settings(max_examples=30)
def test_evicted_entries_are_gone_for_look_ups_of_every_kind(history: list[tuple[str, str, bool]]) -> None:
    """In a cache that holds about four of these answers: what is found is the latest, or nothing."""
    cache = build(size_limit=2**17, embedder=embedder())
    latest: dict[tuple[str, str], str] = {}
    for i, (tenant, question, keeps) in enumerate(history):
        if keeps:
            latest[tenant, question] = text = f"{tenant} {question} {i} " + "x" * 15_000
            cache.keep(request_of(tenant, question), answer(text))
            continue
        cache._shared._view.front.clear()
        hit = cache.lookup(request_of(tenant, question))
        if hit is not None:
            asked = question if hit.kind == "exact" else hit.question
            assert hit.draft.text == latest[tenant, asked]
    assert cache.check() == []


VECTOR = st.tuples(*[st.floats(-1, 1, width=16)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3)
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "nearest"]), st.sampled_from([b"x", b"y"]), st.integers(0, 8), VECTOR),
    max_size=60,
)


@given(steps=STEPS)
def test_the_index_finds_what_comparing_with_every_vector_finds(steps: list[Any]) -> None:
    index, kept = SemanticIndex(3), dict[int, tuple[bytes, Any]]()
    for verb, context, id, vector in steps:
        direction = (np.array(vector) / np.linalg.norm(vector)).astype(np.float32)
        if verb == "add":
            index.add(context, id, direction)
            kept.setdefault(id, (context, direction))
        elif verb == "remove":
            index.remove(id)
            kept.pop(id, None)
        else:
            scores = {k: float(v @ direction) for k, (where, v) in kept.items() if where == context}
            found = index.nearest(context, direction)
            assert (found is None) == (not scores)
            if found is not None:
                assert found[1] == pytest.approx(max(scores.values()), abs=1e-5)
                assert scores[found[0]] == pytest.approx(found[1], abs=1e-5)
        assert set(index) == set(kept)


def unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_large_context_finds_nearly_always_what_comparing_with_every_vector_finds() -> None:
    """After random removals and insertions that fill the holes, across several blocks; anisotropic vectors."""
    random = np.random.default_rng(3)
    scales = 1 / np.arange(1, 129)
    count = FIRST + NEXT + 3_000
    centres = random.standard_normal((count // 4, 128)) * scales + 2 * scales
    rows = unit(centres[random.integers(0, len(centres), count)] + 0.3 * scales * random.standard_normal((count, 128)))
    index = SemanticIndex(128)
    index.fill([b"x"] * count, list(range(count)), rows)
    for id in random.choice(count, 4_000, replace=False).tolist():
        index.remove(id)
    index.fill([b"x"] * 2_000, list(range(count, count + 2_000)), rows[:2_000])
    everything = np.concatenate([rows, rows[:2_000]])
    here = np.array(list(index))
    queries = unit(centres[:300] + 0.3 * scales * random.standard_normal((300, 128)))
    best = (everything[here] @ queries.T).max(axis=0)
    found = [index.nearest(b"x", query) for query in queries]
    right = [hit is not None and hit[1] > wanted - 1e-5 for hit, wanted in zip(found, best, strict=True)]
    assert all(hit is not None and hit[0] in index for hit in found)
    assert np.mean(right) >= 0.98
    assert len(index) == count - 2_000


def test_a_vector_of_another_length_is_refused_and_changes_nothing() -> None:
    index = SemanticIndex(2)
    index.add(b"x", 1, np.array([1.0, 0.0], np.float32))
    with pytest.raises(ValueError, match="shape"):
        index.add(b"x", 2, np.ones(3, np.float32))
    assert index.nearest(b"x", np.array([1.0, 0.0], np.float32)) == (1, 1.0)
    assert list(index) == [1]


def test_many_tiny_contexts_cost_little_more_than_their_vectors() -> None:
    """A tenant each with three entries: what numpy takes for them is within twice the bytes of the vectors."""
    import tracemalloc

    rows = unit(np.random.default_rng(0).standard_normal((3, 384)))
    tracemalloc.start()
    index = SemanticIndex(384)
    for tenant in range(2_000):
        index.fill([b"%d" % tenant] * 3, [3 * tenant, 3 * tenant + 1, 3 * tenant + 2], rows)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 2 * 2_000 * rows.nbytes
    assert index.nearest(b"77", rows[1]) == (232, pytest.approx(1.0))


def test_threads_that_look_up_while_others_change_rows_get_only_what_was_stored() -> None:
    cache = build(embedder=embedder())
    wrong: list[object] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            hit = cache.lookup(ask("c", params={"temperature": 0, "n": 1}))
            if hit is not None and hit.draft.text != f"for {hit.question}":
                wrong.append(hit)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(300):
        for question in ("a", "b", "e"):
            request = ask(question, params={"temperature": 0, "n": 1})
            cache.keep(request, answer(f"for {question}"))
            if i % 3 == 0:
                cache.retract(cache.key(request))
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not cache.faults
    assert cache.check() == []


# Proof, retraction, tags


def test_an_accepted_answer_is_found_by_similarity_once_an_audit_has_passed_it(place: Path | None) -> None:
    cache = build(place, embedder=embedder())
    cache.keep(ask("a"), entry_of("A", "a", "x", certified=True))
    key = cache.key(ask("a"))
    assert text_of(cache.lookup(ask("a"))) == "A x"
    assert cache.lookup(ask("b")) is None
    for stood in (1, 2, 3):
        cache.audited(key, True)
        hit = cache.lookup(ask("b"))
        assert hit is not None
        assert (hit.key, hit.passed) == (key, stood)
    cache.audited(key, False)
    assert cache.lookup(ask("b")) is None
    assert cache.lookup(ask("a")) is None


def test_retracting_takes_the_neighbourhood_that_the_gate_would_have_served(place: Path | None) -> None:
    """And nothing else: beyond the first entry that the gate refuses, all stay, other tenants' too."""
    cache = build(place, embedder=embedder())
    for question in "bcdef":
        cache.keep(ask(question), answer(f"for {question}"))
        cache.keep(ask(question, tenant="other"), answer(f"for {question}"))

    def serves(hit: Hit) -> bool:
        return hit.question in "bcd"

    removed = cache.retract(cache.key(ask("b")), serves, ask("a"))
    assert removed == [cache.key(ask(question)) for question in "bcd"]
    assert text_of(cache.lookup(ask("a"))) == "for e"
    assert text_of(cache.lookup(ask("a", tenant="other"))) == "for b"
    assert cache.check() == []


def test_a_gate_that_breaks_ends_the_neighbourhood_and_is_counted() -> None:
    cache = build(embedder=embedder())
    for question in "bc":
        cache.keep(ask(question), answer(f"for {question}"))

    def serves(hit: Hit) -> bool:
        raise RuntimeError("out of order")

    assert cache.retract(cache.key(ask("b")), serves, ask("a")) == [cache.key(ask("b"))]
    assert cache.faults == {"serves": 1}


def test_tags_are_metadata_slice_tenant_and_model_and_invalidate_what_has_them(place: Path | None) -> None:
    cache = build(place, metadata=[], tags=["product"])
    widget, gadget = ask("a", metadata={"product": "widget", "trace": "1"}), ask("a", metadata={"product": "gadget"})
    cache.keep(widget, answer("widget"))
    cache.keep(gadget, answer("gadget"))
    assert cache.key(widget) != cache.key(gadget)
    assert cache.key(widget) == cache.key(ask("a", metadata={"product": "widget", "trace": "2"}))
    assert cache.invalidate("trace=1") == 0
    assert cache.invalidate("product=widget") == 1
    assert cache.lookup(widget) is None
    assert text_of(cache.lookup(gadget)) == "gadget"
    assert cache.invalidate("model=m") == 1
    assert cache.stats().entries == 0
    assert cache.check() == []


def test_what_is_withheld_is_neither_kept_nor_found_and_a_hook_that_breaks_withholds() -> None:
    def withheld(request: Request) -> bool:
        if request.question == "broken":
            raise RuntimeError("out of order")
        return "today" in request.question

    cache = build(withheld=withheld, embedder=embedder())
    for question in ("What is it today?", "broken", "a"):
        cache.keep(ask(question), answer())
        assert (cache.lookup(ask(question)) is not None) == (question == "a")
    assert cache.stats().entries == 1
    assert cache.faults == {"withheld": 2}


def test_stats_tell_what_is_held_and_what_it_served(place: Path | None) -> None:
    clock = Clock()
    cache = build(place, clock=clock, embedder=embedder())
    cache.keep(ask("a"), answer())
    cache.keep(ask("b"), entry_of("A", "b", "x", certified=True))
    clock.now += 7.0
    for question in "aac":
        assert cache.lookup(ask(question)) is not None
    found = cache.stats()
    assert (found.entries, found.semantic, found.hits, found.oldest) == (2, 1, 3, 7.0)
    assert found.bytes > 0
    assert found.faults == {}
