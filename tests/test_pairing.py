"""The family pair: words learned from labelled pairs, the same at fitting and at serving, no text in a lock."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.learning.pairing import connected, fit_pairing
from cascade.metrics import auroc
from cascade.pairing import BUCKETS, Pairing
from cascade.types import Draft, Hit

THINGS = [f"thing{i}" for i in range(40)]
any_text = st.text(st.characters(), max_size=80)


def labelled(count: int, seed: int = 0) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Pairs that differ in one word: harmless where it is ``please``, fatal where it is ``backwards``."""
    dice = random.Random(seed)
    pairs, right = [], []
    for number in range(count):
        asked = f"how to use {dice.choice(THINGS)} with {dice.choice(THINGS)} number{seed}x{number}"
        good = dice.random() < 0.5
        pairs.append((asked, f"{asked} {'please' if good else 'backwards'}"))
        right.append(good)
    return pairs, np.array(right)


@pytest.fixture(scope="module")
def fitted() -> tuple[Pairing, np.ndarray, np.ndarray]:
    pairs, right = labelled(300)
    found = fit_pairing(pairs, right, np.ones(len(right)))
    assert found is not None
    return *found, right


def test_a_word_that_spoiled_answers_speaks_against_them(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    pairing = fitted[0]
    assert pairing.score("how to peel it", "how to peel it please") > 0.0
    assert pairing.score("how to peel it", "how to peel it backwards") < 0.0


def test_pairs_that_no_step_has_seen_are_told_apart(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    pairs, right = labelled(200, seed=1)
    assert auroc(np.array([fitted[0].score(*pair) for pair in pairs]), right) == 1.0


def test_out_of_fold_scores_rank_as_new_pairs_do_and_are_weaker_than_the_fit(
    fitted: tuple[Pairing, np.ndarray, np.ndarray],
) -> None:
    pairing, logodds, right = fitted
    own = np.array([pairing.score(*pair) for pair in labelled(300)[0]])
    assert auroc(logodds, right) == 1.0
    assert np.abs(logodds).mean() < np.abs(own).mean()


def test_labels_without_a_reason_teach_nothing_out_of_fold() -> None:
    """Each topic asked ten times has one label by lot: a fold that shared topics would look it up."""
    dice = random.Random(2)
    pairs, right = [], []
    for topic in range(40):
        good = dice.random() < 0.5
        for way in range(10):
            pairs.append((f"topic{topic} word{topic}", f"topic{topic} word{topic} way{way}"))
            right.append(good)
    found = fit_pairing(pairs, np.array(right), np.ones(len(right)))
    assert found is not None
    area = auroc(found[1], np.array(right))
    assert area is not None
    assert area < 0.65


def test_a_word_that_both_have_is_not_one_that_is_lacking(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    both = fitted[0].score("how to peel it backwards", "how to peel it backwards")
    assert both > fitted[0].score("how to peel it", "how to peel it backwards") + 1.0


def test_without_words_the_intercept_is_all_there_is(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    assert fitted[0].score("", "?") == fitted[0].intercept != 0.0


def test_pairs_of_no_weight_teach_nothing_in_a_fold_either() -> None:
    pairs, right = labelled(100)
    others, wrong = labelled(100, seed=3)
    found = fit_pairing(pairs + others, np.concatenate([right, ~wrong]), np.repeat([1.0, 1e-9], 100))
    assert found is not None
    assert auroc(found[1][:100], right) == 1.0


@given(any_text, any_text)
@example("\ud800", "a")
def test_any_pair_has_a_score_whichever_question_came_first(
    fitted: tuple[Pairing, np.ndarray, np.ndarray], one: str, other: str
) -> None:
    pairing = fitted[0]
    assert pairing.score(one, other) == pytest.approx(pairing.score(other, one))
    assert np.isfinite(pairing.score(one, other))


def test_the_family_has_one_value_and_is_the_score(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    stored = Hit(key="k", draft=Draft(tier="a", model="m"), kind="semantic", question="how to peel it backwards")
    assert fitted[0].measure("how to peel it", stored) == {
        "logodds": fitted[0].score("how to peel it", stored.question)
    }


def test_a_lock_keeps_the_weights_and_no_word(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    written = msgspec.json.encode(fitted[0])
    again = msgspec.json.decode(written, type=Pairing)
    assert again == fitted[0]
    assert b"backwards" not in written
    assert len(again.weights) == 2 * BUCKETS


def test_weights_are_packed_within_half_a_step(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    """The largest weight takes the whole range of a byte, so that no other loses more than it must."""
    values = np.frombuffer(fitted[0].weights, np.int8)
    assert np.abs(values.astype(int)).max() == 127


def test_a_pairing_that_was_cut_is_refused(fitted: tuple[Pairing, np.ndarray, np.ndarray]) -> None:
    cut = msgspec.structs.replace(fitted[0], weights=fitted[0].weights[:-1])
    with pytest.raises(ValueError, match="8191 weights for 8192 places"):
        cut.score("a", "b")


@pytest.mark.parametrize("right", [[True] * 12, [True] * 8 + [False] * 4, [False] * 12])
def test_too_few_labels_of_a_kind_fit_nothing(right: list[bool]) -> None:
    assert fit_pairing(labelled(12)[0], np.array(right), np.ones(12)) is None


def test_one_question_in_all_pairs_fits_nothing() -> None:
    """There is no fold without it."""
    pairs = [("the same", f"another {i}") for i in range(20)]
    assert fit_pairing(pairs, np.arange(20) % 2 == 0, np.ones(20)) is None


def test_pairs_are_connected_through_the_questions_that_they_share() -> None:
    groups = connected([("a", "b"), ("c", "d"), ("b", "e"), ("e", "f"), ("g", "g")])
    assert groups[0] == groups[2] == groups[3]
    assert len({int(groups[0]), int(groups[1]), int(groups[4])}) == 3


def test_a_row_of_weight_two_counts_as_the_row_twice() -> None:
    pairs, right = labelled(60)
    once = fit_pairing(pairs, right, np.where(np.arange(60) < 20, 2.0, 1.0))
    twice = fit_pairing(pairs + pairs[:20], np.concatenate([right, right[:20]]), np.ones(80))
    assert once is not None
    assert twice is not None
    assert once[0].score("x", "x please") == pytest.approx(twice[0].score("x", "x please"), abs=0.02)
