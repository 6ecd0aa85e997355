"""The demo policy's own confidence in the recorded answers, as its lock scores them. The test split took no part."""

from __future__ import annotations

from benchmarks.record import POLICY, RECORDINGS
from cascade.ledger import read_outcomes
from cascade.lock import load_lock, lock_path
from cascade.policyfile import load_policy
from cascade.replay import draft_of, request_of
from cascade.signals import of_draft

NAME = "this project, policies/demo.lock.json"


def confidences(tier: str) -> dict[str, float]:
    """The calibrated probability that this tier's answer is acceptable, by the question's id, on the test split."""
    policy, lock = load_policy(POLICY), load_lock(lock_path(POLICY))
    assert lock is not None, "the demo's policy is locked"
    scorers = {scorer.signal_set: scorer for scorer in lock.scorers if scorer.tier == tier}
    found = {}
    for outcome in read_outcomes(str(RECORDINGS / "demo.jsonl.gz")):
        if outcome.split != "test":
            continue
        draft = draft_of(tier, outcome.models[tier], policy.tier(tier).model)
        signals = of_draft(request_of(outcome), draft, policy.families)
        said = scorers[signals.set_name].confidence(signals, outcome.slice)
        assert said is not None, f"{outcome.id}: a signal is missing"
        found[outcome.id] = said.probability
    return found
