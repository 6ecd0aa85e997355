"""The judge of the project's own questions: right answers in their usual dress pass, wrong ones do not."""

from __future__ import annotations

import doctest

import pytest

from benchmarks.questions import questions
from cascade.judging import gold as judge
from cascade.judging.gold import JUDGES, matches, normalised


def test_the_examples_in_the_judges_own_documentation_hold() -> None:
    """Every doctest of the module passes, and there are some."""
    result = doctest.testmod(judge)
    assert result.attempted >= 10
    assert result.failed == 0


@pytest.mark.parametrize(
    ("match", "answer", "reference"),
    [
        ("exact", "Billing.", "billing"),
        ("exact", "\n positive\n", "positive"),
        ("number", "The answer is 1,196.", "1196"),
        ("number", "35 euros", "35"),
        ("number", "20.00", "20"),
        ("number", "19 x 3 = 57", "57"),
        ("choice", "C", "C"),
        ("choice", "(c) Mercury", "C"),
        ("choice", "Option C", "C"),
        ("contains", "The capital is Bogotá.", "Bogota"),
        ("contains", "Port au Prince", "Port-au-Prince"),
        ("contains", "aluminum", "aluminium | aluminum"),
        ("cannot_tell", "I cannot tell.", "cannot tell"),
        ("cannot_tell", "It\u2019s not possible to tell", "cannot tell"),
        ("cannot_tell", "There is not enough information.", "cannot tell"),
        ("cannot_tell", "That depends on the speed.", "cannot tell"),
    ],
)
def test_a_right_answer_counts_in_any_usual_dress(match: str, answer: str, reference: str) -> None:
    """Case, accents, punctuation and a short sentence around it do not matter."""
    assert matches(match, answer, reference)


@pytest.mark.parametrize(
    ("match", "answer", "reference"),
    [
        ("exact", "billing and returns", "billing"),
        ("number", "57 or 58", "57"),
        ("number", "5.7", "57"),
        ("number", "", "0"),
        ("number", "fifty", "50"),
        ("choice", "B) C", "C"),
        ("choice", "Chimborazo", "C"),
        ("choice", "A cat", "A"),
        ("contains", "Nigeria", "Niger"),
        ("contains", "Rome, Paris, Oslo, Bern, Riga, Baku, Kyiv, Lima, Doha, Suva, Male, Accra, Dakar, Tunis", "Paris"),
        ("cannot_tell", "He told me at five.", "cannot tell"),
        ("cannot_tell", "", "cannot tell"),
        ("cannot_tell", "20 litres", "cannot tell"),
    ],
)  # fmt: skip
def test_a_wrong_answer_never_counts(match: str, answer: str, reference: str) -> None:
    """Neither part of a word, nor a list of everything, nor an empty answer."""
    assert not matches(match, answer, reference)


@pytest.mark.parametrize("match", sorted(JUDGES))
def test_an_empty_answer_is_never_right(match: str) -> None:
    """Whatever the judge."""
    assert not matches(match, "", "cannot tell" if match == "cannot_tell" else "7")


def test_every_question_names_a_judge_that_accepts_its_own_reference() -> None:
    """And for every one of the alternatives that the reference lists."""
    for question in questions():
        for one in question.reference.split(" | "):
            assert matches(question.match, one, question.reference), question


def test_no_answerable_question_takes_cannot_tell() -> None:
    """Always answering "cannot tell" is right only where something is missing."""
    for question in questions():
        assert matches(question.match, "cannot tell", question.reference) == (question.match == "cannot_tell")


def test_normalising_twice_changes_nothing() -> None:
    """It is a normal form."""
    for question in questions():
        assert normalised(normalised(question.query)) == normalised(question.query)
