"""The semantic cache in the engine: what is asked of an embedder, what is withheld, what is written down."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from cascade.embedding import Remembered
from cascade.engine import IN_MEMORY, Cascade
from cascade.gates import Gates
from cascade.ledger.redact import redacted
from cascade.lock import seal
from cascade.pairing import BUCKETS, Pairing
from cascade.testing import FakeModels, draft
from cascade.types import CACHE, ModelOutcome, Outcome
from tests.building import certificate_of, gate_of, lock_of, policy_of, scorer_of, tier

COLD = {"params": {"temperature": 0}}


class Counting:
    """An embedder that says where it was called and what for, at a price."""

    name, dimensions = "counting", 2

    def __init__(self, slow: bool = False) -> None:
        self.slow = slow
        self.texts: list[str] = []
        self.threads: set[int] = set()

    def embed(self, texts: list[str]) -> Any:
        self.texts += texts
        self.threads.add(threading.get_ident())
        return np.ones((len(texts), 2), np.float32) / np.float32(2**0.5)

    def embed_charged(self, texts: list[str]) -> tuple[Any, float]:
        return self.embed(texts), 0.25 * len(texts)


def engine_of(embedder: Counting, **more: Any) -> Cascade:
    cache = {"semantic": True, **more.pop("cache", {})}
    policy = policy_of(tier("cheap", **COLD), tier("frontier", **COLD), cache=cache)
    models = FakeModels(lambda call: draft(call, "yes", logprobs=[-5.0]))
    return Cascade(policy, transport=models, store=IN_MEMORY, embedder=embedder, **more)


def ask(cascade: Cascade, text: str, **more: Any) -> Any:
    return cascade.completion([{"role": "user", "content": text}], **more).cascade


def test_a_question_is_embedded_once_though_look_up_and_store_both_need_its_vector() -> None:
    embedder = Counting()
    with engine_of(embedder) as cascade:
        ask(cascade, "Where is it?")
        ask(cascade, "Where is she?")
    assert embedder.texts == ["Where is it?", "Where is she?"]


def test_an_exact_hit_embeds_nothing() -> None:
    embedder = Counting()
    with engine_of(embedder) as cascade:
        ask(cascade, "Where is it?")
        assert ask(cascade, "Where is it?").served == "cached"
    assert embedder.texts == ["Where is it?"]


def test_what_embedding_cost_is_in_the_decision_that_looked_up() -> None:
    with engine_of(Counting()) as cascade:
        ask(cascade, "Where is it?")
        steps = ask(cascade, "Where is she?").steps
    assert [step.cost for step in steps if step.kind == "lookup"] == [0.25]


@pytest.mark.parametrize("slow", [True, False])
def test_a_slow_embedder_is_never_called_on_the_event_loop(slow: bool) -> None:
    embedder = Counting(slow)

    async def work() -> int:
        async with engine_of(embedder) as cascade:
            await cascade.acompletion([{"role": "user", "content": "Where is it?"}])
        return threading.get_ident()

    loop = asyncio.run(work())
    assert (loop in embedder.threads) != slow


def test_one_text_is_remembered_and_many_are_not() -> None:
    embedder = Counting()
    kept = Remembered(embedder)
    first, again = kept.embed_charged(["a"]), kept.embed_charged(["a"])
    assert (first[1], again[1]) == (0.25, 0.0)
    assert (first[0] == again[0]).all()
    kept.embed(["a", "b"])
    assert embedder.texts == ["a", "a", "b"]


def test_personal_and_time_sensitive_requests_are_neither_stored_nor_answered_from_the_cache() -> None:
    with engine_of(Counting(), personal=lambda request: "my" in request.question) as cascade:
        for text in ("What is my balance?", "Is it raining today?"):
            ask(cascade, text)
            assert ask(cascade, text).served != "cached"
        ask(cascade, "What is a balance?")
        assert ask(cascade, "What is a balance?").served == "cached"


def test_entries_go_by_the_tags_that_the_policy_names() -> None:
    with engine_of(Counting(), cache={"tags": ["product"]}) as cascade:
        ask(cascade, "How big is it?", metadata={"product": "widget"})
        ask(cascade, "How big is it?", metadata={"product": "gadget"})
        cache = cascade.parts.cache
        assert cache is not None
        assert cache.invalidate("product=widget") == 1  # type: ignore[attr-defined]
        assert ask(cascade, "How big is it?", metadata={"product": "widget"}).served != "cached"
        assert ask(cascade, "How big is it?", metadata={"product": "gadget"}).served == "cached"


@pytest.mark.parametrize("content", ["hashed", "none"])
def test_a_ledger_without_content_keeps_neither_the_stored_question_nor_its_key(content: Any) -> None:
    stored = ModelOutcome(answer="a", question="whose salary?", entry="abc", signals={"match.similarity": 1.0})
    kept = redacted(Outcome(id="r", query="q", models={CACHE: stored}), content, b"salt").models[CACHE]
    assert (kept.answer, kept.question, kept.entry) == (None, None, None)
    assert kept.signals == stored.signals


def test_other_weights_of_words_than_were_certified_void_the_certificate() -> None:
    policy = policy_of(cache={"semantic": True})
    near = gate_of(CACHE, signal_set="match+pair", scorer="cache/match+pair")
    scorers = [scorer_of(CACHE, "match+pair", features=["match.similarity"])]
    pairing = Pairing(weights=bytes(2 * BUCKETS), scale=1.0, intercept=0.0)
    sealed = certificate_of(policy, near, seal=seal([near], scorers, pairing))
    lock = replace(lock_of(policy, near, certificates=[sealed]), scorers=scorers, pairing=pairing)
    assert Gates(policy, lock).any_open(CACHE, "default")
    other = replace(lock, pairing=replace(pairing, scale=2.0))
    assert "other thresholds or weights" in Gates(policy, other).reasons["c1"]


def test_a_copied_policy_works_out_its_sources_and_families_anew() -> None:
    policy = policy_of(cache={"semantic": True})
    assert [source.name for source in policy.sources] == [CACHE, "cheap"]
    assert "match" not in policy.families
    plain = policy.model_copy(update={"cache": policy.cache.model_copy(update={"semantic": False})})
    assert [source.name for source in plain.sources] == ["cheap"]
    signals = policy.signals.model_copy(update={"sets": [["votes"]]})
    assert policy.model_copy(update={"signals": signals}).families == {"votes"}


def test_without_a_policy_the_judge_command_still_retracts_the_answer_itself(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cascade.cli import app
    from tests.test_heeding import ASKED, NEAR, NEARER
    from tests.test_heeding import ask as said
    from tests.test_heeding import engine_of as served_by_similarity

    cascade, _ = served_by_similarity(sure=False, store=tmp_path)
    with cascade:
        said(cascade, ASKED)
        assert said(cascade, NEAR).served_by == CACHE
    done = CliRunner().invoke(app, ["judge", str(tmp_path), "--tier", CACHE, "--command", "false", "--json"])
    assert done.exit_code == 0, done.output
    cascade, _ = served_by_similarity(sure=False, store=tmp_path)
    with cascade:
        assert said(cascade, NEARER).served_by == "frontier"


def test_a_slow_embedder_tells_slices_apart_off_the_event_loop_too() -> None:
    embedder = Counting(slow=True)
    slices = {"a": {"examples": ["one", "two"]}, "b": {"examples": ["three", "four"]}}
    policy = policy_of(slices=slices, cache={"enabled": False})
    models = FakeModels(lambda call: draft(call, "yes"))
    cascade = Cascade(policy, transport=models, store=IN_MEMORY, embedder=embedder)
    embedder.threads.clear()

    async def work() -> int:
        async with cascade:
            await cascade.acompletion([{"role": "user", "content": "Where is it?"}])
        return threading.get_ident()

    loop = asyncio.run(work())
    assert embedder.threads
    assert loop not in embedder.threads


def test_two_policies_with_the_same_tiers_on_one_store_do_not_answer_for_each_other(tmp_path: Path) -> None:
    models = FakeModels(lambda call: draft(call, "yes"))
    engines = [
        Cascade(policy_of(tier("frontier", **COLD), name=name), transport=models, store=tmp_path) for name in "pq"
    ]
    first, other = engines
    with first, other:
        ask(first, "Where is it?")
        assert ask(other, "Where is it?").served != "cached"
        assert ask(first, "Where is it?").served == "cached"
