"""What a policy would have done, for a terminal: who serves, what it costs, what changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.hindsight import Against, Hindsight, Side

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def tables(found: Hindsight) -> list[RenderableType]:
    """What ``cascade replay`` prints, top to bottom. Nothing that comes from data is read as markup."""
    from rich.text import Text

    share = found.replayed / found.requests
    first = f"{found.replayed:,} of {found.requests:,} requests ({share:.1%}) can be replayed under {found.policy}."
    lines = [Text(first, style="bold")]
    lines += [Text(f"Left out: {rows:,} requests: {reason}.") for reason, rows in found.left_out.items()]
    if not found.replayed:
        return list(lines)
    return [
        Text("\n").join(lines),
        _flow(found),
        _sides(found),
        Text("\n").join(
            [Text(_against("Saving", "%", found.saving)), Text(_against("Quality", "points", found.quality))]
        ),
        *_changes(found),
    ]


def _flow(found: Hindsight) -> Table:
    """Rows: who served then; columns: who would."""
    columns = sorted({now for row in found.flow.values() for now in row})
    table = _table("served then", *(f"now\n{name}" for name in columns))
    for was, row in sorted(found.flow.items()):
        table.add_row(_plain(was), *(f"{row[name]:,}" if name in row else "-" for name in columns))
    return table


def _sides(found: Hindsight) -> Table:
    table = _table("", "requests", "USD", "USD a\n1,000", "latency\nmean s", "p50 s", "p95 s", "p99 s")
    for name, side in (("then", found.then), ("now", found.now)):
        if side is not None:
            table.add_row(name, *_cells(side))
    for name in ("served", "wasted", "extras", "embedding", "frontier"):
        dollars = getattr(found.spent, name)
        if dollars:
            table.add_row(f"  of it {name}", "", f"{dollars:.4f}", f"{1e3 * dollars / found.now.rows:.4f}")
    return table


def _cells(side: Side) -> list[str]:
    cost = f"{side.cost:.4f}{' or more' if side.unpriced else ''}"
    each = f"{1e3 * side.cost / max(side.rows, 1):.4f}"
    seconds = side.latency
    times = [] if seconds is None else [f"{t:.2f}" for t in (seconds.mean, seconds.p50, seconds.p95, seconds.p99)]
    return [f"{side.rows:,}", cost, each, *times]


def _against(what: str, unit: str, one: Against) -> str:
    left = "".join(f"\n  {rows:,} requests are not in it: {reason}." for reason, rows in one.left_out.items())
    if one.figure is None:
        return f"{what} against always-frontier: not to be told: {one.why}.{left}"
    figure = one.figure
    told = f"{100 * figure.estimate:.1f} {unit}"
    if figure.low is not None and figure.high is not None:
        told += f" ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    return f"{what} against always-frontier: {told}, on {one.rows:,} requests with both.{left}"


def _changes(found: Hindsight) -> list[RenderableType]:
    from rich.text import Text

    if found.then is None:
        return [Text("No row says who served it then.")]
    if not found.changed:
        return [Text("No request changes hands.")]
    table = _table(f"{found.changed:,} requests\nchange hands")
    for name in ("slice", "then", "now", "why"):
        table.add_column(name, overflow="fold")
    for one in found.changes:
        table.add_row(*map(_plain, (one.id, one.slice, one.then, one.now, one.why)))
    more = found.changed - len(found.changes)
    return [table, *([Text(f"and {more:,} more: -o FILE writes every request")] if more and found.changes else [])]


def _table(first: str, *numbers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(_plain(name), justify="right", overflow="fold")
    return table


def _plain(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text)
