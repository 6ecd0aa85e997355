"""Refit the demo's lock from the committed recordings: ``python -m calibration [--check]``.

The same code as ``cascade calibrate``. With ``--check`` nothing is written: exit status 1 and the
differences where the committed lock is not what the outcomes give (counts, gates and candidates
equal, weights within 1e-6, since the last bits differ between processors).
"""

from __future__ import annotations

import sys
from pathlib import Path

from cascade.learning.calibrate import calibrate
from cascade.ledger import read_outcomes
from cascade.lock import Lock, load_lock, lock_path, save_lock
from cascade.policyfile import load_policy

ROOT = Path(__file__).parent.parent
POLICY = ROOT / "policies" / "demo.toml"
OUTCOMES = ROOT / "benchmarks" / "recordings" / "demo.jsonl.gz"
JUDGE = "gold answers, matched by rule"
TOLERANCE = 1e-6


def refit() -> Lock:
    """The lock that the committed outcomes give."""
    return calibrate(read_outcomes(OUTCOMES), load_policy(POLICY), judge=JUDGE)


def differences(committed: Lock | None, fresh: Lock) -> list[str]:
    """What a refit changes, one line each; dates aside."""
    if committed is None:
        return ["there is no committed lock"]
    found: list[str] = []
    for one, other in zip(committed.certificates, fresh.certificates, strict=False):
        for field in ("gates", "kind", "level", "confidence", "judged", "accepted", "bad", "identity", "judge"):
            if getattr(one, field) != getattr(other, field):
                found.append(f"certificate {one.id}: {field} {getattr(one, field)} is now {getattr(other, field)}")
    if len(committed.certificates) != len(fresh.certificates):
        found.append(f"{len(committed.certificates)} certificates are now {len(fresh.certificates)}")
    if [g.id for g in committed.gates] != [g.id for g in fresh.gates]:
        found.append("the gates are not the same")
    found += _moved("gate", _thresholds(committed), _thresholds(fresh))
    found += _moved("scorer", _weights(committed), _weights(fresh))
    return found


def main() -> int:
    """Write the lock, or check it."""
    fresh = refit()
    target = lock_path(POLICY)
    if "--check" not in sys.argv[1:]:
        save_lock(target, fresh)
        for certificate in fresh.certificates:
            print(
                f"{certificate.id}: {certificate.kind} <= {certificate.level} at confidence "
                f"{certificate.confidence}, {certificate.bad} bad of {certificate.judged} judged"
            )
        for note in fresh.notes:
            print(note)
        return 0
    found = differences(load_lock(target), fresh)
    print("\n".join(found) or "the committed lock is what the outcomes give")
    return 1 if found else 0


def _thresholds(lock: Lock) -> dict[str, float]:
    return {gate.id: gate.threshold for gate in lock.gates if gate.threshold is not None}


def _weights(lock: Lock) -> dict[str, float]:
    return {f"{s.id}/{f}": w for s in lock.scorers for f, w in zip(s.features, s.weights, strict=True)}


def _moved(what: str, was: dict[str, float], now: dict[str, float]) -> list[str]:
    names = sorted(was.keys() | now.keys())
    return [
        f"{what} {name}: {was.get(name)} is now {now.get(name)}"
        for name in names
        if name not in was or name not in now or abs(was[name] - now[name]) > TOLERANCE
    ]


if __name__ == "__main__":
    sys.exit(main())
