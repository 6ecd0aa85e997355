"""Rows of CSV files, read with the standard library."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, count

from cascade.errors import ConfigError
from cascade.intake.findings import Fault, Found, Row
from cascade.intake.layouts import Layouts
from cascade.intake.rows import NOT_UTF8
from cascade.intake.streams import start_of

NOT_CSV = "not CSV"
CELLS = "not as many cells as the header has"

_LONGEST = 1 << 28
"""Characters of one cell; the library's own limit is shorter than many an answer."""

_NOT_TEXT = re.compile("[\udc80-\udcff]")


def csv_rows(stream: io.BufferedReader, name: str, layouts: Layouts, found: Found) -> Iterator[Row]:
    """Rows of a table whose first row names its columns; row 1 is the header.

    The separator is what the header has: a tab, else a comma, else a semicolon.
    """
    start_of(stream, name, found)
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    # What is no UTF-8 becomes half surrogate pairs, so that it spoils its own row and no other.
    with io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="") as text:
        blank = 0
        while (first := text.readline()) and not first.strip():
            blank += 1
        if not first:
            return
        rows = csv.reader(chain([first], text), delimiter=_separator(first), strict=True)
        header = _header(rows, name)
        table = layouts.table(header)
        for number in count(blank + 2):
            try:
                cells = next(rows, None)
                if cells is None:
                    return
                if cells and (row := table.row(number, _sound(cells, len(header)))) is not None:
                    yield row
            except csv.Error as error:
                yield Row(number, Fault(NOT_CSV, f"{error}, line {rows.line_num} of the file"))
            except Fault as fault:
                yield Row(number, fault)


def _header(rows: Iterator[list[str]], name: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(rows)]
    except csv.Error as error:
        raise ConfigError(f"{name}: its header is not CSV: {error}") from error


def _separator(header: str) -> str:
    return next((mark for mark in "\t,;" if mark in header), ",")


def _sound(cells: list[str], wanted: int) -> list[str]:
    if len(cells) != wanted:
        raise Fault(CELLS, f"{len(cells)} instead of {wanted}")
    if _NOT_TEXT.search("".join(cells)):
        raise Fault(NOT_UTF8)
    return cells
