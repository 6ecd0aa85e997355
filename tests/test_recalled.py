"""Recorded rows with what a cache would have found: who may be answered from whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.errors import ConfigError
from cascade.language import language_of
from cascade.learning.drawn import splits_of
from cascade.learning.recalled import recalled
from cascade.policy import Policy
from cascade.types import CACHE, ModelOutcome, Outcome
from tests.building import policy_of, tier


class Letters:
    """Vectors of letter counts: near texts are near."""

    name, dimensions = "letters", 26

    def embed(self, texts: list[str]) -> Any:
        counts = np.array([[text.count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


POLICY = policy_of(tier("cheap"), tier("frontier", params={"temperature": 0}), cache={"semantic": True})
COLD = {"temperature": 0}
SAME = ("what is the name of the cat?", "what is the name of a cat?", "what is the name of my cat?")
"""Near questions in one language, so that each may be answered from another."""


def row_of(id: str, query: str, split: str = "fit", answer: str = "yes", **fields: Any) -> Outcome:
    models = {"frontier": ModelOutcome(answer=answer, finish_reason="stop", correct=1, completion_tokens=1)}
    return Outcome(id=id, query=query, split=split, **{"params": COLD, "models": models, **fields})


def found(rows: list[Outcome], policy: Policy = POLICY) -> dict[str, str | None]:
    """Which question each row's stored answer was given to."""
    return {r.id: r.models[CACHE].question if CACHE in r.models else None for r in recalled(rows, policy, Letters())}


WORDS = st.text(alphabet="abcde ", min_size=1, max_size=8).filter(str.strip)
ROWS = st.lists(
    st.tuples(
        WORDS, st.sampled_from(["fit", "certify", "test"]), st.sampled_from(["", "t"]), st.sampled_from(["a", "b"])
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_a_row_finds_only_fit_rows_or_earlier_ones_of_its_own_unit_within_its_context(rows: list[Any]) -> None:
    """And never itself: the same request again would be an exact hit."""
    made = [
        row_of(f"r{i}", text, split, tenant=tenant, paraphrase_of=f"u{unit}")
        for i, (text, split, tenant, unit) in enumerate(rows)
    ]
    splits = splits_of(made)
    for place, row in enumerate(recalled(made, POLICY, Letters())):
        stored = row.models.get(CACHE)
        allowed = [
            other
            for at, other in enumerate(made)
            if other.tenant == row.tenant
            and other.query != row.query
            and language_of(other.query or "") == language_of(row.query or "")
            and (at < place if other.paraphrase_of == row.paraphrase_of else splits[at] == "fit")
        ]
        assert (stored is None) == (not allowed)
        if stored is not None:
            assert stored.question in {other.query for other in allowed}
            vectors = Letters().embed([row.query or "", *(other.query or "" for other in allowed)])
            assert stored.signals["match.similarity"] == pytest.approx(
                float((vectors[1:] @ vectors[0]).max()), abs=1e-5
            )


def test_certified_rows_do_not_hang_on_one_another() -> None:
    """Whatever becomes of the other certify rows, a row finds the same."""
    fit = [row_of(f"f{i}", text) for i, text in enumerate(SAME)]
    certify = [row_of(f"c{i}", f"{text} And why?", "certify") for i, text in enumerate(SAME)]
    whole = found([*fit, *certify])
    for left_out in certify:
        rest = [row for row in certify if row is not left_out]
        assert found([*fit, *rest]) == {name: text for name, text in whole.items() if name != left_out.id}


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "another"},
        {"slice": "s"},
        {"system": "Be brief."},
        {"params": {**COLD, "tools": []}},
        {"stakes": "high"},
    ],
)
def test_another_context_has_another_cache(other: dict[str, Any]) -> None:
    rows = [row_of("a", SAME[0], **other), row_of("b", SAME[1])]
    assert found(rows) == {"a": None, "b": None}


@pytest.mark.parametrize("answer", ["", "I can't help with that."])
def test_an_answer_that_failed_a_check_was_never_stored(answer: str) -> None:
    assert found([row_of("a", SAME[0], answer=answer), row_of("b", SAME[1], "certify")])["b"] is None


def test_a_label_is_taken_over_only_from_the_same_words_to_the_same_question() -> None:
    wrong = ModelOutcome(answer="no", finish_reason="stop", correct=0)
    right = ModelOutcome(answer="yes", finish_reason="stop", correct=1)
    rows = [
        row_of("a", SAME[0], answer="no"),
        row_of("b", SAME[1], "certify", models={"cheap": wrong, "frontier": right}),
        row_of("c", SAME[2], "certify", models={"frontier": right}),
    ]
    b, c = (row.models[CACHE] for row in recalled(rows, POLICY, Letters())[1:])
    assert (b.answer, b.correct) == ("no", 0)
    assert c.answer == "no"
    assert c.quality is None


def test_what_live_traffic_recorded_stays_as_it_is() -> None:
    live = ModelOutcome(answer="stored", question="q", entry="e", correct=1)
    rows = [row_of("a", SAME[0]), row_of("b", SAME[1], models={CACHE: live})]
    assert recalled(rows, POLICY, Letters())[1].models == {CACHE: live}


def test_a_policy_without_a_semantic_cache_has_nothing_to_recall() -> None:
    with pytest.raises(ConfigError, match="semantic = true"):
        recalled([row_of("a", "abc")], policy_of(), Letters())


def test_an_answer_that_serving_would_not_have_stored_is_found_by_nobody() -> None:
    """One that contradicts itself in a label is served where nothing is better, but not kept."""
    checked = policy_of(
        tier("cheap"),
        tier("frontier", params={"temperature": 0}),
        cache={"semantic": True},
        labels={"said": {"pattern": "yes|no"}},
        checks=[{"name": "label_consistent"}],
    )
    for answer, kept in (("yes", SAME[0]), ("yes, or no", None)):
        rows = [row_of("a", SAME[0], answer=answer), row_of("b", SAME[1], "certify")]
        assert found(rows, checked)["b"] == kept
        assert found(rows)["b"] == SAME[0]
