"""Every rule that accepts or escalates, in one file and pure.

``plan`` says, before any call, which tiers may be asked and with which probabilities; ``rule`` says
of one draft whether it may be served. Neither performs I/O, reads a clock or draws a random
number: coins are hashes of the request's id, so anybody can check them afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from cascade.fresh import compiled
from cascade.gates import ROUTED, Gates
from cascade.policy import MATCHED, Fallback, Policy, Slice, Tier, When
from cascade.signals import narrowed
from cascade.tables import LABEL_CONSISTENT
from cascade.types import CACHE, CheckResult, Confidence, Draft, Entry, Hit, Mode, Record, Request, Served, Signals

LESSER = (LABEL_CONSISTENT, "refusal", "truncated")
"""Failed checks of the last tier that leave an answer the caller would have had without us.

Raising for them when no fallback is left was the alternative; it loses, because a pattern that
mistakes an answer for a refusal would then take away an answer that was paid for; nor has anybody a
better answer than the last tier's where that one contradicts itself in a label. An empty answer,
a broken schema and a failed check of the user's own are never served.
"""

LENGTH_LIMITS = ("max_completion_tokens", "max_tokens")
"""Names under which a caller may limit an answer's length."""

UNPLACED = ""
"""Slice of a request that only its embedding can place."""

UNKNOWN_SLICE = "unknown"
DEFAULT_SLICE = "default"


class Plan(Record, frozen=True, kw_only=True):
    """What may happen to one request, fixed before the first call.

    ``tiers`` are tried in this order and the last of them is always the policy's last tier.
    ``semantic`` says whether the answer to the nearest stored question may be served before them.
    ``shadows`` are asked off the caller's path with ``explore_probability``
    (the coin has already been thrown).
    """

    slice: str
    mode: Mode
    tiers: list[Tier]
    why: str
    semantic: bool = False
    routed: bool = False
    shadows: list[Tier] = []
    explore_probability: float = 0.0
    flags: list[str] = []


class Ruling(Record, frozen=True, kw_only=True):
    """What is to be done with one draft, and on what evidence.

    A ``lesser`` answer is not served while a fallback is left, and is served when none is.
    """

    serve: bool
    served: Served
    why: str
    lesser: bool = False
    confidence: Confidence | None = None
    threshold: float | None = None
    certificate: str | None = None


class Choice(NamedTuple):
    """A draft that is to be served, by whom it is called served, and the ruling that serves it."""

    tier: str
    served: Served
    draft: Draft
    ruling: Ruling


def coin(salt: str, purpose: str, request_id: str) -> float:
    """Uniform in [0, 1), the same for ever for the same words; see ``Audit.salt``."""
    body = f"{salt}\0{purpose}\0{request_id}".encode()
    return int.from_bytes(hashlib.blake2b(body, digest_size=7).digest(), "big") / 2**56


def plan(request: Request, policy: Policy, gates: Gates, name: str) -> Plan:
    """Which tiers this request of slice ``name`` may be answered by.

    In this order: missing context, an unknown slice, observe mode, a routed slice, and last the
    cascade, in which a tier is skipped that has no open gate or that the stakes forbid. Only there,
    and where no stakes ask for a tier, may the answer to a question that is merely near be served.
    """
    mode = effective_mode(request, policy)
    declared = policy.slices.get(name)
    flags = _missing_context(request, declared)

    def only_last(why: str) -> Plan:
        return Plan(slice=name, mode=mode, tiers=[policy.last], why=why, flags=flags)

    if flags and declared is not None and declared.missing_context == "escalate":
        return only_last(f"context missing: {', '.join(flags)}")
    if name in (UNKNOWN_SLICE, UNPLACED):
        return only_last("no declared slice fits the request")
    cheap = policy.tiers[:-1]
    if mode == "observe":
        return _with_shadows(request, policy, only_last("observe mode"), cheap, policy.observe.rate)
    least = _least_tier(request, policy, name)
    if least is not None:
        cheap = cheap[policy.tiers.index(least) :]
        if not cheap:
            return only_last(f"stakes: at least {least.name}")
    if declared is not None and declared.route is not None:
        return _routed(request, policy, gates, policy.tier(declared.route), cheap, only_last)
    opened = {tier.name for tier in cheap if gates.any_open(tier.name, name)}
    hopeless = gates.hopeless(opened, name, request)
    asked = [tier for tier in cheap if tier.name in opened and tier.name not in hopeless]
    closed = [tier for tier in cheap if tier.name not in opened or tier.name in hopeless]
    why = "cascade" if asked else "pre-routed: a draft would hardly be accepted" if opened else "no open gate"
    near = least is None and gates.any_open(CACHE, name)
    made = Plan(slice=name, mode=mode, tiers=[*asked, policy.last], why=why, semantic=near, flags=flags)
    return _with_shadows(request, policy, made, closed, policy.explore.rate)


def rule(
    request: Request, made: Plan, source: str, checks: list[CheckResult], signals: Signals, gates: Gates
) -> Ruling:
    """May this source's draft with these checks and signals be served?

    Hard checks first, then the gate of its signal set. ``source`` is a tier's name, or the cache.
    """
    last = source == made.tiers[-1].name
    served: Served = "escalated" if last else "cached" if source == CACHE else "accepted"
    failed = held_against(checks, request, last)
    if failed:
        why = f"check {failed[0].name} failed: {failed[0].detail}".rstrip(": ")
        return Ruling(serve=False, served=served, why=why, lesser=not ruled_out(checks, request, last))
    if last:
        return Ruling(serve=True, served=served, why=made.why)
    if source == CACHE and not made.semantic:
        return Ruling(serve=False, served=served, why="nothing that is merely near may be served here")
    key = ROUTED if made.routed else signals.set_name
    found = gates.find(source, made.slice, key)
    if found is None:
        return Ruling(serve=False, served=served, why=f"no open gate for signal set {key!r}")
    if found.scorer is None:
        why = f"routed to {source}"
        return Ruling(serve=True, served="routed", why=why, certificate=found.certificate.id)
    confidence = found.scorer.confidence(signals, made.slice)
    threshold = found.gate.threshold
    if confidence is None or threshold is None:
        return Ruling(serve=False, served=served, why="the scorer's signals are incomplete")
    passed = confidence.score >= threshold
    return Ruling(
        serve=passed,
        served=served,
        why="confidence reached the certified threshold" if passed else "confidence under the threshold",
        confidence=confidence,
        threshold=threshold,
        certificate=found.certificate.id,
    )


def doubtful(request: Request, made: Plan, signals: Signals, gates: Gates) -> bool:
    """Is a stored answer with these signals worth a check: not served without, and likely enough to be served with one?

    One that may be served already needs none, and one that has hardly a chance would waste it.
    """
    free = narrowed(signals, MATCHED)
    if not made.semantic or not gates.worth_asking(made.slice, free):
        return False
    return not rule(request, made, CACHE, [], free, gates).serve


def explored(made: Plan, policy: Policy, request: Request) -> tuple[Plan, bool]:
    """The plan with its logged probability, and whether a stored answer that nobody was asked about is checked aside.

    The coin is the one that has closed tiers asked: labels of both then come together, where a coin of
    its own would multiply two small probabilities.
    """
    rate = policy.observe.rate if made.mode == "observe" else policy.explore.rate
    return replace(made, explore_probability=rate), coin(policy.audit.salt, "explore", request.id) < rate


def serves(hit: Hit, made: Plan, policy: Policy, gates: Gates) -> bool:
    """May this exact hit be served?

    It repeats a decision, so it stands under that decision's certificate: the last tier's answer
    needs none, an accepted draft's must still be in force. A semantic hit is a decision of its own;
    ``rule`` is for that one.
    """
    if hit.kind != "exact" or hit.draft.tier not in [tier.name for tier in made.tiers]:
        return False
    if hit.draft.tier == policy.last.name:
        return True
    key = hit.confidence.signal_set if hit.confidence is not None else ROUTED
    found = gates.find(hit.draft.tier, made.slice, key)
    return found is not None and found.certificate.id == hit.certificate


def kept_answer(made: Plan, choice: Choice) -> Entry | None:
    """What the cache may keep: an answer that passed, of a tier itself rather than of a fallback."""
    ruling = choice.ruling
    if not ruling.serve or choice.served in ("cached", "failed over"):
        return None
    return Entry(draft=choice.draft, slice=made.slice, confidence=ruling.confidence, certificate=ruling.certificate)


def held_against(checks: list[CheckResult], request: Request, last: bool) -> list[CheckResult]:
    """The failed checks that count. The last tier may be cut off where the caller asked for it."""
    return [c for c in checks if c.outcome == "fail" and not (last and _asked_for(c, request))]


def ruled_out(checks: list[CheckResult], request: Request, last: bool) -> bool:
    """Will this draft not be served, whatever further checks say?"""
    return any(not (last and c.name in LESSER) for c in held_against(checks, request, last))


def _asked_for(check: CheckResult, request: Request) -> bool:
    """An answer cut off at the caller's own limit is what the caller asked for."""
    return check.name == "truncated" and any(request.params.get(limit) for limit in LENGTH_LIMITS)


def audit_probability(policy: Policy, served: Served) -> float:
    """Probability, fixed before any outcome is known, that a judge will see this decision."""
    return policy.audit.escalated if served in ("escalated", "failed over") else policy.audit.accepted


def usable(tier: Tier, last: bool) -> list[Fallback]:
    """Fallbacks that may answer in the tier's place: a certificate speaks of one model only."""
    return tier.fallbacks and [fallback for fallback in tier.fallbacks if last or fallback.same_model]


def effective_mode(request: Request, policy: Policy) -> Mode:
    """The policy's mode, or observe for the requests that a partial roll-out leaves out."""
    if policy.mode == "enforce" and policy.rollout < 100.0:
        drawn = coin(policy.audit.salt, "rollout", request.id) * 100.0
        return "enforce" if drawn < policy.rollout else "observe"
    return policy.mode


def find_slice(request: Request, policy: Policy) -> str:
    """The caller's slice if the policy knows it, else the first whose rule fits the request.

    ``UNPLACED`` where neither does and some slices are known by examples.
    """
    if not policy.slices:
        return request.slice or DEFAULT_SLICE
    if request.slice is not None:
        return request.slice if request.slice in policy.slices else UNKNOWN_SLICE
    for name, declared in policy.slices.items():
        if declared.when is not None and matches(declared.when, request, None):
            return name
    if any(declared.examples for declared in policy.slices.values()):
        return UNPLACED
    return otherwise(policy)


def otherwise(policy: Policy) -> str:
    """The slice of a request that nothing places: ``default`` if declared, else unknown."""
    return DEFAULT_SLICE if DEFAULT_SLICE in policy.slices else UNKNOWN_SLICE


def matches(when: When, request: Request, slice_name: str | None) -> bool:
    """Does everything that the rule states hold for the request?"""
    if when.slice is not None and when.slice != slice_name:
        return False
    if when.stakes is not None and when.stakes != request.stakes:
        return False
    if not when.metadata.items() <= request.metadata.items():
        return False
    return when.pattern is None or bool(compiled(when.pattern).search(request.question))


def _missing_context(request: Request, declared: Slice | None) -> list[str]:
    wanted = declared.require_context if declared is not None else []
    return [f"missing_context:{key}" for key in wanted if not request.metadata.get(key)]


def _least_tier(request: Request, policy: Policy, slice_name: str) -> Tier | None:
    """The dearest tier that any stakes rule demands; the cheaper ones are then not asked."""
    if not policy.stakes:
        return None
    named = [rule_.tier for rule_ in policy.stakes if matches(rule_.when, request, slice_name)]
    return max((policy.tier(name) for name in named), key=policy.tiers.index, default=None)


def _routed(
    request: Request,
    policy: Policy,
    gates: Gates,
    tier: Tier,
    cheap: list[Tier],
    only_last: Callable[[str], Plan],
) -> Plan:
    """A routed slice: a gate that accepts everything, so it needs its certificate like any other."""
    if tier not in cheap:
        return only_last(f"routed to {policy.last.name}")
    alone = only_last(f"route to {tier.name} is not certified")
    if gates.find(tier.name, alone.slice, ROUTED) is None:
        return _with_shadows(request, policy, alone, [tier], policy.explore.rate)
    return Plan(
        slice=alone.slice,
        mode=alone.mode,
        tiers=[tier, policy.last],
        why=f"routed to {tier.name}",
        routed=True,
        flags=alone.flags,
    )


def all_aside(made: Plan, policy: Policy, request: Request) -> Plan:
    """The same plan for a request that a near question's answer serves: all its tiers are then shadows."""
    return _with_shadows(request, policy, replace(made, shadows=[]), list(made.tiers), policy.explore.rate)


def _with_shadows(request: Request, policy: Policy, made: Plan, closed: list[Tier], rate: float) -> Plan:
    """The same plan with closed tiers asked in the shadow, if the coin says so."""
    if not closed:
        return made
    drawn = coin(policy.audit.salt, "explore", request.id) < rate
    return replace(made, shadows=closed if drawn else [], explore_probability=rate)
