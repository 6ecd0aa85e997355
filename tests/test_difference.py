"""What differs between two locks is said once, in values, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cascade.difference import CertificateChange, Change, GateChange, ScorerChange, WeightChange, difference
from cascade.lock import HeldOut, Lock
from tests.building import certificate_of, gate_of, lock_of, policy_of, scorer_of, tier

POLICY = policy_of(tier("cheap"), tier("middle"), tier("frontier"))
LOCK = lock_of(POLICY)
CERTIFICATE = LOCK.certificates[0]


def with_gate(**fields: Any) -> Lock:
    return replace(LOCK, gates=[replace(LOCK.gates[0], **fields), LOCK.gates[1]])


def with_certificate(**fields: Any) -> Lock:
    return replace(LOCK, certificates=[replace(CERTIFICATE, **fields)])


def with_scorer(**fields: Any) -> Lock:
    return replace(LOCK, scorers=[replace(LOCK.scorers[0], **fields), *LOCK.scorers[1:]])


def test_a_lock_does_not_differ_from_itself_nor_by_its_dates_and_ids() -> None:
    assert not difference(LOCK, LOCK)
    assert not difference(LOCK, with_certificate(id="another", issued_at="2027-01-01"))


@pytest.mark.parametrize(
    ("now", "change", "was", "after"),
    [
        (with_gate(threshold=0.5), "moved", -1.0, 0.5),
        (with_gate(threshold=None), "closed", -1.0, None),
        (with_gate(seen=["s"]), "changed", -1.0, -1.0),
        (replace(LOCK, gates=LOCK.gates[1:]), "gone", -1.0, None),
    ],
)
def test_a_gate_opens_closes_moves_comes_and_goes(now: Lock, change: str, was: float, after: float | None) -> None:
    forth, back = difference(LOCK, now).gates, difference(now, LOCK).gates
    name = LOCK.gates[0].id
    opposite = {"closed": "opened", "gone": "new"}.get(change, change)
    assert forth == [GateChange(gate=name, change=change, was=was, now=after)]  # type: ignore[arg-type]
    assert back == [GateChange(gate=name, change=opposite, was=after, now=was)]  # type: ignore[arg-type]


def test_a_gate_that_no_certificate_covers_is_closed() -> None:
    (change,) = difference(LOCK, with_certificate(gates=[LOCK.gates[1].id])).gates
    assert change.change == "closed"


def test_a_certificate_s_fields_stand_where_they_belong() -> None:
    now = with_certificate(
        level=0.03, bad=2, judge="another", held_out=HeldOut(n=9, bad=1, risk=0.1, low=0.0),
        identity=CERTIFICATE.identity | {"ladder": "x"},
    )  # fmt: skip
    (change,) = difference(LOCK, now).certificates
    assert change.promise == [Change(field="level", was=0.05, now=0.03)]
    assert [one.field for one in change.evidence] == ["bad", "held_out"]
    assert change.judge == [Change(field="judge", was="gold", now="another")]
    assert change.identity == [Change(field="ladder", was=CERTIFICATE.identity["ladder"], now="x")]


def test_certificates_are_paired_by_their_gates() -> None:
    policy = policy_of(tier("cheap"), tier("frontier"))
    a, b = gate_of(slice="a"), gate_of(slice="b")
    one = lock_of(policy, a, certificates=[certificate_of(policy, a)])
    other = lock_of(policy, a, b, certificates=[certificate_of(policy, g, id=g.slice, bad=3) for g in (b, a)])
    new, changed = sorted(difference(one, other).certificates, key=lambda change: -len(change.change))[::-1]
    assert new == CertificateChange(change="new", now="b")
    assert (changed.was, changed.now, [c.field for c in changed.evidence]) == ("c1", "a", ["bad"])


def test_weights_turn_change_by_much_or_a_little() -> None:
    names = {"features": ["a", "b", "c", "d", "e"], "means": [0.0] * 5, "scales": [1.0] * 5}
    was = with_scorer(**names, weights=[1.0, 1.0, 1.0, 0.01, 2.0])
    now = with_scorer(**names, weights=[-1.0, 0.4, 0.9, -0.01, 2.0])
    (change,) = difference(was, now).scorers
    assert change.weights == [
        WeightChange(feature="a", was=1.0, now=-1.0, turned=True, much=True),
        WeightChange(feature="b", was=1.0, now=0.4, much=True),
        WeightChange(feature="c", was=1.0, now=0.9),
        WeightChange(feature="d", was=0.01, now=-0.01),
    ]


def test_features_and_scorers_come_and_go() -> None:
    (change,) = difference(LOCK, with_scorer(features=["text.length"])).scorers
    assert (change.came, change.went, change.weights) == (["text.length"], ["logprobs.mean"], [])
    more = replace(LOCK, scorers=[*LOCK.scorers, scorer_of("cheap", "text")])
    assert difference(LOCK, more).scorers == [ScorerChange(scorer="cheap/text", change="new")]


@given(st.floats(-1e-6, 1e-6), st.floats(1e-5, 1.0))
def test_a_tolerance_hides_what_is_within_it_and_nothing_else(slight: float, plain: float) -> None:
    for made in (lambda by: with_gate(threshold=-1.0 + by), lambda by: with_scorer(weights=[1.0 + by]),
                 lambda by: with_certificate(bound=0.02 + by)):  # fmt: skip
        assert not difference(LOCK, made(slight), tolerance=1.1e-6)
        assert difference(LOCK, made(plain), tolerance=1.1e-6)


def test_notes_and_outcomes_are_named() -> None:
    now = replace(LOCK, notes=["by hand"], outcomes="o")
    assert [change.field for change in difference(LOCK, now).other] == ["outcomes", "notes"]
