"""Laws of the embedder that ships with its weights."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any

import numpy as np
import pytest

from cascade.embedding import Embedder, WordLlamaEmbedder
from cascade.errors import ConfigError


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return WordLlamaEmbedder()


def test_vectors_are_float32_of_unit_length_one_for_each_text(embedder: Embedder) -> None:
    vectors = embedder.embed(["Where is my order?", "Please refund me", "x"])
    assert vectors.shape == (3, embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimensions)


def test_a_text_without_tokens_is_zero_and_never_not_a_number(embedder: Embedder) -> None:
    assert not embedder.embed([""]).any()


def test_a_texts_vector_does_not_depend_on_its_company(embedder: Embedder) -> None:
    alone = embedder.embed(["short"])[0]
    assert embedder.embed(["a far longer text than the other one", "short"])[1] == pytest.approx(alone, abs=1e-6)


def test_a_paraphrase_is_nearer_than_another_question(embedder: Embedder) -> None:
    question, paraphrase, other = embedder.embed(
        ["How do I reset my password?", "I want to reset my password, how?", "What is the capital of Peru?"]
    )
    assert question @ paraphrase > question @ other


def test_the_name_says_package_version_model_and_dimensions(embedder: Embedder) -> None:
    package, version, *_, dimensions = embedder.name.split("-")
    assert (package, dimensions) == ("wordllama", "256")
    assert version[0].isdigit()


def test_loading_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    WordLlamaEmbedder().embed(["text"])


def test_loading_leaves_the_root_logger_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "wordllama" and "algorithms" not in name]:
        monkeypatch.delitem(sys.modules, name)
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    WordLlamaEmbedder().embed(["text"])
    assert (root.level, list(root.handlers)) == before


def test_a_missing_package_is_the_users_error_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = WordLlamaEmbedder()
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(ConfigError, match="pip install wordllama"):
        installed.embed(["text"])
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigError, match="pip install wordllama"):
        WordLlamaEmbedder()
