"""A provider's embeddings against a real server: the vectors, what they cost, and what may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cascade.errors import ConfigError, UpstreamError
from cascade.transports.embeddings import HostedEmbedder
from cascade.transports.hosted import load
from tests.misbehaving import Server, vector_of

# What a server says that is no number, pydantic warns of within litellm.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")

KEY = "sk-planted-9b1f63d2a4c7"
NAMES = iter(range(10_000))


@pytest.fixture(autouse=True, scope="module")
def _loop() -> Iterator[None]:
    """The event loop that litellm asks the thread for, even by its synchronous calls."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STUB_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    yield
    for client in load().in_memory_llm_clients_cache.cache_dict.values():  # what litellm leaves to the process's end
        if type(client).__name__ == "OpenAI":
            client.close()
    load().in_memory_llm_clients_cache.flush_cache()


def embedder_at(server: Server, behaviour: str, **given: Any) -> HostedEmbedder:
    """Of a model of its own, so that the server's counts are this embedder's."""
    model = f"openai/{behaviour}@{next(NAMES)}"
    return HostedEmbedder(model, base_url=server.url, api_key_env="STUB_KEY", **{"dimensions": 4, "retries": 1} | given)


def asked(server: Server) -> list[list[str]]:
    return [request.body["input"] for request in server.asked]


def test_vectors_are_of_unit_length_in_the_order_of_the_texts(server: Server) -> None:
    texts = ["where is it", "refund me", "cancel"]
    vectors = embedder_at(server, "embed").embed(texts)
    assert vectors.dtype == np.float32
    wanted = np.array([vector_of(text, 4) for text in texts])
    assert vectors == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True), abs=1e-6)


def test_texts_go_in_batches_and_blank_ones_not_at_all(server: Server) -> None:
    texts = ["a", "", "b", " \n", "c", "d", "e"]
    vectors = embedder_at(server, "embed", batch=2).embed(texts)
    assert asked(server) == [["a", "b"], ["c", "d"], ["e"]]
    assert vectors.any(axis=1).tolist() == [True, False, True, False, True, True, True]
    assert embedder_at(server, "embed").embed([]).shape == (0, 4)


def test_dimensions_are_asked_for_and_are_in_the_name(server: Server) -> None:
    embedder = embedder_at(server, "embed", dimensions=6)
    assert embedder.embed(["text"]).shape == (1, 6)
    assert server.asked[-1].body["dimensions"] == 6
    assert embedder.name == f"litellm:{embedder.model}-6"


def test_dimensions_that_nobody_says_are_learnt_by_one_call(server: Server) -> None:
    embedder = embedder_at(server, "embed", dimensions=None)
    assert embedder.dimensions == embedder.dimensions == 4
    assert len(asked(server)) == 1
    assert "dimensions" not in server.asked[-1].body


def test_dimensions_of_a_known_model_cost_no_call() -> None:
    assert HostedEmbedder("openai/text-embedding-3-small").name == "litellm:openai/text-embedding-3-small-1536"


def test_what_a_known_model_s_vectors_cost_is_told_and_an_unknown_price_is_none(server: Server) -> None:
    known = HostedEmbedder(
        "openai/text-embedding-3-small", base_url=server.url, api_key_env="STUB_KEY", dimensions=4, batch=2
    )
    found = known.embed_charged(["a", "b", "c"])
    assert found.dollars == pytest.approx(30 * 0.02 / 1e6)
    assert embedder_at(server, "embed").embed_charged(["a"]).dollars is None
    assert embedder_at(server, "embed").embed_charged([""]).dollars == 0.0


def test_a_refusal_for_load_is_tried_again(server: Server) -> None:
    embedder = embedder_at(server, "embed-429-then-ok", retries=1)
    assert embedder.embed(["text"]).any()
    assert len(asked(server)) == 2


@pytest.mark.parametrize("retries", [1, 2])
def test_it_is_tried_as_often_again_as_was_said(retries: int, server: Server) -> None:
    with pytest.raises(UpstreamError, match="too many requests"):
        embedder_at(server, "429-at-once", retries=retries).embed(["text"])
    assert len(asked(server)) == 1 + retries


@pytest.mark.parametrize("option", ["dimensions", "retries", "batch"])
def test_an_option_of_nothing_is_the_user_s_error(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} .* at least 1"):
        HostedEmbedder("openai/x", **{option: 0})


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("embed-short", "3 dimensions, not 4"),
        ("embed-one", "1 vectors for 2 texts"),
        ("embed-nan", "not finite"),
        ("embed-zero", "all zero"),
        ("embed-words", "something else than numbers"),
        ("429", "too many requests"),
        ("500", "the fault is on its side"),
        ("401", "rejects the key"),
        ("not-json", "openai failed"),
        ("error-200", "openai"),
        ("cut", "openai"),
        ("no-such-model", "it knows no model"),
    ],
)
def test_what_a_provider_does_wrong_is_said_in_words_and_without_the_key(
    behaviour: str, said: str, server: Server
) -> None:
    with pytest.raises(UpstreamError, match=said) as raised:
        embedder_at(server, behaviour).embed(["one", "two"])
    assert KEY not in str(raised.value)


def test_a_server_that_says_nothing_is_given_up_in_time(server: Server) -> None:
    with pytest.raises(UpstreamError, match=r"within 0\.05 s"):
        embedder_at(server, "timeout", timeout=0.05).embed(["text"])


def test_a_server_that_is_not_there_is_said_to_be_so() -> None:
    there = HostedEmbedder(
        "openai/x", base_url="http://127.0.0.1:9/v1", api_key_env="STUB_KEY", dimensions=4, retries=1
    )
    with pytest.raises(UpstreamError, match="cannot be reached"):
        there.embed(["text"])


def test_a_missing_key_and_an_unknown_provider_are_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        HostedEmbedder("openai/text-embedding-3-small").embed(["text"])
    with pytest.raises(ConfigError, match="no provider of 'nonesuch'"):
        HostedEmbedder("nonesuch", dimensions=4).embed(["text"])
