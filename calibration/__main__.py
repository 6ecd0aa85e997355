"""This project's calibrations, redone: ``python -m calibration [--check]``, or for a file of your own.

Without a file the demo's lock is fitted from the committed recordings, with its report. With
``--check`` nothing is written: exit status 1 and the differences where the committed lock is not what
the outcomes give (counts, places on the path, gates and candidates equal, weights within 1e-6, since
the last bits differ between processors). With a file the rest of the line is that of
``cascade calibrate``, which this then is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cascade.difference import difference
from cascade.engine import embedder_of
from cascade.learning.account import account
from cascade.learning.calibrate import Learned, learn
from cascade.ledger import read_outcomes
from cascade.lock import Lock, load_lock, lock_path, save_lock
from cascade.policyfile import load_policy
from cascade.promise import verdict
from cascade.report import write

ROOT = Path(__file__).parent.parent
POLICY = ROOT / "policies" / "demo.toml"
OUTCOMES = ROOT / "benchmarks" / "recordings" / "demo.jsonl.gz"
REPORT = Path(__file__).parent / "reports" / "demo.html"
JUDGE = "gold answers, matched by rule"
TOLERANCE = 1e-6


def relearned() -> Learned:
    """What the committed outcomes give."""
    policy = load_policy(POLICY)
    return learn(read_outcomes(OUTCOMES), policy, judge=JUDGE, embedder=embedder_of(policy))


def refit() -> Lock:
    """The lock that the committed outcomes give."""
    return relearned().lock


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


def main(words: list[str]) -> int:
    """Write lock and report, check the lock, or calibrate a user's file."""
    if words and words != ["--check"]:
        from cascade import cli

        sys.argv = ["cascade", "calibrate", *words]
        cli.main()
    learned = relearned()
    target = lock_path(POLICY)
    if not words:
        save_lock(target, learned.lock)
        policy = load_policy(POLICY)
        write(REPORT, account(learned, policy, embedder=embedder_of(policy)))
        print(verdict(learned.lock))
        return 0
    found = differences(load_lock(target), learned.lock)
    print("\n".join(found) or "the committed lock is what the outcomes give")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
