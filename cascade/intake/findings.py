"""What reading found besides outcomes: problems, which leave a row out, and notes, which do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cascade.types import Outcome, Record

EXAMPLES = 3
SHOWN = 60
"""Characters of a value of the user's that a message repeats."""


class Finding(Record, frozen=True, kw_only=True):
    """One thing found. ``row`` counts as the source does, and is 0 for the source as a whole.

    A line of JSON lines counts from 1, a row of a table as a spreadsheet numbers it (the header is
    row 1), a row of Parquet or of a ledger from 1. ``id`` is empty where it is not known.
    """

    row: int
    id: str = ""
    detail: str = ""

    def __str__(self) -> str:
        where = f"row {self.row}" if self.row else ""
        named = f"{where} ({self.id})" if self.id else where
        return " ".join(part for part in (named, self.detail) if part)


class Group(Record, frozen=True, kw_only=True):
    """All findings with one reason, in the order in which they were found."""

    reason: str
    found: list[Finding]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.found)

    @property
    def first(self) -> list[Finding]:
        """The first three."""
        return self.found[:EXAMPLES]


class Intake(Record, frozen=True, kw_only=True):
    """Outcomes in the order of their source, and what became of everything else.

    ``rows`` is how many were looked at; each is among the outcomes, or named by a problem or by the
    note on rows that say the same twice.
    """

    outcomes: list[Outcome]
    problems: list[Group]
    notes: list[Group]
    rows: int


class Fault(Exception):
    """A row that cannot be used: why, in words that group it with its like, and in detail."""

    def __init__(self, reason: str, detail: str = "", *, id: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.id = reason, detail, id


class Row(NamedTuple):
    """What a source hands on: a line of JSON, a record as plain data, an outcome, or what is in its place.

    ``beside`` is what stands in the row and is no part of the record; ``rows`` is for how many rows
    of the source it stands.
    """

    number: int
    body: bytes | dict[str, Any] | Outcome | Fault
    beside: Mapping[str, Any] = {}
    rows: int = 1


class Found:
    """Collects findings by reason while a source is read."""

    def __init__(self) -> None:
        self._problems: dict[str, list[Finding]] = {}
        self._notes: dict[str, list[Finding]] = {}

    def problem(self, reason: str, row: int, id: str = "", detail: str = "") -> None:
        """A row that is left out, or a part of the source that cannot be read."""
        self._problems.setdefault(reason, []).append(Finding(row=row, id=id, detail=detail))

    def note(self, reason: str, row: int, id: str = "", detail: str = "") -> None:
        """Something that leaves no row out."""
        self._notes.setdefault(reason, []).append(Finding(row=row, id=id, detail=detail))

    def intake(self, outcomes: list[Outcome], rows: int) -> Intake:
        """Everything together."""
        return Intake(outcomes=outcomes, problems=_groups(self._problems), notes=_groups(self._notes), rows=rows)


def shown(value: object) -> str:
    """A value as a message repeats it: short, and on one line."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _groups(found: dict[str, list[Finding]]) -> list[Group]:
    return [Group(reason=reason, found=findings) for reason, findings in found.items()]
