"""Which gates are open: policy and lock compiled once, so that a request only looks things up.

A gate serves only while a certificate that covers exactly the open gates is valid: a joint promise
does not survive the closing of one of its gates.
"""

from __future__ import annotations

from collections.abc import Collection

from cascade.confidence import Scorer, Scout, question_signals
from cascade.lock import ANY_SLICE, Certificate, Gate, Lock, identity, seal
from cascade.neighbours import FAMILY, Nearby, Neighbours
from cascade.policy import Policy
from cascade.signals import sets
from cascade.types import CACHE, SAME, Record, Request, Signals

ROUTED = "routed"
"""Signal set under which a routed slice's gate is filed: it reads no signal."""


class OpenGate(Record, frozen=True, kw_only=True):
    """A gate with the scorer that it needs and the certificate under which it may serve."""

    gate: Gate
    scorer: Scorer | None
    certificate: Certificate


class Gates:
    """The open gates of one policy under one lock, and why the others are closed.

    ``closed`` names gates that an alarm or a person has closed; ``embedder`` is the name of the one
    that will serve. ``pairing`` weighs the words of a stored
    question, where one was fitted. ``reasons`` maps what is closed or void, by its id, to a sentence.
    """

    def __init__(
        self,
        policy: Policy,
        lock: Lock | None,
        *,
        closed: frozenset[str] = frozenset(),
        embedder: str | None = None,
    ) -> None:
        self.reasons: dict[str, str] = {}
        self._open: dict[tuple[str, str, str], OpenGate] = {}
        self._tiers: dict[tuple[str, str], list[str]] = {}
        self._own: set[tuple[str, str]] = set()
        self._scouts: dict[str, Scout] = {}
        self._nearby: dict[str, Nearby] = {}
        self.pairing = lock.pairing if lock is not None else None
        if lock is not None:
            self._own = {(gate.tier, gate.slice) for gate in lock.gates}
            if policy.preroute.enabled:
                self._scouts = {scout.tier: scout for scout in lock.scouts}
            if FAMILY in policy.families:
                self._unpack(lock.neighbours, embedder)
            self._compile(policy, lock, closed, embedder)

    def find(self, tier: str, slice_name: str, signal_set: str) -> OpenGate | None:
        """The open gate for a draft, the slice's own before the pooled one; None when closed."""
        found = self._open.get((tier, self._population(tier, slice_name), signal_set))
        return found if found is not None and _meant(found.gate, slice_name) else None

    def any_open(self, tier: str, slice_name: str) -> bool:
        """Could any draft of this tier be served in this slice?"""
        seen = self._tiers.get((tier, self._population(tier, slice_name)))
        return seen is not None and (not seen or slice_name in seen)

    def nearby(self, tier: str) -> Nearby | None:
        """The tier's labelled questions, where some declared signal set reads them."""
        return self._nearby.get(tier)

    def _unpack(self, records: list[Neighbours], embedder: str | None) -> None:
        """Vectors of one embedder are no neighbours of another's: the family is then absent."""
        for record in records:
            if record.embedder == embedder:
                self._nearby[record.tier] = Nearby(record)
            else:
                self.reasons[f"neighbours of {record.tier}"] = f"made with {record.embedder}, serving {embedder}"

    def _population(self, tier: str, slice_name: str) -> str:
        """A slice with a gate of its own, open or closed, is not part of the pooled population."""
        return slice_name if (tier, slice_name) in self._own else ANY_SLICE

    def hopeless(self, tiers: Collection[str], slice_name: str, request: Request) -> Collection[str]:
        """Which of these tiers would cost more to ask than their chance of being accepted is worth?"""
        scouts = [scout for tier in tiers if (scout := self._scouts.get(tier)) is not None]
        if not scouts:
            return ()
        signals = question_signals(request)  # read once, whoever asks
        return [scout.tier for scout in scouts if scout.hopeless(signals, slice_name)]

    def worth_asking(self, slice_name: str, signals: Signals) -> bool:
        """Is there a gate for this stored answer once a tier was asked about it, and does asking pay?

        Without a fitted scout nobody knows that it does, and the gate was certified for nobody.
        """
        scout = self._scouts.get(CACHE)
        if scout is None or self.find(CACHE, slice_name, sets([*signals.families, SAME])) is None:
            return False
        return scout.promising(signals, slice_name)

    def __len__(self) -> int:
        return len(self._open)

    def _compile(self, policy: Policy, lock: Lock, closed: frozenset[str], embedder: str | None) -> None:
        scorers = {scorer.id: scorer for scorer in lock.scorers}
        gates = {gate.id: gate for gate in lock.gates}
        for gate in gates.values():
            reason = _why_closed(gate, scorers, closed)
            if reason:
                self.reasons[gate.id] = reason
        now = identity(policy, embedder)
        for certificate in lock.certificates:
            void = self._why_void(certificate, policy, gates, now) or _why_unsealed(certificate, gates, lock)
            if void:
                self.reasons[certificate.id] = void
                continue
            for gate in (gates[name] for name in certificate.gates):
                self._admit(OpenGate(gate=gate, scorer=scorers.get(gate.scorer or ""), certificate=certificate))
        for name in gates:
            if name not in {g.gate.id for g in self._open.values()}:
                self.reasons.setdefault(name, "no valid certificate covers it")

    def _admit(self, found: OpenGate) -> None:
        gate = found.gate
        key = ROUTED if gate.routed else gate.signal_set
        self._open.setdefault((gate.tier, gate.slice, key), found)
        self._tiers.setdefault((gate.tier, gate.slice), gate.seen)

    def _why_void(self, certificate: Certificate, policy: Policy, gates: dict[str, Gate], now: dict[str, str]) -> str:
        target = policy.target
        if certificate.kind != target.kind or certificate.level > target.level:
            return f"promises {certificate.kind} {certificate.level}, the policy asks {target.kind} {target.level}"
        if certificate.confidence < target.confidence:
            return f"has confidence {certificate.confidence}, the policy asks {target.confidence}"
        for part in sorted(certificate.identity.keys() | now.keys()):
            if now.get(part) != certificate.identity.get(part):
                return f"{part} is not what it was certified with"
        for name in certificate.gates:
            if name not in gates:
                return f"covers {name}, which the lock does not hold"
            if name in self.reasons:
                return f"covers {name}, which is closed: {self.reasons[name]}"
        return ""


def _meant(gate: Gate, slice_name: str) -> bool:
    """A slice that no row of the certificate came from is not what the certificate speaks about."""
    return not gate.seen or slice_name in gate.seen


def _why_unsealed(certificate: Certificate, gates: dict[str, Gate], lock: Lock) -> str:
    covered = [gates[name] for name in certificate.gates]
    if certificate.seal and certificate.seal != seal(covered, lock.scorers, lock.pairing):
        return "was issued for other thresholds or weights than the lock holds"
    return ""


def _why_closed(gate: Gate, scorers: dict[str, Scorer], closed: frozenset[str]) -> str:
    if gate.id in closed:
        return "closed by an alarm or by hand"
    if gate.routed:
        return ""
    if gate.threshold is None:
        return "nothing was certified for it"
    scorer = scorers.get(gate.scorer or "")
    if scorer is None:
        return f"its scorer {gate.scorer!r} is not in the lock"
    if (scorer.tier, scorer.signal_set) != (gate.tier, gate.signal_set):
        return f"its scorer {scorer.id!r} was fitted for {scorer.tier} with {scorer.signal_set}"
    return ""
