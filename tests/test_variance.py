"""Variance by question, draw and judge: worked out by hand, found again where it is known, and its laws."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.record import DRAWN, DRAWS, RECORDINGS
from cascade.errors import ConfigError
from cascade.ledger import read_outcomes
from cascade.types import ModelOutcome, Outcome, Sample, Verdict
from cascade.variance import VarianceSplit, drawn_qualities, noise_of_drawing, paired_split, split_variance

Shaped = arrays(float, st.tuples(*[st.integers(2, 4)] * 3), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
"""Two to four questions, draws and judges, complete."""


def drawn(random: np.random.Generator, shape: tuple[int, int, int], sds: tuple[float, float, float]) -> Any:
    """Normal qualities with known standard deviations of question, draw and judge."""
    n, d, _ = shape
    question, draw, judge = sds
    parts = random.normal(0, question, (n, 1, 1)), random.normal(0, draw, (n, d, 1)), random.normal(0, judge, shape)
    return 0.5 + parts[0] + parts[1] + parts[2]


# ---- by hand


def test_two_questions_two_draws_two_judges_by_hand() -> None:
    """Answers' means .8 .4 and .2 0, questions' .6 and .1.

    Judge: squares within answers 2 (.1^2) + 2 (.2^2) + 2 (.2^2) + 0 = .18 over 4 spare verdicts: .045.
    Draw: between answers 2 (.2^2) + 2 (.1^2) = .1 over 2 spare draws, .05, less judge/2: .0275.
    Question: variance of .6 and .1 is .125, less draw/2 and judge/4: .125 - .01375 - .01125 = .1.
    """
    found = split_variance(np.array([[[0.9, 0.7], [0.6, 0.2]], [[0.4, 0.0], [0.0, 0.0]]]))
    assert (found.question, found.draw, found.judge) == pytest.approx((0.1, 0.0275, 0.045))
    assert (found.questions, found.mean, found.clipped) == (2, pytest.approx(0.35), [])
    assert found.total == pytest.approx(0.1725)
    assert found.of_mean == pytest.approx({"question": 0.1 / 0.1725, "draw": 0.0275 / 0.1725, "judge": 0.045 / 0.1725})


def test_missing_verdicts_by_hand() -> None:
    """Question one: answers (1, 0) and (1, -), means .5 and 1, its mean .75. Question two: one answer, 0.

    Judge: .5 over 1 spare verdict = .5. Draw: 2 (.25^2) = .125, of which judges make
    (1 - 1/2) (.5/2 + .5/1) = .375: -.25 over 1, given as 0. Question: variance of .75 and 0 is .28125;
    noise of one (-.25)/2 + (.75)/4 = .0625, of two -.25 + .5 = .25; less their mean .15625: .125.
    """
    found = split_variance(np.array([[[1.0, 0.0], [1.0, nan]], [[nan, 0.0], [nan, nan]]]))
    assert (found.question, found.draw, found.judge) == pytest.approx((0.125, 0.0, 0.5))
    assert found.clipped == ["draw"]


def test_a_difference_by_hand() -> None:
    """Ours (1 0) (1 1), theirs (0 0) (1 0): each has draw variance .5/2 = .25, their sum .5.

    Means of the difference .5 - 0 and 1 - .5: .5 twice, variance 0; less .5/2 each: -.25, given as 0.
    So the mean over 100 questions swings by 1.96 sqrt(.5 / 100) = .1386.
    """
    ours, theirs = np.array([[[1.0], [0.0]], [[1.0], [1.0]]]), np.array([[[0.0], [0.0]], [[1.0], [0.0]]])
    found = paired_split(ours, theirs)
    assert (found.question, found.draw, found.judge, found.mean) == (0.0, 0.5, None, 0.5)
    assert found.clipped == ["question"]
    assert noise_of_drawing(found, 100) == pytest.approx(0.1386, abs=1e-4)


# ---- what the data cannot show


def test_one_draw_shows_no_draw_and_one_judge_no_judge() -> None:
    """Unknown is not zero; what is unknown is in the next component above."""
    random = np.random.default_rng(0)
    full = drawn(random, (4000, 4, 3), (0.3, 0.2, 0.1))
    alone = split_variance(full[:, :1, :])
    assert alone.draw is None
    assert alone.question == pytest.approx(0.3**2 + 0.2**2, rel=0.08)
    assert noise_of_drawing(alone, 10) is None
    single = split_variance(full[:, :, :1])
    assert single.judge is None
    assert single.draw == pytest.approx(0.2**2 + 0.1**2, rel=0.08)
    assert single.question == pytest.approx(0.3**2, rel=0.08)
    neither = split_variance(full[:, :1, :1])
    assert (neither.draw, neither.judge) == (None, None)
    assert neither.of_mean == {"question": 1.0}
    assert split_variance(full[:1]).question is None


def test_what_one_side_alone_shows_is_not_lost() -> None:
    """Theirs has one draw or one judge: the difference's total is the same, the component unknown."""
    random = np.random.default_rng(1)
    ours, theirs = (drawn(random, (6000, 3, 3), (0.2, 0.2, 0.3)) for _ in range(2))
    total = 2 * (0.2**2 + 0.2**2 + 0.3**2)
    for fewer, missing in ((theirs[:, :1, :], "draw"), (theirs[:, :, :1], "judge"), (theirs[:, :1, :1], "draw")):
        for pair in ((ours, fewer), (fewer, ours)):
            found = paired_split(*pair)
            assert getattr(found, missing) is None
            assert found.total == pytest.approx(total, rel=0.06)


def test_no_quality_at_all_is_the_caller_s_fault() -> None:
    with pytest.raises(ConfigError, match="no question"):
        split_variance(np.full((3, 2, 1), nan))
    with pytest.raises(ConfigError, match="both models"):
        paired_split(np.array([[[1.0]], [[nan]]]), np.array([[[nan]], [[1.0]]]))
    with pytest.raises(ConfigError, match="2 questions"):
        paired_split(np.ones((2, 1, 1)), np.ones((3, 1, 1)))


# ---- known components are found


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_components_are_unbiased(missing: float) -> None:
    """Mean over 400 small data sets, complete and with two answers of five unjudged, within 4 standard errors."""
    random = np.random.default_rng(2)
    found = []
    for _ in range(400):
        qualities = drawn(random, (30, 3, 2), (0.4, 0.3, 0.2))
        qualities[random.random(qualities.shape) < missing] = nan
        one = split_variance(qualities)
        found.append((one.question, one.draw, one.judge))
    means, errors = np.mean(found, axis=0), np.std(found, axis=0) / 20
    assert (abs(means - np.array([0.16, 0.09, 0.04])) < 4 * errors).all()
    assert (errors < 0.005).all()


def test_a_mean_swings_by_what_the_split_says() -> None:
    """The variance of the mean of one draw and one verdict a question is total / questions."""
    random = np.random.default_rng(3)
    means = [drawn(random, (50, 1, 1), (0.3, 0.2, 0.2)).mean() for _ in range(3000)]
    split = split_variance(drawn(random, (3000, 3, 3), (0.3, 0.2, 0.2)))
    assert np.var(means) == pytest.approx(split.total / 50, rel=0.12)


def test_redrawing_moves_a_difference_within_its_noise_in_95_of_100() -> None:
    """Right or wrong answers, each question with a chance of its own; questions stay, answers are drawn anew."""
    random = np.random.default_rng(4)
    chances = random.beta(0.5, 0.5, (2, 300))
    draws = [(random.random((300, 5)) < chance[:, None]).astype(float)[:, :, None] for chance in chances]
    noise = noise_of_drawing(paired_split(draws[0], draws[1]), 300)
    assert noise is not None
    again = (random.random((4000, 2, 300)) < chances).mean(axis=2)
    moved = abs(again[:, 0] - again[:, 1] - (chances[0] - chances[1]).mean())
    assert (moved < noise).mean() == pytest.approx(0.95, abs=0.02)


def test_what_both_models_find_hard_cancels_in_their_difference() -> None:
    random = np.random.default_rng(5)
    shared = random.normal(0, 0.3, (3000, 1, 1))
    ours, theirs = (shared + random.normal(0, 0.1, (3000, 3, 1)) for _ in range(2))
    found = paired_split(ours, theirs)
    assert found.question == pytest.approx(0.0, abs=0.002)
    assert found.draw == pytest.approx(0.02, rel=0.1)


# ---- laws


@given(Shaped)
def test_the_parts_add_up(qualities: Any) -> None:
    found = split_variance(qualities)
    assert found.total == pytest.approx(sum(v or 0.0 for v in (found.question, found.draw, found.judge)))
    assert sum(found.of_mean.values()) == (pytest.approx(1.0) if found.total else 0)
    assert all(getattr(found, name) == 0.0 for name in found.clipped)


@given(Shaped, st.sampled_from([-2.0, 0.5, 3.0]), st.floats(-1, 1))
def test_a_scale_is_squared_and_a_shift_is_nothing(qualities: Any, scale: float, shift: float) -> None:
    here, there = split_variance(qualities), split_variance(qualities * scale + shift)
    for name in ("question", "draw", "judge"):
        assert getattr(there, name) == pytest.approx(getattr(here, name) * scale**2, abs=1e-9)


@given(Shaped, st.randoms(use_true_random=False))
def test_the_order_of_questions_and_draws_is_nothing(qualities: Any, random: Any) -> None:
    order = random.sample(range(len(qualities)), len(qualities))
    assert _close(split_variance(qualities), split_variance(qualities[order][:, ::-1, ::-1]))


@given(Shaped)
def test_room_for_answers_that_nobody_gave_is_nothing(qualities: Any) -> None:
    """Empty questions, draws and judges change no figure."""
    roomy = np.full(tuple(size + 1 for size in qualities.shape), nan)
    roomy[:-1, :-1, :-1] = qualities
    assert _close(split_variance(qualities), split_variance(roomy))


@given(Shaped)
def test_a_difference_turns_round_and_nothing_is_its_own_noise(qualities: Any) -> None:
    other = 1.0 - qualities[::-1]
    one, turned = paired_split(qualities, other), paired_split(other, qualities)
    assert turned.mean == pytest.approx(-one.mean)
    assert _close(one, turned)
    assert split_variance(qualities).draw == pytest.approx(paired_split(qualities, other * 0.0).draw, abs=1e-12)


def _close(one: VarianceSplit, other: VarianceSplit) -> bool:
    names = ("question", "draw", "judge")
    return all(getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-9) for name in names)


# ---- draws in outcomes


def test_a_sample_has_the_quality_that_a_single_answer_would_have() -> None:
    told = [Verdict(judge="a", acceptable=False), Verdict(judge="b", acceptable=False, score=0.7)]
    cases: list[tuple[dict[str, Any], float | None]] = [
        ({"verdicts": told}, 0.7),
        ({"verdicts": told[:1], "score": 0.9}, 0.0),
        ({"score": 0.9, "correct": 0}, 0.9),
        ({"correct": 1}, 1.0),
        ({"answer": "x"}, None),
    ]
    for fields, quality in cases:
        assert Sample(**fields).quality == ModelOutcome(**fields).quality == quality


def test_qualities_stand_by_outcome_draw_and_judge() -> None:
    """The latest verdict of each judge; a data set's own label beside them; one answer where there are no draws."""
    twice = [Verdict(judge="b", acceptable=True), Verdict(judge="a", acceptable=True, score=0.2)]
    twice.append(Verdict(judge="b", acceptable=False))
    outcomes = [
        Outcome(id="1", models={"cheap": ModelOutcome(correct=0, samples=[Sample(verdicts=twice), Sample(correct=1)])}),
        Outcome(id="2", models={"cheap": ModelOutcome(score=0.5)}),
        Outcome(id="3", models={"frontier": ModelOutcome(correct=1)}),
    ]
    expected = [[[nan, 0.2, 0.0], [1.0, nan, nan]], [[0.5, nan, nan], [nan] * 3], [[nan] * 3] * 2]
    np.testing.assert_array_equal(drawn_qualities(outcomes, "cheap"), expected)


def test_the_recorded_draws_are_read() -> None:
    """Five draws of both tiers on every question; answers to one question differ, and that is seen."""
    outcomes = list(read_outcomes(RECORDINGS / "draws.jsonl.gz"))
    columns = [drawn_qualities(outcomes, tier) for tier in ("cheap", "frontier")]
    assert all(one.shape == (DRAWN, DRAWS, 1) and not np.isnan(one).any() for one in columns)
    found = paired_split(columns[0], columns[1])
    assert found.draw is not None
    assert found.draw > 0.0
    assert found.judge is None
