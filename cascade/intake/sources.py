"""Which kind of source something is, and its rows one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cascade.errors import ConfigError
from cascade.intake.findings import Fault, Found, Row
from cascade.intake.layouts import LayoutName, Layouts
from cascade.intake.lines import line_rows
from cascade.intake.parquet import parquet_rows
from cascade.intake.streams import DAMAGED, opened, whole
from cascade.intake.tables import csv_rows
from cascade.ledger.records import STDIO

LEDGER_FILE = "ledger.sqlite"
_LINES, _TABLES, _PARQUET, _LEDGER = (
    (".jsonl", ".ndjson"),
    (".csv", ".tsv"),
    (".parquet",),
    (".sqlite", ".sqlite3", ".db"),
)
_PICKLES = (".pkl", ".pickle")


def rows_of(
    source: Path | str,
    columns: Mapping[str, str] | None,
    slice_by: str | None,
    found: Found,
    layout: LayoutName = "cascade",
    *,
    named: bool = True,
) -> Iterator[Row]:
    """Rows of a source; a ``Fault`` stands where one could not be read.

    ``named`` says that a table must have a column of ids.
    ``ConfigError`` when there is no such source, when its kind is unknown, or for a column map or a
    layout that does not fit.
    """
    kind = _kind(source)
    if columns and kind not in (_TABLES, _PARQUET):
        raise ConfigError(f"{source}: only the columns of a table can be renamed, and this is none")
    layouts = Layouts(layout, columns, slice_by, found, name=str(source), named=named)
    try:
        if kind is _LEDGER:
            if layout not in ("auto", "cascade"):
                raise ConfigError(f"{source}: a ledger has its own layout: leave out --layout {layout}")
            yield from _ledger(Path(source))
        elif kind is _LINES:
            with opened(source) as stream:
                yield from whole(line_rows(stream, str(source), layouts, found))
        elif kind is _TABLES:
            with opened(source) as stream:
                yield from whole(csv_rows(stream, str(source), layouts, found))
        else:
            yield from parquet_rows(Path(source), layouts)
        yield from layouts.rest()
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from error


def _kind(source: Path | str) -> tuple[str, ...]:
    path = Path(source)
    if str(source) == STDIO:
        return _LINES
    if path.is_dir():
        return _LEDGER
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]
    for kind in (_LINES, _TABLES, _PARQUET, _LEDGER):
        if last and last[0] in kind:
            return kind
    if last and last[0] in _PICKLES:
        raise ConfigError(
            f"{source}: a pickle can run any program when it is read, so none is: load it where you trust it, and"
            " save it as Parquet or CSV (pandas: frame.to_parquet(...), frame.to_csv(..., index=False))"
        )
    raise ConfigError(
        f"{source}: what kind of file is it? Read are .jsonl, .csv and .tsv (each also .gz), .parquet,"
        " and a ledger's folder or its ledger.sqlite"
    )


def _ledger(path: Path) -> Iterator[Row]:
    """Rows of a ledger, which is never made by reading, nor closed to whoever is writing to it."""
    from cascade.ledger import Ledger

    if path.is_file() and path.name != LEDGER_FILE:
        yield from _copy(path)
        return
    folder = path if path.is_dir() else path.parent
    if not (folder / LEDGER_FILE).is_file() and not (folder / "spool").is_dir():
        raise ConfigError(f"{folder} holds no ledger: name the folder that holds ledger.sqlite")
    number = 0
    with Ledger(folder) as ledger:
        if not ledger.durable:
            raise ConfigError(f"{folder}: a ledger can be read only where its folder can be written: copy it")
        try:
            for number, outcome in enumerate(ledger.outcomes(), 1):
                yield Row(number, outcome)
        except ConfigError as error:
            if not number:
                raise
            yield Row(number + 1, Fault(DAMAGED, f"{error}; nothing after it is read"))


def _copy(path: Path) -> Iterator[Row]:
    """Rows of a ledger's file that stands somewhere else, under another name."""
    import sqlite3

    from cascade.ledger.store import Store

    store = Store(path, copied=True)
    try:
        for number, outcome in enumerate(store.outcomes(None, None, None), 1):
            yield Row(number, outcome)
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: cannot be read as a ledger: {error}") from error
    finally:
        store.close()
