"""Reading a source row by row: what each row is, what is wanted of it, and whether it can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cascade.intake.choice import Choice
from cascade.intake.findings import Fault, Found, Intake
from cascade.intake.layouts import LayoutName
from cascade.intake.proof import proven
from cascade.intake.repeats import tie_repeats
from cascade.intake.rows import outcome_of
from cascade.intake.sources import rows_of
from cascade.ledger.records import encode
from cascade.types import Outcome

EMPTY = "there is nothing in it"
TWICE = "a row that says the same twice is taken once"
CONTRADICTION = "rows with the same id that say different things"
REPEATED = "a question that an earlier row asks is tied to it"


def read(
    source: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    tiers: Sequence[str] | None = None,
    slice_by: str | None = None,
    signals: Sequence[str] | None = None,
    layout: LayoutName = "auto",
    unlabelled: bool = False,
    on_row: Callable[[int], object] | None = None,
) -> Intake:
    """Labelled outcomes of a file, of stdin (``-``, JSON lines) or of a ledger.

    Files: ``.jsonl``, ``.csv``, ``.tsv`` (each also ``.gz``) and ``.parquet``; a ledger is its folder
    or its ``ledger.sqlite``. ``columns`` maps paths of the record to names of a table's columns.
    ``tiers`` keeps these tiers of each row, ``signals`` these signals or families; ``slice_by`` is the
    path of the field, in the record or beside it, whose value becomes the slice. ``layout`` says what
    columns mean, ``auto`` that their names tell: paths of the record (``cascade``), a wide table of
    RouterBench, or a spend log of LiteLLM, of which calls with the same messages are one outcome.
    ``unlabelled`` takes rows that nobody has judged as well. ``on_row`` is called after each row with
    how many there were.

    A row that is no good is a problem and the rest is read. Repeated questions are tied to the first
    (``tie_repeats``). Raises ``ConfigError`` when the source cannot be read at all, or for a column
    map or a layout that does not fit it.
    """
    found = Found()
    choice = Choice(tiers, slice_by, signals)
    kept = _Kept(found)
    count = 0
    for row in rows_of(source, columns, slice_by, found, layout):
        try:
            outcome = outcome_of(row, found)
            kept.add(row.number, proven(choice.of(outcome, row), unlabelled=unlabelled))
        except Fault as fault:
            found.problem(fault.reason, row.number, fault.id, fault.detail)
        count += row.rows
        if on_row is not None:
            on_row(count)
    if not count:
        found.problem(EMPTY, 0)
    choice.missed(found)
    return found.intake(kept.outcomes(), count)


def each(
    source: Path | str, found: Found, *, columns: Mapping[str, str] | None = None, slice_by: str | None = None
) -> Iterator[Outcome]:
    """The outcomes of a source one by one, with or without labels, none kept in memory; see ``read``.

    Rows that cannot be used are left out and told to ``found``. Which rows repeat or contradict each
    other nobody can see who keeps none of them.
    """
    choice = Choice(None, slice_by, None)
    for row in rows_of(source, columns, slice_by, found):
        try:
            yield proven(choice.of(outcome_of(row, found), row), unlabelled=True)
        except Fault as fault:
            found.problem(fault.reason, row.number, fault.id, fault.detail)


class _Kept:
    """The rows that are good by themselves, in their order, and which of them agree."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._rows: dict[str, tuple[int, Outcome]] = {}
        self._contradicted: set[str] = set()

    def add(self, number: int, outcome: Outcome) -> None:
        """Take a row; two that contradict each other are both out, and so is any third."""
        id = outcome.id
        first, known = self._rows.setdefault(id, (number, outcome))
        if first == number:
            return
        # Bytes are compared, for a log-probability that is NaN does not equal itself.
        if id not in self._contradicted and encode(known) == encode(outcome):
            self._found.note(TWICE, number, id, f"as row {first}")
            return
        if id not in self._contradicted:
            self._contradicted.add(id)
            self._found.problem(CONTRADICTION, first, id)
        self._found.problem(CONTRADICTION, number, id, f"not what row {first} says")

    def outcomes(self) -> list[Outcome]:
        """Every row that stands, repeats tied to the first of their question."""
        stand = [outcome for id, (_, outcome) in self._rows.items() if id not in self._contradicted]
        tied, _ = tie_repeats(stand)
        for was, row in zip(stand, tied, strict=True):
            if row is not was:
                self._found.note(REPEATED, self._rows[row.id][0], row.id, f"asks what {row.paraphrase_of} asks")
        return tied
