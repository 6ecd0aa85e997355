"""Slices known by examples: the classifier, what it does not know, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.embedding import WordLlamaEmbedder
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import ConfigError
from cascade.intents import fit_intents
from cascade.testing import FakeModels
from tests.building import policy_of

EXAMPLES = {
    "billing": ["Why was my card charged twice?", "Where do I find my invoice?", "I want a refund for this month."],
    "delivery": ["Where is my parcel?", "The courier never came.", "When will the shipment arrive?"],
}
SLICES = {name: {"examples": texts} for name, texts in EXAMPLES.items()}


class Broken:
    """An embedder that breaks."""

    name = "broken"
    dimensions = 2

    def embed(self, texts: list[str]) -> Any:
        raise RuntimeError("no vectors today")


@pytest.fixture(scope="module")
def embedder() -> WordLlamaEmbedder:
    return WordLlamaEmbedder()


def test_every_example_is_put_into_its_own_slice_or_none(embedder: WordLlamaEmbedder) -> None:
    """The margin is fitted so that no example, left out, would have gone into a wrong slice."""
    intents = fit_intents(policy_of(slices=SLICES), embedder)
    assert intents is not None
    for name, texts in EXAMPLES.items():
        for vector in embedder.embed(texts):
            assert intents.classify(vector) in (name, None)


def test_a_new_question_goes_where_its_like_went(embedder: WordLlamaEmbedder) -> None:
    """Through the whole engine, without the caller naming a slice."""
    models = FakeModels(lambda call: "an answer")
    with Cascade(policy_of(slices=SLICES), transport=models, store=IN_MEMORY, embedder=embedder) as cascade:
        reply = cascade.completion([{"role": "user", "content": "My parcel has not arrived, where is the courier?"}])
        assert reply.cascade.slice == "delivery"


def test_a_question_between_two_slices_is_unknown_and_goes_to_the_last_tier(embedder: WordLlamaEmbedder) -> None:
    """Equally near to both: the margin is zero, and zero is never above a fitted margin."""
    intents = fit_intents(policy_of(slices=SLICES), embedder)
    assert intents is not None
    between = np.asarray(intents.prototypes).sum(axis=0)
    assert intents.classify(between / np.linalg.norm(between)) is None


def test_an_embedder_that_breaks_makes_the_request_unknown_not_fail() -> None:
    """The last tier answers."""
    models = FakeModels(lambda call: "an answer")
    policy = policy_of(slices=SLICES)
    fitted = WordLlamaEmbedder()
    with Cascade(policy, transport=models, store=IN_MEMORY, embedder=fitted) as cascade:
        cascade.parts._embedder = Broken()  # it worked when the examples were fitted
        reply = cascade.completion([{"role": "user", "content": "Where is my parcel?"}])
        assert (reply.cascade.slice, reply.cascade.served_by) == ("unknown", "frontier")
        assert cascade.parts.faults["embedder: RuntimeError"] == 1


def test_the_caller_s_slice_is_never_overruled_and_nothing_is_embedded_for_it() -> None:
    """Nor when a rule of the policy names one."""
    models = FakeModels(lambda call: "an answer")
    fitted = WordLlamaEmbedder()
    with Cascade(policy_of(slices=SLICES), transport=models, store=IN_MEMORY, embedder=fitted) as cascade:
        cascade.parts._embedder = Broken()
        reply = cascade.completion([{"role": "user", "content": "Where is my parcel?"}], slice="billing")
        assert reply.cascade.slice == "billing"
        assert not cascade.parts.faults


@pytest.mark.parametrize(
    "slices", [{"a": {"examples": ["one"]}, "b": {"examples": ["x", "y"]}}, {"a": SLICES["billing"]}]
)
def test_too_few_examples_are_the_user_s_error(slices: dict[str, Any], embedder: WordLlamaEmbedder) -> None:
    """One example cannot be left out; one slice has nothing to be told from."""
    with pytest.raises(ConfigError, match="example"):
        fit_intents(policy_of(slices=slices), embedder)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5))
def test_a_larger_margin_never_answers_more(seed: int, margin: float) -> None:
    """Whatever the vector."""
    from cascade.intents import Intents

    draw = np.random.default_rng(seed).normal(size=(4, 8))
    rows = draw / np.linalg.norm(draw, axis=1, keepdims=True)
    low = Intents(slices=["a", "b", "c"], prototypes=rows[:3], margin=margin, embedder="e")
    high = Intents(slices=["a", "b", "c"], prototypes=rows[:3], margin=margin + 0.1, embedder="e")
    assert high.classify(rows[3]) in (low.classify(rows[3]), None)
