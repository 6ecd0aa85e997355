"""Laws of the cache: what may be found, by whom, and for how long."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.cache import Cache
from cascade.errors import ConfigError
from cascade.types import Confidence, Draft, Entry, Usage
from tests.caching import Clock, Fixed, answer, ask, build, text_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # children are forked here


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
    cache = build(embedder=Fixed()) if semantic else build()
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


def test_a_cache_stays_within_its_limit_and_drops_what_is_oldest_of_equals(place: Path | None) -> None:
    limit = 2**18
    cache = build(place, size_limit=limit)
    for i in range(300):
        cache.keep(ask(str(i)), answer("x" * (20_000 if i % 50 == 0 else 500)))
    assert cache.check() == []
    assert cache.stats().bytes <= limit
    found = [text_of(cache.lookup(ask(str(i)))) is not None for i in range(300)]
    assert found[299]
    assert not any(found[:50])
    cache.close()
    if place is not None:
        assert (place / "answers" / "cache.db").stat().st_size <= limit


@pytest.mark.parametrize("dear", range(0, 100, 33))
def test_what_saves_more_dollars_stays_longer(place: Path | None, dear: int) -> None:
    cache = build(place, size_limit=2**18)
    for i in range(400):
        cache.keep(ask(str(i)), answer("x" * 500, cost=0.01 if i == dear else 0.001))
    cache._shared._view.front.clear()
    assert cache.lookup(ask(str(dear))) is not None
    assert cache.lookup(ask(str(dear + 1))) is None


def test_what_is_used_stays_longer_and_what_is_not_used_any_more_ages(tmp_path: Path) -> None:
    cache = build(tmp_path, size_limit=2**18)
    for i in range(400):
        cache.keep(ask(str(i)), answer("x" * 500, cost=0.001))
        if i < 10:
            assert cache.lookup(ask("0")) is not None
            cache._shared.flush()
    cache.close()
    assert cache.lookup(ask("0")) is not None
    for i in range(6_000):
        cache.keep(ask(f"later {i}"), answer("x" * 500, cost=0.001))
        if i % 500 == 499:
            cache._shared._view.front.clear()
            if cache._shared.find(cache.key(ask("0"))) is None:
                return
    pytest.fail("ten uses long ago count for ever")


def test_a_limit_that_is_lowered_shrinks_the_file(tmp_path: Path) -> None:
    first = build(tmp_path, size_limit=2**21)
    for i in range(300):
        first.keep(ask(str(i)), answer("x" * 3000, cost=i / 1000))
    first.close()
    small = build(tmp_path, size_limit=2**18)
    assert small.check() == []
    assert small.lookup(ask("299")) is not None
    small.close()
    assert (tmp_path / "answers" / "cache.db").stat().st_size <= 2**18


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
    "wrong", [{"size_limit": 0}, {"size_limit": 2**17 - 1}, {"ttl": 0}, {"ttl": math.nan}], ids=str
)
def test_arguments_that_make_no_sense_are_the_users_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build(**wrong)
