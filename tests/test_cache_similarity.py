"""Laws of the semantic look-up: off until asked for, and only within an identical context."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.cache.semantic import SemanticIndex
from tests.caching import Clock, Fixed, answer, ask, build, text_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # children are forked here


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
        {"messages": ask("Wie setze ich mein Passwort zurück?").messages},
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
    assert text_of(cache.lookup(ask("which"))) == "near"
    clock.now += 30.0
    assert text_of(cache.lookup(ask("which"))) == "far"
    clock.now += 30.0
    assert cache.lookup(ask("which")) is None
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
