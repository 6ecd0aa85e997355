"""Refit the demo's lock from the committed recordings: ``python -m calibration [--check]``.

The same code as ``cascade calibrate``. With ``--check`` nothing is written: exit status 1 and the
differences where the committed lock is not what the outcomes give (counts, gates and candidates
equal, weights within 1e-6, since the last bits differ between processors).
"""

from __future__ import annotations

import sys
from pathlib import Path

from cascade.difference import difference
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
    found = difference(committed, fresh, tolerance=TOLERANCE)
    lines = [f"gate {one.gate}: {one.change}, {one.was} is now {one.now}" for one in found.gates]
    for one in found.certificates:
        lines.append(f"certificate {one.now or one.was}: {one.change}")
        fields = [*one.promise, *one.evidence, *one.judge, *one.identity]
        lines += [f"certificate {one.now}: {field.field} {field.was} is now {field.now}" for field in fields]
    for one in found.scorers:
        names = [*one.came, *one.went, *(f"{w.feature} {w.was} is now {w.now}" for w in one.weights)]
        lines += [f"scorer {one.scorer}: {name}" for name in names]
    return lines


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


if __name__ == "__main__":
    sys.exit(main())
