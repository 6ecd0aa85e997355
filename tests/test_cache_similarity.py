"""Laws of the semantic look-up: off until asked for, and only within an identical context."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.caching import Clock, Fixed, answer, ask, build, text_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # children are forked here


class Renamed(Fixed):
    name = "renamed"


def test_without_an_embedder_nothing_is_found_by_similarity(place: Path | None) -> None:
    cache = build(place)
    cache.keep(ask("a"), answer())
    assert cache.lookup(ask("b")) is None


def test_the_nearest_is_found_however_far_and_tells_all_about_itself(place: Path | None) -> None:
    clock = Clock()
    cache = build(place, clock=clock, embedder=Fixed(b=(0.8, 0.6), c=(0.0, -1.0)))
    cache.keep(ask("a"), answer("for a"))
    clock.now += 5.0
    hit = cache.lookup(ask("b"))
    assert hit is not None
    assert (hit.kind, hit.key, hit.draft.text, hit.question) == ("semantic", cache.key(ask("a")), "for a", "a")
    assert (hit.age, hit.passed) == (5.0, 0)
    assert hit.similarity == pytest.approx(0.8)
    assert hit.vectors.dtype == np.float32
    assert hit.vectors.tolist() == [pytest.approx([0.8, 0.6]), [1.0, 0.0]]
    hit = cache.lookup(ask("c"))
    assert hit is not None
    assert hit.similarity == 0.0


def test_an_exact_hit_embeds_nothing() -> None:
    embedder = Fixed()
    cache = build(embedder=embedder)
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
    cache = build(embedder=Fixed())
    cache.keep(ask("a"), answer())
    assert cache.lookup(ask("b")) is not None
    assert cache.lookup(ask("b", **changes)) is None


def test_the_index_is_rebuilt_from_the_store_and_vectors_of_embedders_never_mix(tmp_path: Path) -> None:
    first = build(tmp_path, embedder=Fixed())
    first.keep(ask("a"), answer())
    first.close()
    assert build(tmp_path, embedder=Fixed()).lookup(ask("b")) is not None
    assert build(tmp_path, embedder=Renamed()).lookup(ask("b")) is None


def test_an_entry_that_expired_is_not_found_by_similarity_but_the_next_nearest_is(place: Path | None) -> None:
    clock = Clock()
    cache = build(place, ttl=60.0, clock=clock, embedder=Fixed(far=(0.8, 0.6)))
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
    cache = build(embedder=embedder)
    cache.keep(ask("a"), answer())
    assert cache.lookup(ask("b")) is None
    assert cache.lookup(ask("a")) is not None
    assert cache.faults == {"embed": 2}


def test_a_request_is_not_changed_by_being_looked_up() -> None:
    request = ask(params={"temperature": 0, "stream": True})
    before = msgspec.json.encode(request)
    cache = build(embedder=Fixed())
    cache.keep(request, answer())
    cache.lookup(request)
    assert msgspec.json.encode(request) == before
