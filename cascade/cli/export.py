"""``cascade export``: outcomes of the ledger, or of anybody's table, as JSON lines."""

from __future__ import annotations

import datetime
import re
import time
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.intake import Columns, Layout, LayoutName, SliceBy, taken
from cascade.cli.places import AsJson, PolicyFile, StoreFolder, opened
from cascade.cli.printing import emit, note, tracked

AGE = re.compile(r"(\d+)([mhdw])")
SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def export(  # noqa: PLR0913, PLR0917  every parameter is an option of the command line
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TABLE]", help="Of this file instead of the ledger, labelled or not.", show_default=False
        ),
    ] = None,
    policy: PolicyFile = None,
    store: StoreFolder = None,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Where to; - is stdout, *.gz is compressed.")
    ] = "-",
    slice: Annotated[
        str | None, typer.Option("--slice", metavar="NAME", help="Only this slice.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Only decisions since then: 2026-03-01, 2026-03-01T12:00 (UTC), or an age as 90m, 24h, 7d, 4w.",
            show_default=False,
        ),
    ] = None,
    slice_by: SliceBy = None,
    column: Columns = None,
    layout: LayoutName = Layout.auto,
    json: AsJson = False,
) -> None:
    """Write outcomes as JSON lines: what judges label, calibration learns from and replay replays.

    With a policy those of that policy, with --store alone all that the store holds. With a TABLE (.csv,
    .tsv, .parquet, .jsonl) its rows, as those of a spend log of LiteLLM, which no judge has seen yet.

    JSON (needs -o FILE): `file`, `outcomes` (how many).
    """
    from cascade.ledger import write_outcomes

    if json and output == "-":
        raise typer.BadParameter("--json needs -o FILE: stdout cannot hold both")
    earliest = moment(since) if since is not None else None
    if source is not None:
        if policy is not None or store is not None or since is not None:
            raise typer.BadParameter("--policy, --store and --since are of a ledger: leave them out with a table")
        found = taken(source, slice_by=slice_by, column=column, layout=layout, unlabelled=True).outcomes
        count = write_outcomes(output, (row for row in found if slice is None or row.slice == slice))
        _told(output, count, json)
        return
    if slice_by is not None or column or layout is not Layout.auto:
        raise typer.BadParameter("--slice-by, --column and --layout are of a table: name one")
    with opened(policy, store) as (ledger, loaded, _):
        name = loaded.name if loaded is not None else None
        rows = ledger.outcomes(policy=name, slice=slice, since=earliest)
        count = write_outcomes(output, tracked("outcomes")(rows))
    _told(output, count, json)


def _told(output: str, count: int, json: bool) -> None:
    if json:
        emit({"file": output, "outcomes": count})
    elif output != "-":
        note(f"{count:,} outcomes written to {output}")


def moment(text: str) -> float:
    """Seconds since 1970 of a date, a time (UTC unless it says otherwise) or an age such as ``7d``."""
    if age := AGE.fullmatch(text):
        return time.time() - int(age[1]) * SECONDS[age[2]]
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        wanted = "write 2026-03-01, 2026-03-01T12:00, or an age as 24h or 7d"
        raise typer.BadParameter(f"--since {text}: {wanted}") from None
    return found.replace(tzinfo=found.tzinfo or datetime.UTC).timestamp()
