"""The columns of a table, named as paths of the record, and the record that a row of them makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cascade.errors import ConfigError
from cascade.intake.choice import nearest
from cascade.intake.findings import Fault, Found, Row, shown
from cascade.intake.rows import WRONG_TYPE
from cascade.types import RIGHT, Outcome

UNKNOWN = "a column that nothing reads"
NO_WORD = "a judge is named for a tier that has neither correct nor score"

_TEXTS = ("id", "slice", "split", "query", "system", "reference", "tenant", "stakes", "conversation", "paraphrase_of")
_TIER_TEXTS = ("answer", "finish_reason", "judge")
_TIER_NUMBERS = ("score", "cost", "latency_ms")
_TIER_COUNTS = ("prompt_tokens", "completion_tokens")
_TIER_FIELDS = ("correct", *_TIER_NUMBERS, *_TIER_COUNTS, *_TIER_TEXTS)
_SIGNALS, _METADATA = ".signals.", "metadata."
_WORDS = {"true": 1, "false": 0}


class Place(NamedTuple):
    """Where a column's value goes: a field of the record or of a tier; ``key`` is a signal's or metadata's name."""

    tier: str | None
    field: str
    key: str = ""


class Layout(NamedTuple):
    """The columns of a table that are read: position, name as the record has it, and place.

    ``nested`` holds positions and names of columns that are whole parts of the record as they are,
    ``slice`` the position and name of the column to slice by.
    """

    flat: list[tuple[int, str, Place]]
    nested: list[tuple[int, str]]
    slice: tuple[int, str] | None

    @property
    def positions(self) -> list[int]:
        """Positions of all columns that are read."""
        by = [self.slice[0]] if self.slice is not None else []
        return sorted({at for at, _, _ in self.flat} | {at for at, _ in self.nested} | set(by))


def place_of(path: str) -> Place | None:
    """Where the value of a flat column goes; None for a name that the record does not have.

    A tier's name may hold dots: the field is what stands at the end.
    """
    if path in _TEXTS or path == "propensity":
        return Place(None, path)
    if path.startswith(_METADATA) and path != _METADATA:
        return Place(None, "metadata", path.removeprefix(_METADATA))
    tier, found, signal = path.partition(_SIGNALS)
    if found and tier and signal:
        return Place(tier, "signals", signal)
    tier, _, field = path.rpartition(".")
    return Place(tier, field) if tier and field in _TIER_FIELDS else None


def laid_out(
    header: Sequence[str],
    columns: Mapping[str, str],
    slice_by: str | None,
    found: Found,
    *,
    name: str,
    nested: bool = False,
    named: bool = True,
) -> Layout:
    """What is read of the table ``name``; columns that nothing reads are noted.

    ``columns`` maps paths to the table's own names; ``nested`` says that its columns may hold whole
    parts of the record, ``named`` that it must have a column of ids. Raises ``ConfigError`` for a map that
    does not fit, two columns for one place, or none for the id.
    """
    paths = _renamed(header, columns, name)
    parts = set(Outcome.__struct_fields__) - {"id"} if nested else set()
    flat, whole, unread = [], [], []
    for position, path in enumerate(paths):
        if path in parts and path not in _TEXTS:
            whole.append((position, path))
        elif (place := place_of(path)) is not None:
            flat.append((position, path, place))
        elif header[position] != slice_by:
            unread.append((header[position], path))
    if named and "id" not in paths:
        raise ConfigError(f"{name}: no column is the id: call it id, or name it with id=COLUMN")
    tiers = {place.tier for _, _, place in flat if place.tier}
    for own, path in unread:
        found.note(UNKNOWN, 0, detail=own + nearest(path, known(tiers)))
    by = (list(header).index(slice_by), slice_by) if slice_by is not None and slice_by in header else None
    return Layout(flat, whole, by)


def known(tiers: set[str]) -> Iterator[str]:
    """Right names of columns, for these tiers."""
    yield from (*_TEXTS, "propensity")
    for tier in tiers:
        yield from (f"{tier}.{field}" for field in _TIER_FIELDS)


def _renamed(header: Sequence[str], columns: Mapping[str, str], name: str) -> list[str]:
    """The path of each column: as the map says, else its own name."""
    for path, own in columns.items():
        if own not in header:
            raise ConfigError(f"{name}: there is no column {own} for {path}{nearest(own, header)}")
        if place_of(path) is None:
            tiers = {tier for tier in (path.rpartition(".")[0],) if tier}
            raise ConfigError(f"{name}: a record has no {path}{nearest(path, known(tiers))}")
    renamed = {own: path for path, own in columns.items()}
    if len(renamed) < len(columns):
        raise ConfigError(f"{name}: a column is named for two fields: {', '.join(columns)}")
    # A column that is called as another is renamed to gives way to it: the person's word counts.
    paths = [renamed.get(own, "" if own in columns else own) for own in header]
    twice = sorted({path for path in paths if path and paths.count(path) > 1})
    if twice:
        raise ConfigError(f"{name}: more than one column is {', '.join(twice)}")
    return paths


def row_of(layout: Layout, cells: Sequence[Any], found: Found, number: int) -> Row:
    """The record in one row of cells, or the fault of a value that is none for its place.

    None and an empty text are missing.
    """
    beside = {} if layout.slice is None else {layout.slice[1]: cells[layout.slice[0]]}
    raw: dict[str, Any] = {name: part for at, name in layout.nested if (part := _without_nulls(cells[at])) is not None}
    judges: dict[str, str] = {}
    try:
        for position, path, place in layout.flat:
            if cells[position] is not None and cells[position] != "":
                _put(raw, judges, place, _value(path, place, cells[position]))
    except Fault as fault:
        fault.id = str(raw.get("id", ""))
        return Row(number, fault)
    for tier, judge in judges.items():
        model = raw.setdefault("models", {}).setdefault(tier, {})
        if not _judged(model, judge):
            found.note(NO_WORD, number, raw.get("id", ""), f"{tier}: {judge}")
    return Row(number, raw, beside)


def _put(raw: dict[str, Any], judges: dict[str, str], place: Place, value: Any) -> None:
    if place.tier is not None and place.field == "judge":
        judges[place.tier] = value
        return
    part = raw if place.tier is None else raw.setdefault("models", {}).setdefault(place.tier, {})
    if place.key:
        part.setdefault(place.field, {})[place.key] = value
    else:
        part[place.field] = value


def _judged(model: dict[str, Any], judge: str) -> bool:
    """Make what a tier was found to be the word of its judge; False where nothing was found.

    What is neither right nor wrong stays where it is, to be found out.
    """
    correct, score = model.get("correct"), model.get("score")
    if correct not in (None, 0, 1):
        return True
    if correct is not None:
        acceptable = bool(correct)
    elif score is not None:
        acceptable = score >= RIGHT
    else:
        return False
    model.pop("correct", None)
    model.pop("score", None)
    model["verdicts"] = [{"judge": judge, "acceptable": acceptable} | ({} if score is None else {"score": score})]
    return True


def _value(path: str, place: Place, cell: Any) -> Any:
    if place.field == "correct":
        return _correct(path, cell)
    if place.field in _TIER_COUNTS:
        return count_in(path, cell)
    if place.field in (*_TIER_NUMBERS, "signals", "propensity"):
        return number_in(path, cell)
    if place.field == "reference":
        return _without_nulls(cell)
    if isinstance(cell, bytes | list | dict):
        raise Fault(WRONG_TYPE, f"{path}: {shown(cell)} is no text")
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def number_in(path: str, cell: Any) -> float:
    """The number in a cell, which a text may hold; ``Fault`` for what is none."""
    text = cell.strip() if isinstance(cell, str) else cell
    try:
        if isinstance(text, str) and "_" in text:
            raise ValueError  # Python's own way to group digits; in a table it is a mistake
        return float(text)
    except (TypeError, ValueError, OverflowError):
        raise Fault(WRONG_TYPE, f"{path}: {shown(cell)} is no number") from None


def count_in(path: str, cell: Any) -> float:
    """The same, an integer where it is one."""
    value = number_in(path, cell)
    return int(value) if value.is_integer() else value


def _correct(path: str, cell: Any) -> float:
    word = cell.strip().lower() if isinstance(cell, str) else ""
    value = _WORDS[word] if word in _WORDS else count_in(path, cell)
    if 0 < value < 1:
        raise Fault(WRONG_TYPE, f"{path} is 0 or 1, and here {shown(cell)}: a graded quality belongs into score")
    return value


def _without_nulls(part: Any) -> Any:
    """A part of a record without the nulls that stand in a table for what a row does not have."""
    if isinstance(part, dict):
        return {name: inner for name, value in part.items() if (inner := _without_nulls(value)) is not None}
    if isinstance(part, list):
        return [_without_nulls(value) for value in part]
    return part
