"""``cascade check``: does the promise of the lock in force hold on fresh labelled outcomes?"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.cli.places import AsJson, PolicyFile, StoreFolder, opened, policy_file
from cascade.cli.printing import emit, note, page, status, tracked
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from cascade.ledger import Ledger
    from cascade.recheck import Checked, Finding

TESTS = {
    "exact": "one look, exact tests: looking again at more rows needs a watch, which is kept in the ledger's store",
    "anytime": "a watch that goes on: rows that an earlier check has counted are not counted again",
}


Named = Annotated[
    Path | None, typer.Argument(metavar="POLICY", help="Policy file, as with --policy.", show_default=False)
]
Outcomes = Annotated[
    Path, typer.Option("--outcomes", metavar="FILE", help="Fresh labelled outcomes, .jsonl or .jsonl.gz; - is stdin.")
]
LockFile = Annotated[
    Path | None, typer.Option("--lock", metavar="LOCK", help="Default: beside the policy.", show_default=False)
]
Alarm = Annotated[
    float | None,
    typer.Option(
        "--alarm",
        metavar="LEVEL",
        help="Chance of a false alarm, over all certificates. Default: 1 - the policy's confidence.",
        show_default=False,
    ),
]
Once = Annotated[bool, typer.Option("--once", help="Exact tests of these rows alone; nothing is remembered.")]


def check(
    outcomes: Outcomes,
    named: Named = None,
    policy: PolicyFile = None,
    store: StoreFolder = None,
    lock: LockFile = None,
    alarm: Alarm = None,
    once: Once = False,
    json: AsJson = False,
) -> None:
    """Test each certificate of the lock on fresh labelled outcomes: broken, holds, undecided or void.

    Each answer stands under a stated false-alarm level. Where there is a ledger the evidence is kept in
    its store and goes on at the next check, at the same level over all checks together; the same rows
    are never counted twice. Rows of split `fit` are left out, and so is what no coin drew. Exit status
    1: a promise is broken or void. An undecided one is a warning and no failure.

    JSON: `policy`, `answer` (the worst), `test` (exact or anytime), `alarm`, `rows`, `findings` (for
    each certificate `answer`, `reason`, `alarm` and `delta` as its shares, counts, `risk`, `p_broken`,
    `p_holds`, `more_rows` that would decide; fields at their default left out), `left_out`.
    """
    from cascade.engine import embedder_of
    from cascade.ledger import read_outcomes
    from cascade.lock import load_lock, lock_path
    from cascade.policyfile import load_policy
    from cascade.recheck import check as checked

    if named is not None and policy is not None:
        raise typer.BadParameter("the policy is named twice: as the argument and with --policy")
    file = policy_file(named or policy)
    loaded, place = load_policy(file), lock if lock is not None else lock_path(file)
    found_lock = load_lock(place)
    if found_lock is None:
        raise ConfigError(f"{place} is not there, so that there is no promise to check: cascade calibrate")
    rows = list(tracked("outcomes")(read_outcomes(outcomes)))
    with ExitStack() as stack:
        memory = None if once else _memory(stack, file, store)
        with status("testing"):
            found = checked(rows, loaded, found_lock, alarm=alarm, embedder=embedder_of(loaded), memory=memory)
    if json:
        emit(found)
    else:
        _show(found)
    _warn(found)
    if found.answer in ("broken", "void"):
        raise typer.Exit(1)


def _memory(stack: ExitStack, policy: Path, store: Path | None) -> Ledger | None:
    """The ledger's store where there is one that can be written; else None, said aloud."""
    try:
        ledger, _, _ = stack.enter_context(opened(policy, store))
    except ConfigError as error:
        note(f"Nothing will be remembered of this check (as with --once): {error}")
        return None
    if not ledger.durable:
        note(f"Nothing will be remembered of this check (as with --once): {store or 'the store'} cannot be written")
        return None
    return ledger


def _show(found: Checked) -> None:
    page().print(_table(found))
    for one in found.findings:
        print(f"{one.answer}: {one.population}: {one.reason}.")
    print(f"False-alarm level {found.alarm:g} over all certificates; {TESTS[found.test]}.")


def _table(found: Checked) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("answer", "promise"):
        table.add_column(name)
    table.add_column("about", overflow="fold")
    for name in ("counted", "of these new", "bad", "better", "risk %"):
        table.add_column(name, justify="right")
    for one in found.findings:
        table.add_row(one.answer, f"{one.kind} <= {one.level * 100:g} %", one.population, *_cells(one))
    return table


def _cells(one: Finding) -> list[str]:
    risk = "-" if one.risk is None else f"{one.risk * 100:.2f}"
    return [f"{one.n:,}", f"{one.new:,}", f"{one.bad:,}", f"{one.better:,}" if one.kind == "regret" else "-", risk]


def _warn(found: Checked) -> None:
    for gone in found.left_out:
        note(f"left out: {gone.rows:,} rows: {gone.reason} ({', '.join(gone.examples)})")
    if found.same_rows:
        note("These are the rows that the lock was made from: they prove nothing new about it.")
    for one in found.findings:
        if one.answer == "undecided":
            more = (
                f"about {one.more_rows:,} more judged rows would decide if the rates stay as they are"
                if one.more_rows is not None
                else "label some of its traffic"
                if not one.n
                else "at these rates no number of rows would decide: the risk is about what is promised"
            )
            note(f"warning: undecided: {one.certificate}: {one.reason}; {more}")
