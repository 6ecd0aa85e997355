"""The rules that accept or escalate: nothing is served cheap without a certificate that is in force."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cascade.decide import (
    UNKNOWN_SLICE,
    Plan,
    Ruling,
    audit_probability,
    coin,
    effective_mode,
    find_slice,
    plan,
    rule,
    serves,
    usable,
)
from cascade.gates import ROUTED, Gates
from cascade.lock import Gate, Lock
from cascade.policy import Policy
from cascade.types import CheckResult, Confidence, Draft, Hit, Request, Signals
from tests.building import (
    SET,
    THRESHOLD,
    certificate_of,
    gate_of,
    lock_of,
    policy_of,
    request_of,
    scorer_of,
    signals_of,
    tier,
)


def planned(policy: Policy, gates: Gates, request: Request) -> Plan:
    return plan(request, policy, gates, find_slice(request, policy))


def ruled(policy: Policy, gates: Gates, request: Request, signals: Signals, *, at: int = 0) -> Ruling:
    made = planned(policy, gates, request)
    return rule(request, made, made.tiers[at].name, [], signals, gates)


def asked(policy: Policy, lock: Lock | None, request: Request | None = None) -> list[str]:
    made = planned(policy, Gates(policy, lock), request or request_of())
    return [t.name for t in made.tiers]


@given(st.floats(allow_nan=False, width=32), st.sampled_from([None, "closed", "void", "by hand"]))
def test_nothing_certified_always_escalates(mean: float, why: str | None) -> None:
    policy = policy_of()
    lock = {
        None: None,
        "closed": lock_of(policy, gate_of(threshold=None)),
        "void": lock_of(policy, certificates=[]),
        "by hand": lock_of(policy),
    }[why]
    gates = Gates(policy, lock, closed=frozenset([gate_of().id]) if why == "by hand" else frozenset())
    made = planned(policy, gates, request_of())
    assert [t.name for t in made.tiers] == ["frontier"]
    pretended = Plan(slice="default", mode="enforce", tiers=list(policy.tiers), why="cascade")
    assert not rule(request_of(), pretended, policy.tiers[0].name, [], signals_of(mean), gates).serve
    assert len(gates) == 0
    assert why is None or gates.reasons


@given(st.floats(min_value=-20, max_value=0))
def test_a_draft_is_served_exactly_when_its_score_reaches_the_threshold(mean: float) -> None:
    policy = policy_of()
    ruling = ruled(policy, Gates(policy, lock_of(policy)), request_of(), signals_of(mean))
    assert ruling.serve == (mean >= THRESHOLD)
    assert ruling.threshold == THRESHOLD
    assert ruling.certificate == "c1"
    assert ruling.confidence is not None
    assert ruling.confidence.score == mean


def test_a_certificate_for_two_gates_is_void_when_one_of_them_closes() -> None:
    policy = policy_of(tier("cheap"), tier("middle"), tier("frontier"))
    lock = lock_of(policy)
    assert asked(policy, lock) == ["cheap", "middle", "frontier"]
    gates = Gates(policy, lock, closed=frozenset([gate_of("middle").id]))
    assert [t.name for t in planned(policy, gates, request_of()).tiers] == ["frontier"]
    assert "c1" in gates.reasons


def test_a_second_certificate_for_the_gate_that_stays_open_keeps_it_open() -> None:
    policy = policy_of(tier("cheap"), tier("middle"), tier("frontier"))
    doors = [gate_of("cheap"), gate_of("middle")]
    both, alone = certificate_of(policy, *doors), certificate_of(policy, doors[0], id="c2")
    gates = Gates(policy, lock_of(policy, *doors, certificates=[both, alone]), closed=frozenset([doors[1].id]))
    assert [t.name for t in planned(policy, gates, request_of()).tiers] == ["cheap", "frontier"]
    assert ruled(policy, gates, request_of(), signals_of()).certificate == "c2"


@pytest.mark.parametrize(
    "change",
    [{"model": "other"}, {"params": {"temperature": 0.5}}, {"prompt": "Be brief."}, {"prompts": {"a": "Hm."}}],
)
@pytest.mark.parametrize("name", ["cheap", "frontier"])
def test_a_change_of_what_makes_a_tiers_answers_voids_the_certificate(name: str, change: dict[str, Any]) -> None:
    lock = lock_of(policy_of())
    changed = policy_of(*(tier(n, **(change if n == name else {})) for n in ("cheap", "frontier")))
    assert asked(changed, lock) == ["frontier"]


def test_a_change_of_price_or_patience_voids_nothing() -> None:
    lock = lock_of(policy_of())
    changed = policy_of(tier("cheap", timeout=3.0, price={"input": 9.0, "output": 9.0}), tier("frontier", retries=0))
    assert asked(changed, lock) == ["cheap", "frontier"]


def test_a_change_of_the_order_of_tiers_voids_the_certificate() -> None:
    """Which draft is served depends on who is asked first, so the promise does too."""
    lock = lock_of(policy_of(tier("a"), tier("b"), tier("frontier")))
    assert asked(policy_of(tier("b"), tier("a"), tier("frontier")), lock) == ["frontier"]


def test_a_certificate_that_is_bound_to_nothing_is_void() -> None:
    policy = policy_of()
    unbound = certificate_of(policy, gate_of(), identity={})
    assert asked(policy, lock_of(policy, certificates=[unbound])) == ["frontier"]


@pytest.mark.parametrize("target", [{"max_error": 0.01}, {"max_regret": 0.05}, {"max_error": 0.05, "confidence": 0.99}])
def test_a_promise_weaker_than_the_target_is_void(target: dict[str, float]) -> None:
    assert asked(policy_of(target=target), lock_of(policy_of())) == ["frontier"]


def test_a_promise_stronger_than_the_target_stands() -> None:
    assert asked(policy_of(target={"max_error": 0.2, "confidence": 0.9}), lock_of(policy_of()))[0] == "cheap"


def test_a_signal_set_without_a_gate_escalates() -> None:
    policy = policy_of()
    gates = Gates(policy, lock_of(policy))
    assert not ruled(policy, gates, request_of(), signals_of(None)).serve
    richer = Signals(values={"logprobs.mean": -0.1, "votes.exact": 1.0}, families=("logprobs", "text", "votes"))
    assert not ruled(policy, gates, request_of(), richer).serve


def test_the_smaller_signal_set_is_served_by_its_own_gate() -> None:
    policy = policy_of()
    gates = Gates(policy, lock_of(policy, gate_of(), gate_of(signal_set="text", scorer="cheap/text")))
    ruling = ruled(policy, gates, request_of(), signals_of(None))
    assert ruling.serve
    assert ruling.confidence is not None
    assert ruling.confidence.signal_set == "text"


@given(st.sets(st.sampled_from(["logprobs.mean", "text.length"]), max_size=1))
def test_a_missing_signal_is_never_imputed(there: set[str]) -> None:
    scorer = scorer_of(
        "cheap", features=["logprobs.mean", "text.length"], means=[0.0] * 2, scales=[1.0] * 2, weights=[0.0] * 2
    )
    signals = Signals(values=dict.fromkeys(there, 0.0), families=("logprobs", "text"))
    assert scorer.score(signals, "default") is None
    assert scorer.confidence(signals, "default") is None


def test_a_score_that_is_no_number_serves_nothing() -> None:
    policy = policy_of()
    gates = Gates(policy, lock_of(policy))
    assert not ruled(policy, gates, request_of(), signals_of(float("nan"))).serve
    assert not ruled(policy, gates, request_of(), signals_of(float("inf"))).serve


def test_a_scorer_fitted_for_another_tier_or_set_opens_nothing() -> None:
    policy = policy_of(tier("cheap"), tier("middle"), tier("frontier"))
    crossed = [gate_of("cheap", scorer=f"middle/{SET}"), gate_of("middle")]
    assert asked(policy, lock_of(policy, *crossed)) == ["frontier"]


def test_a_slices_own_closed_gate_is_not_served_by_the_pooled_one() -> None:
    policy = policy_of(slices={"billing": {}, "other": {}})
    own = gate_of(slice="billing", threshold=None)
    lock = lock_of(policy, gate_of(), own, certificates=[certificate_of(policy, gate_of())])
    assert asked(policy, lock, request_of(slice="other")) == ["cheap", "frontier"]
    assert asked(policy, lock, request_of(slice="billing")) == ["frontier"]


def test_a_slices_own_gate_rules_before_the_pooled_one() -> None:
    policy = policy_of(slices={"billing": {}, "other": {}})
    gates = Gates(policy, lock_of(policy, gate_of(), gate_of(slice="billing", threshold=-0.01)))
    assert ruled(policy, gates, request_of(slice="other"), signals_of(-0.5)).serve
    assert not ruled(policy, gates, request_of(slice="billing"), signals_of(-0.5)).serve


def routed_policy() -> tuple[Policy, Gate]:
    policy = policy_of(slices={"forms": {"route": "cheap"}, "chat": {}})
    gate = gate_of(slice="forms", signal_set=ROUTED, scorer=None, threshold=None, routed=True)
    return policy, gate


def test_a_routed_slice_needs_its_certificate_like_any_other() -> None:
    policy, gate = routed_policy()
    request = request_of(slice="forms")
    assert asked(policy, None, request) == ["frontier"]
    assert asked(policy, lock_of(policy, gate, certificates=[]), request) == ["frontier"]
    assert asked(policy, lock_of(policy, gate), request) == ["cheap", "frontier"]


def test_a_routed_slice_is_served_whatever_the_signals_but_not_past_a_hard_check() -> None:
    policy, gate = routed_policy()
    gates, request = Gates(policy, lock_of(policy, gate)), request_of(slice="forms")
    assert ruled(policy, gates, request, signals_of(None)).served == "routed"
    made = planned(policy, gates, request)
    failed = [CheckResult(name="empty", outcome="fail")]
    assert not rule(request, made, made.tiers[0].name, failed, signals_of(), gates).serve


def test_stakes_forbid_the_cheaper_tiers_but_give_no_certificate() -> None:
    policy = policy_of(
        tier("cheap"), tier("middle"), tier("frontier"),
        stakes=[{"when": {"stakes": "high"}, "tier": "middle"}, {"when": {"pattern": "refund"}, "tier": "frontier"}],
    )  # fmt: skip
    lock = lock_of(policy)
    assert asked(policy, lock) == ["cheap", "middle", "frontier"]
    assert asked(policy, lock, request_of(stakes="high")) == ["middle", "frontier"]
    assert asked(policy, lock, request_of("a REFUND please", stakes="high")) == ["frontier"]
    assert asked(policy, None, request_of(stakes="high")) == ["frontier"]


def test_a_request_without_its_context_escalates_or_is_flagged_as_the_policy_says() -> None:
    slices = {name: {"require_context": ["plan"], "missing_context": name} for name in ("escalate", "flag")}
    policy = policy_of(slices=slices)
    lock = lock_of(policy)
    assert asked(policy, lock, request_of(slice="escalate")) == ["frontier"]
    assert asked(policy, lock, request_of(slice="escalate", metadata={"plan": "pro"})) == ["cheap", "frontier"]
    flagged = planned(policy, Gates(policy, lock), request_of(slice="flag"))
    assert [t.name for t in flagged.tiers] == ["cheap", "frontier"]
    assert flagged.flags == ["missing_context:plan"]


def test_a_slice_that_the_policy_does_not_know_escalates() -> None:
    policy = policy_of(slices={"billing": {"when": {"pattern": "invoice"}}})
    lock = lock_of(policy)
    assert find_slice(request_of(slice="bilingual"), policy) == UNKNOWN_SLICE
    assert asked(policy, lock, request_of(slice="bilingual")) == ["frontier"]
    assert asked(policy, lock, request_of("hello")) == ["frontier"]
    assert asked(policy, lock, request_of("my invoice")) == ["cheap", "frontier"]


@pytest.mark.parametrize("percent", [0.0, 10.0, 50.0, 100.0])
def test_the_roll_out_is_deterministic_and_about_its_percentage(percent: float) -> None:
    policy, again = policy_of(rollout=percent), policy_of(rollout=percent)
    requests = [request_of(id=f"r{i}") for i in range(2000)]
    modes = [effective_mode(request, policy) for request in requests]
    assert modes == [effective_mode(request, again) for request in requests]
    assert binomtest(modes.count("enforce"), len(modes), percent / 100).pvalue > 1e-4


def test_a_larger_roll_out_keeps_those_who_were_in_the_smaller() -> None:
    inside = [
        {i for i in range(500) if effective_mode(request_of(id=f"r{i}"), policy_of(rollout=p)) == "enforce"}
        for p in (20.0, 60.0)
    ]
    assert inside[0] < inside[1]


def test_in_observe_mode_only_the_last_tier_answers() -> None:
    policy = policy_of(mode="observe")
    made = planned(policy, Gates(policy, lock_of(policy)), request_of())
    assert [t.name for t in made.tiers] == ["frontier"]
    assert [t.name for t in made.shadows] == ["cheap"]
    assert made.explore_probability == 1.0


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_coin_is_the_same_for_ever_and_lies_in_the_unit_interval(salt: str, purpose: str, name: str) -> None:
    assert coin(salt, purpose, name) == coin(salt, purpose, name)
    assert 0.0 <= coin(salt, purpose, name) < 1.0


def test_a_coin_is_uniform_and_one_purpose_says_nothing_about_another() -> None:
    drawn = [(coin("s", "audit", str(i)), coin("s", "explore", str(i))) for i in range(4000)]
    for share in (0.05, 0.5, 0.9):
        assert binomtest(sum(a < share for a, _ in drawn), len(drawn), share).pvalue > 1e-4
    both = sum(a < 0.5 and b < 0.5 for a, b in drawn)
    assert binomtest(both, len(drawn), 0.25).pvalue > 1e-4


def test_exploration_is_logged_whether_or_not_the_coin_fell() -> None:
    policy = policy_of(explore={"rate": 0.3})
    plans = [planned(policy, Gates(policy, None), request_of(id=f"r{i}")) for i in range(1000)]
    assert {made.explore_probability for made in plans} == {0.3}
    assert binomtest(sum(bool(made.shadows) for made in plans), len(plans), 0.3).pvalue > 1e-4


def hit_of(name: str, certificate: str | None = "c1", kind: str = "exact") -> Hit:
    confidence = Confidence(probability=0.9, score=0.0, signal_set=SET, scorer=f"{name}/{SET}")
    draft = Draft(tier=name, model="m", text="four")
    return Hit(key="k", draft=draft, kind=kind, confidence=confidence, certificate=certificate)  # type: ignore[arg-type]


def test_an_exact_hit_stands_under_the_certificate_of_the_decision_it_repeats() -> None:
    policy = policy_of()
    gates = Gates(policy, lock_of(policy))
    made = planned(policy, gates, request_of())
    assert serves(hit_of("cheap"), made, policy, gates)
    assert not serves(hit_of("cheap", "another"), made, policy, gates)
    assert not serves(hit_of("cheap", None), made, policy, gates)


def test_an_accepted_answer_whose_certificate_is_gone_is_not_served_again() -> None:
    policy = policy_of()
    for gates in (Gates(policy, None), Gates(policy, lock_of(policy), closed=frozenset([gate_of().id]))):
        made = planned(policy, gates, request_of())
        assert not serves(hit_of("cheap"), made, policy, gates)
        assert serves(hit_of("frontier", None), made, policy, gates)


def test_a_semantic_hit_is_a_decision_of_its_own_and_has_no_certificate_here() -> None:
    policy = policy_of()
    gates = Gates(policy, lock_of(policy))
    made = planned(policy, gates, request_of())
    assert not serves(hit_of("cheap", kind="semantic"), made, policy, gates)
    assert not serves(hit_of("frontier", kind="semantic"), made, policy, gates)


def test_stakes_hold_for_stored_answers_too() -> None:
    policy = policy_of(stakes=[{"when": {"stakes": "high"}, "tier": "frontier"}])
    gates = Gates(policy, lock_of(policy))
    made = planned(policy, gates, request_of(stakes="high"))
    assert not serves(hit_of("cheap"), made, policy, gates)


FAILS = st.lists(
    st.sampled_from(["empty", "truncated", "refusal", "label_consistent", "schema", "tools", "silent_failure", "mine"]),
    unique=True,
)


@given(FAILS, st.booleans())
def test_only_what_the_caller_would_have_had_without_us_is_lesser(failed: list[str], limited: bool) -> None:
    """What also failed anything else is never served, whichever of its failures comes first."""
    policy = policy_of()
    gates = Gates(policy, None)
    request = request_of(params={"max_tokens": 5} if limited else {})
    made = planned(policy, gates, request)
    results = [CheckResult(name=name, outcome="fail") for name in failed]
    ruling = rule(request, made, policy.last.name, results, signals_of(), gates)
    held_against = set(failed) - ({"truncated"} if limited else set())
    assert ruling.serve == (not held_against)
    assert ruling.lesser == (bool(held_against) and held_against <= {"label_consistent", "refusal", "truncated"})


@given(FAILS.filter(bool), st.booleans())
def test_a_cheap_draft_that_failed_any_hard_check_is_never_served(failed: list[str], limited: bool) -> None:
    policy = policy_of()
    gates = Gates(policy, lock_of(policy))
    request = request_of(params={"max_tokens": 5} if limited else {})
    made = planned(policy, gates, request)
    results = [CheckResult(name=name, outcome="fail") for name in failed]
    ruling = rule(request, made, made.tiers[0].name, results, signals_of(), gates)
    assert not ruling.serve
    assert not ruling.lesser


def test_a_tier_that_is_not_the_last_falls_back_only_on_the_same_model() -> None:
    fallbacks = [{"model": "same", "same_model": True}, {"model": "other"}]
    cheap, frontier = policy_of(tier("cheap", fallbacks=fallbacks), tier("frontier", fallbacks=fallbacks)).tiers
    assert [f.model for f in usable(cheap, last=False)] == ["same"]
    assert [f.model for f in usable(frontier, last=True)] == ["same", "other"]


def test_every_decision_has_a_chance_of_being_audited() -> None:
    policy = policy_of(audit={"accepted": 0.2, "escalated": 0.1})
    assert audit_probability(policy, "accepted") == audit_probability(policy, "cached") == 0.2
    assert audit_probability(policy, "escalated") == audit_probability(policy, "failed over") == 0.1
