"""The benchmarks of the cache: parts that share nothing, swaps that are what they say, figures that add up."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cache import gates, pairs
from benchmarks.cache import swaps as benchmark
from benchmarks.cache.templates import KINDS, TEMPLATES, Swap, swaps
from benchmarks.cache.traffic import Part, Vectors, divided, stored
from cascade.embedding import WordLlamaEmbedder
from cascade.learning.pairing import connected
from cascade.matching import measure
from cascade.types import Draft, Hit

EACH = 80
FLAG = {"number": "numbers", "entity": "names", "unit": "units", "date": "dates"} | {
    kind: kind for kind in ("negation", "polarity", "direction")
}


@pytest.fixture(scope="module")
def made() -> list[Swap]:
    return swaps(EACH)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return Vectors(WordLlamaEmbedder())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=60), st.integers(0, 99))
def test_no_question_stands_in_two_parts_and_alone_a_group_is_there_once(
    edges: list[tuple[int, int]], seed: int
) -> None:
    whole = Part([(str(one), str(other)) for one, other in edges], np.ones(len(edges), dtype=bool))
    parts = divided(whole, seed)
    asked = [{text for pair in part.pairs for text in pair} for part in parts]
    assert sum(map(len, asked)) == len(set.union(*asked))
    assert sum(len(part.pairs) for part in parts) == len(edges)
    kept = [pair for part in divided(whole, seed, alone=True) for pair in part.pairs]
    assert len(set(connected(kept).tolist())) == len(kept) == len(set(connected(whole.pairs).tolist()))


def test_each_query_finds_the_nearest_stored_one_and_is_asked_in_one_part(vectors: Vectors) -> None:
    records = [{"query": f"how do I {word} a {thing}", "label": word} for word in ("buy", "sell", "fix", "rent")
               for thing in ("car", "boat", "house", "bike", "tent")]  # fmt: skip
    parts = stored(records, vectors, 0)
    asked = [pair[0] for part in parts for pair in part.pairs]
    held = [one["query"] for one in records if one["query"] not in asked]
    assert len(set(asked)) == len(asked) == 15
    label = {one["query"]: one["label"] for one in records}
    for part in parts:
        for (query, found), right in zip(part.pairs, part.right, strict=True):
            near = vectors.similarities([(query, text) for text in held])
            assert vectors.similarities([(query, found)])[0] == pytest.approx(near.max())
            assert right == (label[query] == label[found])


def test_swaps_are_half_right_of_every_kind_and_no_question_comes_twice(made: list[Swap]) -> None:
    assert Counter(swap.kind for swap in made) == dict.fromkeys(KINDS, EACH)
    assert all(0.4 < np.mean([swap.right for swap in made if swap.kind == kind]) < 0.6 for kind in KINDS)
    texts = [text for swap in made for text in swap[1:3]]
    assert len(set(texts)) == len(texts)
    assert made == swaps(EACH)
    assert not [text for text in texts if "{" in text or "=" in text]


def test_every_template_is_swapped() -> None:
    assert Counter(template.kind for template in TEMPLATES).keys() == FLAG.keys()
    for template in TEMPLATES:
        ends = "{a}" in template.asked and "{b}" in template.reworded
        assert ends or ("{x}" in template.asked and "{x}" in template.reworded)
        assert len(set(template.options)) == len(template.options) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_raises_the_flag_of_its_kind_and_a_rewording_seldom_does(made: list[Swap], kind: str) -> None:
    """Not always: no list holds every opposite, and a comparison turns without a word of direction."""
    raised: dict[bool, list[bool]] = {True: [], False: []}
    for swap in made:
        if swap.kind == kind:
            hit = Hit(key="", draft=Draft(tier="a", model="m"), kind="semantic", question=swap.stored)
            raised[swap.right].append(measure(swap.asked, hit)[FLAG[kind]] > 0)
    assert np.mean(raised[False]) > 0.5
    assert np.mean(raised[True]) < 0.1


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40), st.sampled_from([0.5, 0.8, 1.0]))
def test_recall_is_the_best_of_all_thresholds_that_keep_the_precision(
    rows: list[tuple[int, bool]], precision: float
) -> None:
    scores, right = np.array([one for one, _ in rows], float), np.array([float(good) for _, good in rows])
    if not right.any():
        return
    best = 0.0
    for least in set(scores.tolist()):
        served = scores >= least
        if right[served].mean() >= precision:
            best = max(best, right[served].sum() / right.sum())
    found = gates.Scored(scores, np.vstack([right, np.ones_like(right)]))
    assert pairs.recall(found, precision) == pytest.approx(best)


def test_the_gate_refuses_swaps_that_cosine_cannot_tell_from_rewordings(made: list[Swap], vectors: Vectors) -> None:
    """Certified on swaps as a slice of their own: cosine certifies nothing, the signals do and keep the level."""
    shared = benchmark.shared_out(swaps(300), 0)
    dice = np.random.default_rng(0)
    ordinary = Part([(f"word{i} thing", f"word{i} {'thing' if i % 2 else 'other'}") for i in range(600)],
                    np.arange(600) % 2 == 1)  # fmt: skip
    parts = [ordinary.take(some.tolist()) for some in np.array_split(dice.permutation(600), 3)]
    lines = {(one["gate"], one["score"], one["kind"]): one for one in benchmark.split(parts, shared, vectors)
             if one["level"] == 0.10}  # fmt: skip
    own: dict[str, Any] = lines["own", gates.PAIRED, "all"]
    assert not lines["own", gates.COSINE, "all"]["certified"]
    assert own["certified"]
    assert own["reworded"] > 0.8
    assert own["wrong"] / own["hits"] < 0.10
    as_many = lines["own", benchmark.AS_MANY, "all"]
    assert as_many["hits"] == own["hits"]
    assert as_many["wrong"] > 3 * own["wrong"]


def test_a_slice_of_its_own_is_certified_by_its_own_labels() -> None:
    """Traffic that goes wrong closes the threshold of both together, and leaves that of the swaps as it was."""
    dice = np.random.default_rng(0)
    slices = [[benchmark.TRAFFIC] * 600 + [benchmark.SWAPPED] * 600] * 2
    scores = dice.normal(size=1200)

    def gate(name: str, traffic: float) -> float | None:
        right = (np.where(np.arange(1200) < 600, traffic, 1.0) > 0.5).astype(float)
        found = gates.Scored(scores, np.vstack([right, np.ones(1200)]))
        return benchmark._threshold(name, found, found, slices, 0.05)

    assert gate("own", 1.0) == gate("own", 0.0) is not None
    assert gate("pooled", 1.0) is not None
    assert gate("pooled", 0.0) is None


def test_pages_show_every_figure_and_no_question(vectors: Vectors, made: list[Swap]) -> None:
    part = Part([(swap.asked, swap.stored) for swap in made], np.array([swap.right for swap in made]))
    found = [pairs.split(divided(part, seed), vectors) for seed in (0, 1)]
    lines = [pairs._line("swaps", vectors.name, level, found) for level in gates.LEVELS]
    page = pairs.markdown(pairs.document(lines, [pairs._rank("swaps", vectors.name, found)], 2, len(made), 1.0))
    assert page.count("| swaps |") == len(gates.LEVELS) + len(pairs.PRECISIONS)
    assert not [swap for swap in made if swap.asked in page]
