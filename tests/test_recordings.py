"""The project's questions and what the real models answered: laws that the committed files obey."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.questions import Question, questions, split_of
from benchmarks.record import (
    DRAWN,
    DRAWS,
    RECORDINGS,
    TIERS,
    TOP,
    Recorded,
    Redrawn,
    auroc,
    better_prompts,
    cost,
    recorded,
    redrawn,
    summary,
)
from cascade.judging.gold import matches, normalised


@pytest.fixture(scope="module")
def rows() -> list[Recorded]:
    """The recorded answers, read once."""
    return recorded()


@pytest.fixture(scope="module")
def draws() -> list[Redrawn]:
    """The recorded draws, read once."""
    return redrawn()


def test_there_are_enough_questions() -> None:
    """At least 2,000 over at least six slices, about 300 of them paraphrases, ids unique, no question twice."""
    asked = questions()
    assert len(asked) >= 2000
    assert len({question.slice for question in asked}) >= 6
    assert sum(question.paraphrase_of is not None for question in asked) >= 280
    assert len({question.id for question in asked}) == len(asked)
    assert len({normalised(question.query) for question in asked}) == len(asked)


def test_no_paraphrase_crosses_splits() -> None:
    """A paraphrase shares slice, split and right answer with an original that is one."""
    known = {question.id: question for question in questions()}
    for question in known.values():
        if question.paraphrase_of is not None:
            original = known[question.paraphrase_of]
            assert original.paraphrase_of is None
            for field in ("slice", "split", "reference", "match", "system"):
                assert getattr(question, field) == getattr(original, field)


def test_the_splits_hold_the_shares_that_they_should() -> None:
    """30, 40 and 30 %, within five points, and every slice has some of each."""
    asked = questions()
    shares = Counter(question.split for question in asked)
    for split, share in {"fit": 0.3, "certify": 0.4, "test": 0.3}.items():
        assert abs(shares[split] / len(asked) - share) < 0.05
    assert len({(question.slice, question.split) for question in asked}) == 3 * len({q.slice for q in asked})
    assert all(question.split == split_of(question.paraphrase_of or question.id) for question in asked)


def test_always_cannot_tell_is_not_always_right() -> None:
    """The slice of underspecified questions holds answerable ones of the same shape."""
    judges = Counter(question.match for question in questions() if question.slice == "unclear")
    assert judges["cannot_tell"] >= 150
    assert judges.total() - judges["cannot_tell"] >= 50


def test_no_prompt_gives_a_question_away() -> None:
    """Neither the plain instruction nor the better prompt of a slice quotes one of its questions."""
    for question in questions():
        for prompt in (question.system, better_prompts()[question.slice]):
            assert normalised(question.query) not in normalised(prompt)


def test_what_was_recorded_are_the_questions_as_they_stand(rows: list[Recorded]) -> None:
    """Every question, unchanged, in the order of their ids, each answered by every tier."""
    assert [row.id for row in rows] == sorted(question.id for question in questions())
    known = {question.id: question for question in questions()}
    tiers = {tier.name for tier in TIERS}
    for row in rows:
        assert {name: getattr(row, name) for name in Question.__struct_fields__} == {
            name: getattr(known[row.id], name) for name in Question.__struct_fields__
        }
        assert set(row.models) == tiers


def test_the_judge_gives_every_recorded_verdict_again(rows: list[Recorded], draws: list[Redrawn]) -> None:
    """Of the answers and of the draws."""
    for row in rows:
        for answer in row.models.values():
            assert answer.correct == matches(row.match, answer.answer, row.reference), row.id
    for row in draws:
        for drawn in row.models.values():
            for sample in drawn.samples:
                assert sample.correct == matches(row.match, sample.answer, row.reference), row.id


def test_costs_are_tokens_times_price(rows: list[Recorded]) -> None:
    """For every call; and tokens that came out of a cache are tokens of the prompt."""
    prices = {tier.name: tier.price for tier in TIERS}
    for row in rows:
        for name, answer in row.models.items():
            assert answer.cost == cost(prices[name], answer.prompt_tokens, answer.completion_tokens) > 0
            assert 0 <= answer.cached_prompt_tokens < answer.prompt_tokens


def test_every_token_has_its_probabilities(rows: list[Recorded]) -> None:
    """Log-probabilities are at most zero, at most as many as tokens, with up to five of the likeliest beside each."""
    for row in rows:
        for answer in row.models.values():
            assert 0 < len(answer.logprobs) <= answer.completion_tokens
            assert len(answer.top_logprobs) == len(answer.logprobs)
            assert all(one <= 0 for one in answer.logprobs)
            assert all(0 < len(top) <= TOP and top == sorted(top, reverse=True) for top in answer.top_logprobs)
            assert answer.latency_ms > 0
            assert answer.cpu_ms > 0


def test_the_draws_are_of_test_questions_of_every_slice(draws: list[Redrawn]) -> None:
    """As many of each slice, five draws of two tiers each, and they do differ."""
    counts = Counter(row.slice for row in draws)
    assert sum(counts.values()) == DRAWN
    assert len(set(counts.values())) == 1
    assert set(counts) == {question.slice for question in questions()}
    for row in draws:
        assert row.split == "test"
        assert set(row.models) == {"cheap", "frontier"}
        assert all(len(drawn.samples) == DRAWS for drawn in row.models.values())
    assert any(len({sample.correct for sample in row.models["cheap"].samples}) == 2 for row in draws)


def test_the_recordings_are_small() -> None:
    """A few megabytes in all."""
    assert sum(path.stat().st_size for path in RECORDINGS.glob("*.gz")) < 4_000_000


def test_the_readme_shows_the_table_that_the_command_prints(rows: list[Recorded]) -> None:
    """Nobody has to keep it up by hand."""
    assert summary(rows) in (RECORDINGS / "README.md").read_text()


def test_auroc_is_its_definition() -> None:
    """Perfect, reversed, all tied, and undefined."""
    assert auroc([1, 2, 3], [0, 0, 1]) == 1
    assert auroc([3, 2, 1], [0, 0, 1]) == 0
    assert auroc([1, 1], [0, 1]) == 0.5
    assert auroc([1, 2], [1, 1]) is None
