"""Laws of what a policy says of the cache and of its embedder, and of what a certificate is bound to by that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cascade.embedders import embedder_named
from cascade.embedding import MiniLM, WordLlamaEmbedder
from cascade.engine import embedder_of
from cascade.errors import ConfigError
from cascade.fresh import time_sensitive
from cascade.gates import Gates
from cascade.lock import Lock, identity
from cascade.neighbours import pack
from cascade.policy import Policy
from cascade.transports.embeddings import HostedEmbedder

TIERS = [{"name": "cheap", "model": "a"}, {"name": "frontier", "model": "b"}]


def policy(**given: Any) -> Policy:
    return Policy.model_validate({"name": "p", "target": {"max_error": 0.05}, "tiers": TIERS} | given)


@pytest.mark.parametrize(
    "question",
    [
        "What is the weather in Oslo?",
        "Who is president NOW?",
        "latest iPhone",
        "What was the score of the game?",
        "what happened this week",
        "Price of gold",
        "Is it open today?",
    ],
)
def test_questions_of_the_moment_are_known_by_their_words(question: str) -> None:
    assert time_sensitive(question, policy())


@pytest.mark.parametrize(
    "question", ["How do I reset my password?", "What is knowledge?", "Who wrote Hamlet?", "Is snow white?", ""]
)
def test_lasting_questions_are_not_taken_for_them(question: str) -> None:
    assert not time_sensitive(question, policy())


def test_a_policy_s_own_patterns_take_the_place_of_the_default_ones_in_any_case_of_letters() -> None:
    own = policy(cache={"time_sensitive": [r"\bheute\b"]})
    assert time_sensitive("Was gibt es HEUTE?", own)
    assert not time_sensitive("What is on today?", own)
    assert not time_sensitive("What is on today?", policy(cache={"time_sensitive": []}))


def test_a_pattern_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(ValidationError, match=r"(?s)cache.time_sensitive.1.*not a regular expression"):
        policy(cache={"time_sensitive": ["fine", "("]})


@pytest.mark.parametrize("place", [0, 1])
def test_no_tier_may_have_the_name_of_the_cache(place: int) -> None:
    tiers = [tier | ({"name": "cache"} if i == place else {}) for i, tier in enumerate(TIERS)]
    with pytest.raises(ValidationError, match="no tier may be named 'cache'"):
        policy(tiers=tiers)


@pytest.mark.parametrize("name", ["wordllama", "minilm", "litellm:openai/text-embedding-3-small"])
def test_a_name_means_one_embedder(name: str) -> None:
    kinds = {"wordllama": WordLlamaEmbedder, "minilm": MiniLM}
    assert type(embedder_named(name)) is kinds.get(name, HostedEmbedder)
    assert name.partition(":")[2] in embedder_named(name).name


@pytest.mark.parametrize(
    ("name", "said"), [("minilmm", "'minilm'"), ("", "there are: wordllama"), ("litellm:", "litellm")]
)
def test_another_name_is_the_user_s_error_and_the_nearest_is_named(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        embedder_named(name)


SETS = {"signals": {"sets": [["neighbours"]]}}
EXAMPLES = {"slices": {"a": {"examples": ["one", "two"]}, "b": {"examples": ["three", "four"]}}}
SEMANTIC = {"cache": {"semantic": True}}


@pytest.mark.parametrize("needs", [SETS, EXAMPLES, SEMANTIC], ids=["neighbours", "examples", "semantic"])
def test_the_policy_s_embedder_is_made_and_bound_to_only_where_something_needs_vectors(needs: dict[str, Any]) -> None:
    assert embedder_of(policy(embedder="minilm")) is None
    made = embedder_of(policy(embedder="minilm", **needs))
    assert isinstance(made, MiniLM)
    assert identity(policy(**needs), made.name)["embedder"] == made.name
    assert "embedder" not in identity(policy(), made.name)


def test_a_certificate_is_bound_to_what_may_be_stored_only_where_meaning_is_looked_for() -> None:
    assert "cache" not in identity(policy(), "e")
    assert identity(policy(cache={"tools": True}), "e") == identity(policy(), "e")
    assert "cache" in identity(policy(**SEMANTIC), "e")


@pytest.mark.parametrize("change", [{"max_temperature": 0.5}, {"tools": True}, {"time_sensitive": []}], ids=str)
def test_what_decides_which_answers_are_stored_voids_a_certificate(change: dict[str, Any]) -> None:
    changed = policy(cache={"semantic": True} | change)
    assert identity(changed, "e")["cache"] != identity(policy(**SEMANTIC), "e")["cache"]


def test_another_embedder_voids_a_certificate_and_how_much_is_kept_does_not() -> None:
    assert identity(policy(**SEMANTIC), "e")["cache"] != identity(policy(**SEMANTIC), "f")["cache"]
    kept = policy(cache={"semantic": True, "ttl": 5.0, "size_limit_mb": 1.0, "tags": ["product"]})
    assert identity(kept, "e") == identity(policy(**SEMANTIC), "e")


def test_labelled_questions_are_no_neighbours_of_another_embedder_s() -> None:
    vectors = np.eye(100, 4, dtype=np.float32)
    record = pack("cheap", "e", vectors, np.zeros(100, bool))
    assert record is not None
    lock = Lock(policy="p", neighbours=[record])
    reading = policy(**SETS)
    assert Gates(reading, lock, embedder="e").nearby("cheap") is not None
    other = Gates(reading, lock, embedder="f")
    assert other.nearby("cheap") is None
    assert "made with e, serving f" in other.reasons["neighbours of cheap"]
