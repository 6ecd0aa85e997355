"""Signals that cost calls, labelled neighbours, and what is spent off the caller's path."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import numpy as np
import pytest

from cascade.asks import Call
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import UpstreamError
from cascade.gates import Gates
from cascade.lock import Lock
from cascade.neighbours import Nearby, pack
from cascade.policy import Policy
from cascade.testing import FakeModels, draft
from cascade.types import Draft
from tests.building import gate_of, lock_of, policy_of, scorer_of, tier

ASKED = [{"role": "user", "content": "What is the capital of France?"}]


def cascade_of(policy: Policy, lock: Lock | None, answer: Any) -> tuple[Cascade, FakeModels]:
    models = FakeModels(answer)
    return Cascade(policy, lock, transport=models, store=IN_MEMORY), models


def with_family(family: str, feature: str, **signals: Any) -> tuple[Policy, Lock]:
    """A policy whose only set reads one paid family besides text, and a gate that wants it high."""
    policy = policy_of(cache={"enabled": False}, signals={"sets": [[family, "text"]], **signals})
    name = "+".join(sorted([family, "text"]))
    gate = gate_of(signal_set=name, scorer=f"cheap/{name}", threshold=0.5)
    lock = lock_of(policy, gate)
    scorer = scorer_of("cheap", name, features=[feature])
    return policy, Lock(policy="p", scorers=[scorer], gates=lock.gates, certificates=lock.certificates)


@pytest.mark.parametrize(("second", "served_by"), [("Paris.", "cheap"), ("Lyon", "frontier")])
def test_samples_that_agree_accept_and_samples_that_do_not_escalate(second: str, served_by: str) -> None:
    """Family votes: two more samples, hotter than the draft."""
    policy, lock = with_family("votes", "votes.exact", votes={"samples": 2, "temperature": 0.9})

    def answer(call: Call) -> str:
        return second if call.purpose == "signal" else "Paris"

    cascade, models = cascade_of(policy, lock, answer)
    with cascade:
        decision = cascade.completion(ASKED).cascade
    assert decision.served_by == served_by
    asked = [call for call in models.calls if call.purpose == "signal"]
    assert [call.params["temperature"] for call in asked] == [0.9, 0.9]
    paid = [step for step in decision.steps if step.kind == "signal"]
    assert len(paid) == 2
    assert decision.cost == pytest.approx(sum(step.cost or 0.0 for step in decision.steps))
    assert all(step.cost for step in paid)


def test_a_signal_call_that_fails_leaves_its_family_absent_and_escalates() -> None:
    """One of two samples missing is not half a family."""
    policy, lock = with_family("votes", "votes.exact", votes={"samples": 2})
    replies = iter(["Paris", UpstreamError("down", retryable=False)])

    def answer(call: Call) -> Any:
        return next(replies) if call.purpose == "signal" else "Paris"

    cascade, _ = cascade_of(policy, lock, answer)
    with cascade:
        decision = cascade.completion(ASKED).cascade
    assert decision.served_by == "frontier"
    assert "signal set 'text'" in decision.why


def test_a_verifier_is_asked_for_one_token_and_its_probability_is_read() -> None:
    """Family verifier: P(True) is what the one token says."""
    policy, lock = with_family("verifier", "verifier.p_true", verifier={"tier": "frontier"})

    def answer(call: Call) -> Draft | str:
        return draft(call, "True", logprobs=[math.log(0.9)]) if call.purpose == "signal" else "Paris"

    cascade, models = cascade_of(policy, lock, answer)
    with cascade:
        decision = cascade.completion(ASKED).cascade
    assert decision.served_by == "cheap"
    assert decision.confidence is not None
    assert decision.confidence.score == pytest.approx(0.9)
    (asked,) = [call for call in models.calls if call.purpose == "signal"]
    assert (asked.tier, asked.params["max_tokens"], asked.endpoint.logprobs) == ("frontier", 1, True)


def test_a_second_model_that_agrees_accepts() -> None:
    """Family second: another tier's answer, charged at its own price."""
    policy = policy_of(
        tier("cheap"), tier("other"), tier("frontier"), cache={"enabled": False},
        signals={"sets": [["second", "text"]], "second": {"tier": "other"}},
    )  # fmt: skip
    name = "second+text"
    gate = gate_of(signal_set=name, scorer=f"cheap/{name}", threshold=0.5)
    made = lock_of(policy, gate)
    scorer = scorer_of("cheap", name, features=["second.exact"])
    lock = Lock(policy="p", scorers=[scorer], gates=made.gates, certificates=made.certificates)
    cascade, models = cascade_of(policy, lock, lambda call: "Paris")
    with cascade:
        assert cascade.completion(ASKED).cascade.served_by == "cheap"
    assert [call.tier for call in models.calls if call.purpose == "signal"] == ["other"]


def test_a_question_never_counts_itself_among_its_neighbours() -> None:
    """Left out, a row sees only the others: else the fit would read its own label."""
    vectors = np.eye(36, 64, dtype=np.float32)
    record = pack("cheap", "e", vectors, np.arange(36) == 3)
    assert record is not None
    nearby = Nearby(record)
    seen, unseen = nearby.measure(vectors[3]), nearby.measure(vectors[3], leave_out=3)
    assert seen is not None
    assert unseen is not None
    assert seen["failure"] == pytest.approx(1.0, abs=0.01)
    assert unseen["failure"] <= 0.01
    assert unseen["nearest"] <= 0.01


def test_packed_vectors_keep_their_similarity_within_a_hundredth() -> None:
    """int8 is near enough, on random directions of the packaged embedder's size."""
    draw = np.random.default_rng(0).normal(size=(100, 256)).astype(np.float32)
    vectors = draw / np.linalg.norm(draw, axis=1, keepdims=True)
    record = pack("cheap", "e", vectors, np.zeros(100, dtype=bool))
    assert record is not None
    for vector in vectors[:10]:
        found = Nearby(record).measure(vector)
        assert found is not None
        assert found["nearest"] == pytest.approx(float((vectors @ vector).max()), abs=0.01)


def test_neighbours_of_another_embedder_are_absent() -> None:
    """Vectors of different embedders never mix: the draft has the smaller signal set, and escalates."""
    policy = policy_of(signals={"sets": [["neighbours", "text"]]})
    record = pack("cheap", "one", np.eye(36, 64, dtype=np.float32), np.zeros(36, dtype=bool))
    assert record is not None
    lock = Lock(policy="p", neighbours=[record])
    assert Gates(policy, lock, embedder="one").nearby("cheap") is not None
    other = Gates(policy, lock, embedder="another")
    assert other.nearby("cheap") is None
    assert "another" in other.reasons["neighbours of cheap"]


def test_neighbours_need_a_minimum_of_labelled_questions() -> None:
    assert pack("cheap", "e", np.eye(4, dtype=np.float32), np.zeros(4, dtype=bool)) is None


def test_a_day_s_ceiling_ends_observation_and_the_decision_says_so() -> None:
    """Known before the draw, so the logged probability is zero and not a lie."""
    policy = policy_of(mode="observe", cache={"enabled": False}, observe={"rate": 1.0, "ceiling_usd_a_day": 1e-9})
    cascade, models = cascade_of(policy, None, lambda call: "Paris")
    with cascade:
        first = cascade.completion(ASKED).cascade
        cascade._shadows.drain(5.0)
        second = cascade.completion(ASKED).cascade
    assert (first.explore_probability, second.explore_probability) == (1.0, 0.0)
    assert "shadow ceiling reached" in second.flags
    assert [call.tier for call in models.calls] == ["frontier", "cheap", "frontier"]


def test_closing_waits_no_longer_than_it_was_told_for_a_shadow_that_hangs() -> None:
    """It is cancelled, and nothing that was acknowledged is lost."""
    policy = policy_of(mode="observe", cache={"enabled": False})

    async def answer(call: Call) -> str:
        if call.tier == "cheap":
            await asyncio.sleep(60)
        return "Paris"

    cascade, models = cascade_of(policy, None, answer)
    decision = cascade.completion(ASKED).cascade
    began = time.monotonic()
    cascade.close(timeout=0.1)
    assert time.monotonic() - began < 10
    assert [call.tier for call in models.calls] == ["frontier", "cheap"]
    found = cascade.ledger.get(decision.id)
    assert found is not None
    assert found.decision is not None
    assert found.decision.served_by == "frontier"
