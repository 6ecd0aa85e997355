"""``cascade calibrate``: labelled outcomes and a target in, a lock out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, note, status, tracked
from cascade.cli.promise import verdict


def calibrate(
    outcomes: Annotated[
        Path, typer.Argument(metavar="FILE", help="Labelled outcomes, .jsonl or .jsonl.gz; - is stdin.")
    ],
    policy: PolicyFile = None,
    judge: Annotated[str, typer.Option("--judge", metavar="NAME", help="Who labelled them; goes into the lock.")] = "",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="LOCK", help="Default: beside the policy.", show_default=False),
    ] = None,
    json: AsJson = False,
) -> None:
    """Fit and certify the gates of a policy, and write its lock.

    Rows of split `fit` fit the scorers, rows of split `certify` are looked at once, for the
    certificate. Rows without a split, as the ledger exports them, are dealt out by a hash of their
    id. Rows of enforced traffic are left out: a gate chose which of them have labels. Nothing
    certified is no error: the lock then holds closed gates, everything escalates, and the exit
    status is 1.

    JSON: `lock` (the file), `certified`, `statement` (the promise or the refusal, in words),
    `certificates` (as in the lock), `gates` (id to threshold in log-odds, null where closed).
    """
    from cascade.learning.calibrate import calibrate as fitted
    from cascade.ledger import read_outcomes
    from cascade.lock import lock_path, save_lock
    from cascade.policyfile import load_policy

    file = policy_file(policy)
    loaded = load_policy(file)
    rows = list(tracked("outcomes")(read_outcomes(outcomes)))
    with status("fitting and certifying"):
        lock = fitted(rows, loaded, judge=judge)
    target = output if output is not None else lock_path(file)
    save_lock(target, lock)
    certified = bool(lock.certificates)
    if json:
        gates = {gate.id: gate.threshold for gate in lock.gates}
        emit(
            {
                "lock": str(target),
                "certified": certified,
                "statement": verdict(lock),
                "certificates": lock.certificates,
                "gates": gates,
            }
        )
    else:
        print(verdict(lock))
        note(f"{target} is written")
    if not certified:
        raise typer.Exit(1)
