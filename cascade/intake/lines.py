"""Rows of JSON lines: records as they are, or objects whose keys are the columns of another layout."""

from __future__ import annotations

import io
from collections.abc import Iterator

from cascade.errors import ConfigError
from cascade.intake.findings import Fault, Found, Row
from cascade.intake.layouts import Layouts, Table
from cascade.intake.rows import plain
from cascade.intake.streams import unmarked

OTHER_KEYS = "a row without the keys that the first has"


def line_rows(stream: io.BufferedReader, name: str, layouts: Layouts, found: Found) -> Iterator[Row]:
    """Rows from 1. The first line that is an object says which layout it is; records stay undecoded."""
    tables: dict[tuple[str, ...], Table] = {}
    records: bool | None = None
    for number, line in enumerate(stream, 1):
        record = (unmarked(line, name, found) if number == 1 else line).strip()
        if not record:
            continue
        if records is None:
            records = _are_records(record, layouts)
        if records is not False:
            yield Row(number, record)
            continue
        try:
            body = plain(record)
            table = _table(tables, layouts, tuple(body))
            if (row := table.row(number, tuple(body.values()))) is not None:
                yield row
        except Fault as fault:
            yield Row(number, fault)


def _are_records(line: bytes, layouts: Layouts) -> bool | None:
    """Whether the lines are records; None where this line is no object and cannot tell."""
    try:
        return layouts.kind(tuple(plain(line))) == "cascade"
    except Fault:
        return None


def _table(tables: dict[tuple[str, ...], Table], layouts: Layouts, header: tuple[str, ...]) -> Table:
    """The table of rows with these keys. The first must fit; a later row that does not is a ``Fault`` of its own."""
    if header not in tables:
        try:
            tables[header] = layouts.table(header)
        except ConfigError as error:
            if not tables:
                raise
            raise Fault(OTHER_KEYS, str(error)) from None
    return tables[header]
