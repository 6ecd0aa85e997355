"""``cascade selftest``: would a broken promise show?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, page, status

if TYPE_CHECKING:
    from cascade.selftest import Finding


def selftest(
    policy: PolicyFile = None,
    repetitions: Annotated[
        int, typer.Option("--repetitions", min=20, metavar="N", help="Runs of each scenario, shared by certificates.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed plays the same runs.")] = 0,
    json: AsJson = False,
) -> None:
    """Play drift, judge noise, ties, tiny slices, missing signals and biased labels against policy and lock.

    Simulated traffic whose true risk is known, at the rates of the lock's certificates; without a lock, at
    those of a typical scorer. Each promise may break as often as its confidence says, within Monte Carlo
    error; what nobody can promise is shown with its price. Exit status 1 when something broke that may not.

    JSON: `ok`, `findings` (each `stage`: the lock, or what traffic is like; `scenario`; `demand`: must hold,
    must be noticed or cannot be promised; `runs`; `broke`; `may`: the most that bad luck explains; `ok`;
    `said`; `certified`: share of promises asked for that were made, null where none was).
    """
    from cascade.lock import load_lock, lock_path
    from cascade.policyfile import load_policy
    from cascade.selftest import selftest as played

    file = policy_file(policy)
    loaded, lock = load_policy(file), load_lock(lock_path(file))
    findings = []
    with status("playing") as say:
        for finding in played(loaded, lock, repetitions=repetitions, seed=seed):
            say(f"{finding.stage}: {finding.scenario}")
            findings.append(finding)
    sound = all(finding.ok for finding in findings)
    if json:
        emit({"ok": sound, "findings": [_fields(finding) for finding in findings]})
    else:
        _draw(findings)
    if not sound:
        raise typer.Exit(1)


def _fields(finding: Finding) -> dict[str, object]:
    return {name: getattr(finding, name) for name in finding.__struct_fields__}


def _draw(findings: Iterable[Finding]) -> None:
    """A table for each stage."""
    from itertools import groupby

    from rich import box
    from rich.table import Table

    for stage, found in groupby(findings, key=lambda finding: finding.stage):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=stage, title_justify="left")
        for name, side in (("", "left"), ("scenario", "left"), ("broke", "right"), ("may", "right"), ("", "left")):
            table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]  # a literal of rich's
        for one in found:
            promised = one.demand != "cannot be promised"
            mark = ("ok" if one.ok else "BROKEN") if promised else "note"
            table.add_row(mark, one.scenario, f"{one.broke}/{one.runs}", str(one.may) if promised else "", one.said)
        page().print(table)
