"""Policies, locks and requests to be decided about, each with as little in it as can be."""

from __future__ import annotations

from typing import Any

from cascade.confidence import Scorer
from cascade.lock import ANY_SLICE, Certificate, Gate, Lock, identity
from cascade.policy import Policy
from cascade.policyfile import parse_policy
from cascade.types import Request, Signals

SET = "logprobs+text"
THRESHOLD = -1.0


def tier(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "model": f"{name}-model", "price": {"input": 1.0, "output": 2.0}, **more}


def policy_of(*tiers: dict[str, Any], **more: Any) -> Policy:
    """A policy of these tiers, by default ``cheap`` and ``frontier``, that promises 5 %."""
    ladder = list(tiers) or [tier("cheap"), tier("frontier")]
    return parse_policy({"name": "p", "target": {"max_error": 0.05}, "tiers": ladder, **more})


def gate_of(name: str = "cheap", **fields: Any) -> Gate:
    """A gate that lets a mean log-probability of at least -1 pass."""
    made = {"slice": ANY_SLICE, "signal_set": SET, "scorer": f"{name}/{SET}", "threshold": THRESHOLD} | fields
    made = {"id": f"{name}:{made['slice']}:{made['signal_set']}", **made}
    return Gate(tier=name, **made)


def lock_of(policy: Policy, *gates: Gate, certificates: list[Certificate] | None = None) -> Lock:
    """A lock with these gates, by default one for each cheap tier, under one certificate for all."""
    doors = list(gates) or [gate_of(t.name) for t in policy.tiers[:-1]]
    signal_sets = {(gate.tier, gate.signal_set) for gate in doors if not gate.routed}
    return Lock(
        policy=policy.name,
        scorers=[scorer_of(name, signal_set) for name, signal_set in sorted(signal_sets)],
        gates=doors,
        certificates=[certificate_of(policy, *doors)] if certificates is None else certificates,
    )


def scorer_of(name: str, signal_set: str = SET, **fields: Any) -> Scorer:
    """The score is the mean log-probability itself; without log-probabilities, the text's length."""
    feature = "logprobs.mean" if "logprobs" in signal_set else "text.length"
    made = {"features": [feature], "means": [0.0], "scales": [1.0], "weights": [1.0], "intercept": 0.0}
    return Scorer(id=f"{name}/{signal_set}", tier=name, signal_set=signal_set, **made | fields)


def certificate_of(policy: Policy, *gates: Gate, **fields: Any) -> Certificate:
    made: dict[str, Any] = {
        "id": "c1", "gates": [gate.id for gate in gates], "kind": policy.target.kind,
        "level": policy.target.level, "confidence": policy.target.confidence, "delta": 0.05,
        "method": "test", "population": "test", "judged": 500, "accepted": 300, "bad": 1, "bound": 0.02,
        "judge": "gold", "issued_at": "2026-01-01T00:00:00+00:00", "identity": identity(policy),
    }  # fmt: skip
    return Certificate(**made | fields)


def request_of(text: str = "what is two and two?", **fields: Any) -> Request:
    return Request(**{"id": "r1", "messages": [{"role": "user", "content": text}], **fields})


def signals_of(mean: float | None = -0.1) -> Signals:
    if mean is None:
        return Signals(values={"text.length": 3.0}, families=("text",))
    return Signals(values={"text.length": 3.0, "logprobs.mean": mean}, families=("logprobs", "text"))
