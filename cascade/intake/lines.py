"""Rows of JSON lines: records as they are, or objects whose keys are the columns of another layout."""

from __future__ import annotations

import io
from collections.abc import Iterator

from cascade.intake.findings import Fault, Found, Row
from cascade.intake.layouts import Layouts, Table
from cascade.intake.rows import plain
from cascade.intake.streams import unmarked


def line_rows(stream: io.BufferedReader, name: str, layouts: Layouts, found: Found) -> Iterator[Row]:
    """Rows from 1. The first line that is an object says which layout it is; records stay undecoded."""
    tables: dict[tuple[str, ...], Table] = {}
    records: bool | None = None
    for number, line in enumerate(stream, 1):
        record = (unmarked(line, name, found) if number == 1 else line).strip()
        if not record:
            continue
        if records:
            yield Row(number, record)
            continue
        try:
            body = plain(record)
            header = tuple(body)
            records = layouts.named(header) == "cascade"
            if records:
                yield Row(number, record)
                continue
            if header not in tables:
                tables[header] = layouts.table(header)
            if (row := tables[header].row(number, tuple(body.values()))) is not None:
                yield row
        except Fault as fault:
            yield Row(number, fault)
