"""What a lock says of itself: do its certificates, its gates and its scorers fit together?

A file that a person edited still loads. Three things give it away: a certificate whose counts do not pass
its own test, gates of one certificate with different thresholds, and a gate that would let through far more
than its certificate's rows did. The last is judged on drafts drawn from the scorer's own means and scales,
with features independent and with all of them pulling together, since a lock does not hold correlations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cascade.confidence import Scorer
from cascade.decide import Plan, rule
from cascade.gates import Gates
from cascade.learning.path import Counts
from cascade.lock import ANY_SLICE, Certificate, Gate, Lock
from cascade.policy import Policy, Target
from cascade.selftest.findings import Finding
from cascade.types import CACHE, Request, Signals

if TYPE_CHECKING:
    from numpy.random import Generator

DRAFTS = 2000
SLACK = 0.2
"""By how much the share that a gate serves may exceed its certificate's: real features are not normal."""


def read_off(policy: Policy, lock: Lock, random: Generator) -> Iterator[Finding]:
    """One finding for each question; nothing for a lock without certificates."""
    if not lock.certificates:
        return
    yield _finding("certificates pass their own tests", [_arithmetic(one) for one in lock.certificates])
    gates = {gate.id: gate for gate in lock.gates}
    yield _finding("gates stand where their certificates say", [_thresholds(c, gates) for c in lock.certificates])
    yield _finding(
        "gates serve as much as their certificates", [_share(c, gates, lock, random) for c in lock.certificates]
    )
    yield _finding("a draft without its signals escalates", [_bare(gate, policy, lock) for gate in lock.gates])


def _finding(scenario: str, wrong: list[str]) -> Finding:
    said = "; ".join(filter(None, wrong)) or "yes"
    broke = sum(map(bool, wrong))
    return Finding(
        stage="the lock", scenario=scenario, demand="must hold", runs=len(wrong), broke=broke, may=0, ok=not broke,
        said=said,
    )  # fmt: skip


def _arithmetic(certificate: Certificate) -> str:
    """The exact test on the certificate's counts; one of graded qualities keeps too little to be repeated."""
    regret = certificate.kind == "regret"
    if certificate.method.startswith("fixed sequence of betting"):
        return ""
    n = certificate.judged if regret else certificate.accepted
    counts = Counts(n=n, bad=certificate.bad, better=certificate.better, served=certificate.accepted)
    target = Target.model_validate({f"max_{certificate.kind}": certificate.level})
    if certificate.accepted <= certificate.judged and counts.passes(target, certificate.delta):
        return ""
    return f"{certificate.id}: {certificate.bad} bad of {n} do not prove {certificate.kind} {certificate.level:g}"


def _thresholds(certificate: Certificate, gates: dict[str, Gate]) -> str:
    """All scored gates of a certificate share one threshold, a finite number."""
    import math

    covered = [gates[name] for name in certificate.gates if name in gates and not gates[name].routed]
    found = {gate.threshold for gate in covered}
    if len(found) > 1:
        return f"{certificate.id}: one promise, but thresholds {sorted(map(str, found))}"
    if any(threshold is None or not math.isfinite(threshold) for threshold in found):
        return f"{certificate.id}: a threshold that is no number"
    return ""


def _share(certificate: Certificate, gates: dict[str, Gate], lock: Lock, random: Generator) -> str:
    scorers = {scorer.id: scorer for scorer in lock.scorers}
    covered = [gates[name] for name in certificate.gates if name in gates]
    if any(gate.routed for gate in covered) or not certificate.judged:
        return ""
    shares = [_served(gate, scorers[gate.scorer or ""], random) for gate in covered if gate.scorer in scorers]
    said, least = certificate.accepted / certificate.judged, max(shares, default=0.0)
    if least <= said + SLACK:
        return ""
    return f"{certificate.id}: {said:.0%} of its rows passed, {least:.0%} or more of such drafts would"


def _served(gate: Gate, scorer: Scorer, random: Generator) -> float:
    """The smaller of the shares that pass with independent features and with features that pull together."""
    import numpy as np

    threshold = gate.threshold if gate.threshold is not None else np.inf
    alone = random.standard_normal((DRAFTS, len(scorer.features)))
    together = random.standard_normal((DRAFTS, 1)) * np.sign(_pull(scorer))
    shares = []
    for x in (alone, together):
        scores = [scorer.score(_signals(scorer, row), gate.slice) for row in x]
        shares.append(float(np.mean([score is not None and score >= threshold for score in scores])))
    return min(shares)


def _pull(scorer: Scorer) -> Any:
    import numpy as np

    weights = scorer.weights if scorer.gain is None else np.subtract(scorer.gain.wins, scorer.gain.loses)
    return np.asarray(weights)


def _signals(scorer: Scorer, x: Any) -> Signals:
    """A draft with these standardised features, every derived one named outright."""
    values = dict(zip(scorer.features, (x * scorer.scales + scorer.means).tolist(), strict=True))
    lengths = scorer.price.features if scorer.price is not None else []
    # A length that ranks nothing is in no feature; at the mean price it changes no draft's rank.
    values = dict.fromkeys(lengths, 0.0) | values
    return Signals(values=values, families=tuple(scorer.signal_set.split("+")))


def _bare(gate: Gate, policy: Policy, lock: Lock) -> str:
    """Through the rule that serving asks: no signals, and each signal missing in turn."""
    found = Gates(policy, lock)
    place = gate.seen[0] if gate.slice == ANY_SLICE and gate.seen else gate.slice
    opened = found.find(gate.tier, place, gate.signal_set)
    if opened is None or opened.scorer is None:
        return ""
    names = [name for name in opened.scorer.features if ":" not in name]
    whole = dict(zip(opened.scorer.features, opened.scorer.means, strict=True))
    made = Plan(slice=place, mode="enforce", tiers=[policy.last], why="", semantic=gate.tier == CACHE)
    request = Request(id="selftest", messages=[{"role": "user", "content": "?"}])
    for missing in [*names, None]:
        left = {name: value for name, value in whole.items() if missing is not None and name != missing}
        families = tuple(gate.signal_set.split("+")) if missing is not None else ()
        if rule(request, made, gate.tier, [], Signals(values=left, families=families), found).serve:
            return f"{gate.id}: a draft without {missing or 'any signal'} is served"
    return ""
