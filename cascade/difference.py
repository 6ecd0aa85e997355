"""What is different between two locks, as values: gates, promises, scorers, and what they are bound to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from cascade.confidence import Scorer
from cascade.lock import Certificate, Gate, Lock, digest
from cascade.types import Record

MUCH = 0.5
"""A weight has changed by much when the change is at least this share of the larger of the two."""

SLIGHT = 0.05
"""Weights under this share of their scorer's largest carry next to nothing, whatever their sign."""

PROMISE = ("kind", "level", "confidence", "delta", "population", "gates")
EVIDENCE = (
    "method", "judged", "accepted", "bad", "better", "bound", "shares", "candidates", "start", "chosen", "held_out",
)  # fmt: skip
JUDGE = ("judge", "truth", "conflict")

Presence = Literal["new", "gone", "changed"]


class Change(Record, frozen=True, kw_only=True):
    """One field, before and after; None where it was not there."""

    field: str
    was: Any = None
    now: Any = None


class GateChange(Record, frozen=True, kw_only=True):
    """One gate: ``opened``, ``closed`` or ``moved`` (thresholds as in the lock), ``new`` or ``gone``."""

    gate: str
    change: Literal["opened", "closed", "moved", "new", "gone", "changed"]
    was: float | None = None
    now: float | None = None


class CertificateChange(Record, frozen=True, kw_only=True):
    """One promise, paired by the gates that it covers; ``was`` and ``now`` are the certificates' ids.

    ``promise``, ``evidence``, ``judge`` and ``identity`` list the fields that differ, the last one by
    the declared part.
    """

    change: Presence
    was: str | None = None
    now: str | None = None
    promise: list[Change] = []
    evidence: list[Change] = []
    judge: list[Change] = []
    identity: list[Change] = []


class WeightChange(Record, frozen=True, kw_only=True):
    """One weight over a standardised feature. ``turned`` says that its sign did, ``much`` see ``MUCH``."""

    feature: str
    was: float
    now: float
    turned: bool = False
    much: bool = False


class ScorerChange(Record, frozen=True, kw_only=True):
    """One scorer: features that came and went, every weight that differs, and other fields by name."""

    scorer: str
    change: Presence
    came: list[str] = []
    went: list[str] = []
    weights: list[WeightChange] = []
    fields: list[str] = []


class Difference(Record, frozen=True, kw_only=True):
    """Everything that differs; ``other`` are the lock's remaining fields, dates and ids left out."""

    gates: list[GateChange] = []
    certificates: list[CertificateChange] = []
    scorers: list[ScorerChange] = []
    other: list[Change] = []

    def __bool__(self) -> bool:
        return bool(self.gates or self.certificates or self.scorers or self.other)


def difference(a: Lock, b: Lock, *, tolerance: float = 0.0) -> Difference:
    """From ``a`` to ``b``. Numbers that differ by at most ``tolerance`` count as equal."""
    covered = [{gate for one in lock.certificates for gate in one.gates} for lock in (a, b)]
    gates = [_gate(*pair, covered, tolerance) for pair in _paired(a.gates, b.gates)]
    certificates = [_certificate(*pair, tolerance) for pair in _partners(a, b)]
    scorers = [_scorer(*pair, tolerance) for pair in _paired(a.scorers, b.scorers)]
    return Difference(
        gates=[change for change in gates if change is not None],
        certificates=[change for change in certificates if change is not None],
        scorers=[change for change in scorers if change is not None],
        other=_other(a, b),
    )


def _paired(a: Iterable[Any], b: Iterable[Any]) -> list[tuple[Any, Any]]:
    """By id, the order of the first and then of the second."""
    was, now = {one.id: one for one in a}, {one.id: one for one in b}
    return [(was.get(name), now.get(name)) for name in dict.fromkeys([*was, *now])]


def _gate(was: Gate | None, now: Gate | None, covered: list[set[str]], tolerance: float) -> GateChange | None:
    known = was or now
    assert known is not None
    before, after = (_place(gate, some) for gate, some in zip((was, now), covered, strict=True))
    change: Any = None
    if was is None or now is None:
        change = "new" if was is None else "gone"
    elif (before is None) != (after is None):
        change = "opened" if before is None else "closed"
    elif before is not None and after is not None and abs(before - after) > tolerance:
        change = "moved"
    elif _rest(was) != _rest(now):
        change = "changed"
    return GateChange(gate=known.id, change=change, was=before, now=after) if change else None


def _place(gate: Gate | None, covered: set[str]) -> float | None:
    """Where an open gate stands; None for one that no certificate covers, which is closed."""
    if gate is None or gate.id not in covered:
        return None
    return gate.standing if gate.routed else gate.threshold


def _rest(gate: Gate) -> Gate:
    return msgspec.structs.replace(gate, threshold=None, standing=None)


def _partners(a: Lock, b: Lock) -> list[tuple[Certificate | None, Certificate | None]]:
    """Certificates that share the most gates; their ids tell two calibrations apart, and no more."""
    left = list(b.certificates)
    pairs: list[tuple[Certificate | None, Certificate | None]] = []
    for was in a.certificates:
        shared = [len(set(was.gates) & set(now.gates)) for now in left]
        most = max(shared, default=0)
        partner = left.pop(shared.index(most)) if most else None
        pairs.append((was, partner))
    return pairs + [(None, now) for now in left]


def _certificate(was: Certificate | None, now: Certificate | None, tolerance: float) -> CertificateChange | None:
    if was is None or now is None:
        change: Presence = "new" if was is None else "gone"
        return CertificateChange(change=change, was=was.id if was else None, now=now.id if now else None)
    promise, evidence, judge = (_fields(was, now, names, tolerance) for names in (PROMISE, EVIDENCE, JUDGE))
    parts = sorted(was.identity.keys() | now.identity.keys())
    identity = [
        Change(field=part, was=was.identity.get(part), now=now.identity.get(part))
        for part in parts
        if was.identity.get(part) != now.identity.get(part)
    ]
    if not (promise or evidence or judge or identity):
        return None
    return CertificateChange(
        change="changed", was=was.id, now=now.id, promise=promise, evidence=evidence, judge=judge, identity=identity
    )


def _fields(was: Any, now: Any, names: Iterable[str], tolerance: float = 0.0) -> list[Change]:
    pairs = ((name, getattr(was, name), getattr(now, name)) for name in names)
    return [Change(field=name, was=one, now=other) for name, one, other in pairs if not _same(one, other, tolerance)]


def _same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= tolerance
    if isinstance(one, Record) and type(one) is type(other):
        return not _fields(one, other, one.__struct_fields__, tolerance)
    return bool(one == other)


def _scorer(was: Scorer | None, now: Scorer | None, tolerance: float) -> ScorerChange | None:
    known = was or now
    assert known is not None
    if was is None or now is None:
        return ScorerChange(scorer=known.id, change="new" if was is None else "gone")
    before, after = _weights(was), _weights(now)
    largest = max(map(abs, [*before.values(), *after.values()]), default=0.0)
    weights = [
        _weight(name, before[name], after[name], largest)
        for name in before
        if name in after and abs(before[name] - after[name]) > tolerance
    ]
    found = ScorerChange(
        scorer=known.id,
        change="changed",
        came=[name for name in after if name not in before],
        went=[name for name in before if name not in after],
        weights=weights,
        fields=_kinds(was, now),
    )
    return found if found.came or found.went or found.weights or found.fields else None


def _weights(scorer: Scorer) -> dict[str, float]:
    """Every weight by its feature; those of a pair's two sides by ``loses FEATURE`` and ``wins FEATURE``."""
    found = dict(zip(scorer.features, scorer.weights, strict=True))
    if scorer.gain is not None:
        for side in ("loses", "wins"):
            pairs = zip(scorer.features, getattr(scorer.gain, side), strict=True)
            found |= {f"{side} {name}": weight for name, weight in pairs}
    return found


def _weight(feature: str, was: float, now: float, largest: float) -> WeightChange:
    telling = max(abs(was), abs(now)) > SLIGHT * largest
    return WeightChange(
        feature=feature,
        was=was,
        now=now,
        turned=telling and was * now < 0,
        much=telling and abs(was - now) >= MUCH * max(abs(was), abs(now)),
    )


def _kinds(was: Scorer, now: Scorer) -> list[str]:
    """Parts of a scorer that one has and the other has not, or of another kind."""
    found = [
        name for name in ("trees", "gain", "price") if (getattr(was, name) is None) != (getattr(now, name) is None)
    ]
    found += ["trees"] if was.trees is not None and now.trees is not None and was.trees != now.trees else []
    return found + (["calibrator"] if was.calibrator.kind != now.calibrator.kind else [])


def _other(a: Lock, b: Lock) -> list[Change]:
    found = _fields(a, b, ("policy", "outcomes", "notes", "version"))
    for name in ("scouts", "neighbours"):  # long lists of numbers: digests say for which tiers they differ
        one, other = ({part.tier: digest(part) for part in getattr(lock, name)} for lock in (a, b))
        found += [
            Change(field=f"{name} of {tier}", was=one.get(tier), now=other.get(tier))
            for tier in sorted(one.keys() | other.keys())
            if one.get(tier) != other.get(tier)
        ]
    return found
