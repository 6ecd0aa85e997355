"""Replayed traffic and planted answers: what the benchmarks' machinery makes of questions whose truth is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cache import poisoning, repeats
from benchmarks.cache.gates import COSINE, PAIRED
from benchmarks.cache.poisoning import Service
from benchmarks.cache.rivals import Curves, Near, Shelf, Threshold, replay
from benchmarks.cache.streams import NEW, Needs, Stream, divided, needs_of, stream
from benchmarks.cache.traffic import Vectors
from cascade.types import Hit, Request

WORDINGS = 4


class Axes:
    """Each need has a direction of its own, shared by some; wordings lie around it."""

    name = "axes"
    dimensions = 96

    def embed(self, texts: Any) -> Any:
        made = []
        for text in texts:
            need, wording = (int(word) for word in text.split()[1::2])
            vector = np.random.default_rng([need, wording]).normal(0.0, 0.03, 96)
            vector[need % 96] += 1.0
            made.append(vector / np.linalg.norm(vector))
        return np.array(made, dtype=np.float32)


def records(needs: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Clusters with one hard negative each, and pairs of questions that stand for themselves."""
    clusters = [
        {"queries": [f"need {i} wording {j}" for j in range(WORDINGS)], "hard_negatives": [f"need {i} but 9"]}
        for i in range(needs)
    ]
    pairs = [
        {"text_a": f"once {2 * i} asked 0", "text_b": f"once {2 * i + 1} asked 0", "equivalent": 0}
        for i in range(needs * 10)
    ]
    return clusters, pairs


@pytest.fixture(scope="module")
def needs() -> Needs:
    return needs_of(*records(60))


def test_wordings_of_a_cluster_are_one_need_and_its_hard_negative_is_another(needs: Needs) -> None:
    of = needs.of
    assert len({of[text] for text in needs.wordings[0]}) == 1
    assert of["need 0 but 9"] != of["need 0 wording 0"] != of["need 1 wording 0"]
    assert len(set(of.values())) == 60 + 60 + 1200


def test_parts_have_no_need_in_common(needs: Needs) -> None:
    first, second = divided(needs, 0.4, 0)
    numbers = [
        {needs.of[text] for some in (*part.wordings, *part.near, part.others) for text in some}
        for part in (first, second)
    ]
    assert numbers[0]
    assert not numbers[0] & numbers[1]
    assert sum(map(len, numbers)) == len(set(needs.of.values()))


def test_popularity_follows_zipf_and_what_comes_once_comes_once(needs: Needs) -> None:
    made = stream(needs, 1.0, 3000, 0)
    again = stream(needs, 1.0, 3000, 0)
    assert made.asked.tolist() == again.asked.tolist()
    counts = np.bincount(np.unique(made.needs[made.asked], return_inverse=True)[1])
    back = np.sort(counts)[::-1][:60]
    assert back.sum() == pytest.approx(3000 * (1 - NEW), rel=0.1)
    assert back[0] / back.sum() == pytest.approx(1 / sum(1 / k for k in range(1, 61)), rel=0.15)
    once = [text for text in made.texts if not text.startswith("need") or "but" in text]
    assert np.bincount(made.asked)[[made.texts.index(text) for text in once]].max() == 1


def toy(asked: list[int], vectors: list[tuple[float, float]], needs: list[int]) -> tuple[Stream, Near]:
    rows = np.array(vectors, np.float32)
    return Stream(np.array(asked), [str(i) for i in range(len(vectors))], np.array(needs)), Near(rows)


def test_a_hit_is_right_if_the_entry_answers_the_same_need_and_is_not_stored() -> None:
    """0 and 1 are one need, 2 is near and another; 1 served from 0 is asked anew each time."""
    traffic, near = toy([0, 1, 1, 0, 2, 2], [(1.0, 0.0), (0.995, 0.1), (0.99, 0.14)], [7, 7, 8])
    found = replay(traffic, near, Threshold(near.similarity, 0.9), Shelf(3), 0, 0)
    assert found == (6, 1, 4, 2)
    strict = replay(traffic, near, Threshold(near.similarity, None), Shelf(3), 0, 0)
    assert strict == (6, 3, 0, 0)
    assert replay(traffic, near, Threshold(near.similarity, 0.9), Shelf(3), 0, 4) == (2, 0, 2, 2)


def test_the_nearest_is_that_of_the_whole_store_even_beyond_the_sorted_neighbours() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(400, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = Near(vectors)
    for share in (0.0, 0.01, 0.3):
        held = random.random(400) < share
        for asked in range(50):
            similar = np.where(held, vectors @ vectors[asked], -np.inf)
            assert near.of(asked, held) == (int(similar.argmax()) if held.any() else None)


def test_an_entry_is_believed_where_it_was_right_and_explored_where_it_was_not() -> None:
    similarities = {1: 0.95, 2: 0.6}
    curves = Curves(lambda asked, _: similarities[asked], 0.05)
    assert not curves.serves(1, 0)
    assert all(not curves.learn(1, 0, right=True) for _ in range(60))
    assert curves.learn(2, 0, right=False)
    assert curves.serves(1, 0)
    assert not curves.serves(2, 0)
    assert not curves.serves(1, 5)


def test_a_pair_is_scored_in_service_as_it_was_when_its_gate_was_certified(needs: Needs) -> None:
    vectors = Vectors(Axes())
    first, second = divided(needs, 0.4, 1)
    before, now = (repeats.scene(some, 0.7, 800, 1, vectors) for some in (first, second))
    fits, least = repeats.certified(before, now)
    places = list(dict.fromkeys(repeats.looked_up(now)))[:20]
    part, rows = repeats.rows_in(now, places)
    for name in (COSINE, PAIRED):
        score = repeats.scores_of(fits, name, now)
        assert [score(*place) for place in places] == pytest.approx(fits.score(name, part, rows).scores.tolist())
    assert set(least) == {COSINE, PAIRED}


def test_the_page_adds_up_and_tells_no_question(needs: Needs) -> None:
    found = [
        {"embedder": "axes", **one}
        for seed in (0, 1)
        for one in repeats.round_of(needs, 0.7, 600, seed, Vectors(Axes()))
    ]
    lines = repeats.summed(found)
    by = {(line["system"], line["level"]): line for line in lines}
    assert all(line["requests"] == 600 for line in lines)
    assert by[repeats.ONLY, 0.0]["near"] == 0
    peer = by[repeats.PEER, 0.0]
    assert peer["wrong_near"][0] == peer["wrong"] / peer["near"] > 0
    made = {"command": "c", "date": "d", "seconds": 1, "lines": lines}
    assert "need " not in repeats.markdown(made).partition("| embedder")[2]


def test_a_planted_answer_is_served_as_long_as_the_coin_says_and_never_again(tmp_path: Path) -> None:
    """On disk a second process gets nothing of it within a second either, also where it was stored five times."""
    for wordings, folder in ((1, None), (5, tmp_path)):
        found = poisoning.case(0.2, wordings, range(25), folder)
        assert abs(found["mean"] - 5) < 4 * math.sqrt(20 / 25)
        assert (found["after"], found["lost"], found["faults"]) == (0, 0, 0)
    assert found["lag"] < 1


def test_without_a_retraction_it_would_be_served_on() -> None:
    class Forgetful(Service):
        def retract(self, request: Request, hit: Hit) -> None: ...

    service = Forgetful(0.2, None)
    poisoning.plant(service, 0, 1)
    assert poisoning.story(service, 0).after > 50
