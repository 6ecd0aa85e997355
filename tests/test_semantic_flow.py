"""A near question's answer is a draft like any other: what the flow makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.asks import Ask, Call, Embed, Keep, Lookup, Spawn
from cascade.decide import coin
from cascade.flow import answer
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.run import Rules, Run
from cascade.testing import draft, scripted
from cascade.types import CACHE, Answer, Decision, Draft, Hit, Outcome, Request
from tests.building import certificate_of, gate_of, lock_of, policy_of, request_of, scorer_of, tier

STORED = Draft(tier="frontier", model="frontier-model", text="It is four.", finish_reason="stop", cost=0.01)
SURE, UNSURE = 0.95, 0.5
SEMANTIC: dict[str, Any] = {"cache": {"semantic": True}}


def hit_of(similarity: float = SURE, **fields: Any) -> Hit:
    made = {"key": "k", "draft": STORED, "kind": "semantic", "question": "what is 2 and 2?", **fields}
    return Hit(similarity=similarity, **made)


def policy_with(*tiers: dict[str, Any], **more: Any) -> Policy:
    return policy_of(*tiers, **{**SEMANTIC, **more})


def lock_with(policy: Policy, threshold: float = 0.9, slice: str = "*") -> Lock:
    """A lock whose cache lets a similarity of at least the threshold pass; its other gates as ever."""
    near = gate_of(CACHE, signal_set="match", scorer="cache/match", threshold=threshold, slice=slice)
    others = [gate_of(t.name) for t in policy.tiers[:-1]]
    found = lock_of(policy, near, *others, certificates=[certificate_of(policy, near, *others)])
    reads = scorer_of(CACHE, "match", features=["match.similarity"])
    return Lock(
        policy=found.policy,
        scorers=[one if one.tier != CACHE else reads for one in found.scorers],
        gates=found.gates,
        certificates=found.certificates,
    )


def driven(policy: Policy, lock: Lock | None, hit: Hit | None, request: Request, *drafts: str) -> tuple[Any, list[Ask]]:
    rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy, priced=False))
    run = Run(rules, request, clock=lambda: 0.0, at=0.0)
    flow = answer(run)

    def replies() -> Any:
        yield hit
        for tier_name, text in zip([t.name for t in run.plan.tiers], drafts, strict=False):
            call = rules.ladder.call(
                request, run.plan.slice, policy.tier(tier_name), policy.tier(tier_name), "whole", 1.0
            )
            yield draft(call, text, logprobs=[-0.1] * 8)

    return scripted(flow, replies())


def decision_of(ended: Any) -> Decision:
    assert isinstance(ended, Answer)
    return ended.decision


def row_of(asks: list[Ask]) -> Outcome:
    return next(ask.outcome for ask in asks if isinstance(ask, Keep))


def test_a_near_hit_that_its_gate_lets_pass_is_served_under_the_caches_certificate() -> None:
    policy = policy_with()
    ended, asks = driven(policy, lock_with(policy), hit_of(), request_of())
    decision = decision_of(ended)
    assert (decision.served, decision.served_by, decision.certificate) == ("cached", CACHE, "c1")
    assert decision.confidence is not None
    assert decision.confidence.scorer == "cache/match"
    assert decision.threshold == 0.9
    assert decision.cost == 0.0
    assert not [ask for ask in asks if isinstance(ask, Call)]


@pytest.mark.parametrize("lock", [None, "no gate for the cache", "under the threshold"])
def test_a_near_hit_without_an_open_gate_or_under_its_threshold_is_recorded_and_not_served(lock: str | None) -> None:
    policy = policy_with()
    locks = {None: None, "no gate for the cache": lock_of(policy), "under the threshold": lock_with(policy)}
    similarity = UNSURE if lock == "under the threshold" else SURE
    ended, asks = driven(policy, locks[lock], hit_of(similarity), request_of(), "four", "four")
    assert decision_of(ended).served != "cached"
    stored = row_of(asks).models[CACHE]
    assert (stored.answer, stored.question, stored.entry) == (STORED.text, "what is 2 and 2?", "k")
    assert stored.signals["match.similarity"] == similarity
    assert stored.cost == 0.0


def test_what_is_recorded_of_a_near_hit_is_what_a_replay_rules_on() -> None:
    """The signals of the ledger's row give the same decision again."""
    from cascade.replay import replay_one

    policy = policy_with()
    lock = lock_with(policy)
    for similarity in (SURE, UNSURE):
        ended, asks = driven(policy, lock, hit_of(similarity), request_of(), "four", "four")
        rules = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy, priced=False))
        again = replay_one(row_of(asks), rules).decision
        assert again is not None
        assert (again.served, again.served_by) == (decision_of(ended).served, decision_of(ended).served_by)


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"mode": "observe"}, {}),
        ({"stakes": [{"when": {"stakes": "high"}, "tier": "cheap"}]}, {"stakes": "high"}),
        ({"slices": {"s": {"route": "frontier"}}}, {"slice": "s"}),
        ({"slices": {"s": {"require_context": ["account"]}}}, {"slice": "s"}),
        ({"slices": {"s": {}}}, {"slice": "another"}),
    ],
)
def test_where_the_policy_asks_for_a_tier_nothing_merely_near_is_served(more: Any, fields: Any) -> None:
    policy = policy_with(**more)
    ended, _ = driven(policy, lock_with(policy), hit_of(), request_of(**fields), "four", "four")
    assert decision_of(ended).served_by != CACHE


@pytest.mark.parametrize(
    "broken",
    [Draft(tier="frontier", model="m", text=""), Draft(tier="frontier", model="m", text="I can't help with that.")],
)
def test_a_stored_answer_that_fails_a_hard_check_is_not_served_to_another_question(broken: Draft) -> None:
    policy = policy_with()
    ended, _ = driven(policy, lock_with(policy), hit_of(draft=broken), request_of(), "four")
    assert decision_of(ended).served_by != CACHE


def test_a_hit_that_breaks_the_gate_costs_the_request_nothing() -> None:
    policy = policy_with()
    ended, _ = driven(policy, lock_with(policy), hit_of(similarity="near"), request_of(), "four")  # type: ignore[arg-type]
    decision = decision_of(ended)
    assert decision.served_by == "cheap"
    assert any(CACHE in flag for flag in decision.flags)


def test_closing_a_tiers_gate_closes_the_caches_with_it() -> None:
    """A joint promise does not survive one of its gates."""
    policy = policy_with()
    gates = Gates(policy, lock_with(policy), closed=frozenset([gate_of().id]))
    assert not gates.any_open(CACHE, "default")


def test_served_near_hits_have_the_whole_ladder_asked_aside_with_the_logged_probability() -> None:
    policy = policy_with(explore={"rate": 0.3})
    for number in range(40):
        request = request_of(id=f"r{number}")
        ended, asks = driven(policy, lock_with(policy), hit_of(), request)
        fell = coin(policy.audit.salt, "explore", request.id) < 0.3
        assert decision_of(ended).explore_probability == 0.3
        assert any(isinstance(ask, Spawn) for ask in asks) == fell


def test_an_exact_hit_is_repeated_without_asking_anybody_aside() -> None:
    policy = policy_with(explore={"rate": 1.0})
    ended, asks = driven(policy, lock_with(policy), hit_of(kind="exact"), request_of())
    assert decision_of(ended).explore_probability == 0.0
    assert not any(isinstance(ask, Spawn) for ask in asks)


def test_a_slice_known_by_examples_is_told_by_the_vector_that_the_lookup_made() -> None:
    policy = policy_with(
        slices={"sums": {"examples": ["what is 1 and 1?", "2 plus 3?"]}, "other": {"examples": ["hello"]}}
    )
    import numpy as np

    _, asks = driven(policy, None, hit_of(vectors=np.zeros((2, 4), np.float32)), request_of(), "four", "four")
    assert isinstance(asks[0], Lookup)
    assert not any(isinstance(ask, Embed) for ask in asks)


def test_no_tier_may_be_called_cache() -> None:
    with pytest.raises(Exception, match="no tier may be named"):
        policy_of(tier("cache"), tier("frontier"))
