"""What a table's columns mean: the record's own paths, RouterBench's models, or LiteLLM's calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from cascade.errors import ConfigError
from cascade.intake.columns import Layout, laid_out, row_of
from cascade.intake.findings import Found, Row
from cascade.intake.litellm import SpendLog, is_log
from cascade.intake.routerbench import is_wide, wide, worded

LayoutName = Literal["auto", "cascade", "routerbench", "litellm"]


class Table(Protocol):
    """Rows with the same columns; cells come in the order of the header."""

    @property
    def positions(self) -> Sequence[int]:
        """Positions of the columns that are read."""
        ...

    def row(self, number: int, cells: Sequence[Any]) -> Row | None:
        """What a row makes; None where a later one stands for it. Raises ``Fault``."""
        ...


class Layouts:
    """Makes of each header of a source a table, all in the layout asked for or in that of the first.

    ``columns`` are a person's own names for the record's paths, and say by themselves which layout it is.
    ``named`` says that a table in the record's own paths must have a column of ids.
    """

    def __init__(
        self,
        asked: LayoutName,
        columns: Mapping[str, str] | None,
        slice_by: str | None,
        found: Found,
        *,
        name: str,
        named: bool = True,
    ) -> None:
        if columns and asked not in ("auto", "cascade"):
            raise ConfigError(f"{name}: the layout {asked} has columns of its own: leave out --column, or --layout")
        self._layout = "cascade" if columns else asked
        self._columns, self._slice_by, self._found = columns or {}, slice_by, found
        self._name, self._ids = name, named
        self._log: SpendLog | None = None

    def kind(self, header: Sequence[str]) -> LayoutName:
        """The layout of all tables of the source, found out by the first header that is asked about."""
        if self._layout == "auto":
            self._layout = "litellm" if is_log(header) else "routerbench" if is_wide(header) else "cascade"
        return self._layout

    def table(self, header: Sequence[str], *, nested: bool = False) -> Table:
        """The table under a header. Raises ``ConfigError`` where the two do not fit."""
        layout = self.kind(header)
        if layout == "litellm":
            self._log = self._log or SpendLog(self._slice_by, self._found, name=self._name)
            return _Calls(header, self._log)
        if layout == "routerbench":
            return _Wide(wide(header, self._slice_by, self._found, name=self._name), self._found)
        own = laid_out(
            header, self._columns, self._slice_by, self._found, name=self._name, nested=nested, named=self._ids
        )
        return _Own(own, self._found)

    def rest(self) -> Iterator[Row]:
        """The rows that could be made only when all were seen."""
        if self._log is not None:
            yield from self._log.rest()


class _Own:
    def __init__(self, layout: Layout, found: Found) -> None:
        self._layout, self._found, self.positions = layout, found, layout.positions

    def row(self, number: int, cells: Sequence[Any]) -> Row | None:
        return row_of(self._layout, cells, self._found, number)


class _Wide(_Own):
    def row(self, number: int, cells: Sequence[Any]) -> Row | None:
        return super().row(number, worded(self._layout, cells))


class _Calls:
    def __init__(self, header: Sequence[str], log: SpendLog) -> None:
        self._header, self._log, self.positions = header, log, log.reads(header)

    def row(self, number: int, cells: Sequence[Any]) -> Row | None:
        return self._log.take(number, dict(zip(self._header, cells, strict=True)))
