"""Verdicts that others have given, by decision id, out of a CSV file or JSON lines.

Columns: ``id`` and ``acceptable`` (true, false, yes, no, 1, 0), and as far as known ``tier``, ``score``,
``judge``, ``propensity`` and ``note``. An empty cell is one that is not there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cascade.errors import ConfigError
from cascade.judging.drawing import judged_by
from cascade.policy import nearest
from cascade.types import RIGHT, Outcome, Record, Verdict

COLUMNS = ["id", "tier", "acceptable", "score", "judge", "propensity", "note"]
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class BadRow(Record, frozen=True, kw_only=True):
    """A row that cannot be taken; ``row`` counts as a spreadsheet or an editor does, from 1, header included."""

    row: int
    reason: str


class Imported(Record, frozen=True, kw_only=True):
    """What a file holds: verdicts by row of the source and tier, rows judged already, and bad rows."""

    verdicts: list[tuple[Outcome, str, Verdict]]
    skipped: int
    bad: list[BadRow]


def read_verdicts(path: Path, rows: Mapping[str, Outcome], *, tier: str | None = None, judge: str = "") -> Imported:
    """Read and match a file of verdicts against the source's rows (by id).

    ``tier`` and ``judge`` stand in where a row names none. Raises ``ConfigError`` where the file as a
    whole cannot be read or its header is not right; a row that is wrong is in ``bad``.
    """
    taken: list[tuple[Outcome, str, Verdict]] = []
    bad: list[BadRow] = []
    seen: dict[tuple[str, str, str], int] = {}
    skipped = 0
    for number, cells in _rows(path):
        try:
            row, name, verdict = _verdict(cells, rows, tier, judge)
            key = (row.id, name, verdict.judge)
            if key in seen:
                raise ValueError(f"row {seen[key]} is the same judge's verdict on the same answer")
        except ValueError as error:
            bad.append(BadRow(row=number, reason=str(error)))
            continue
        seen[key] = number
        if judged_by(row, name, verdict.judge):
            skipped += 1
        else:
            taken.append((row, name, verdict))
    return Imported(verdicts=taken, skipped=skipped, bad=bad)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row's number and its cells; the first character tells JSON lines from CSV."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    yield from _json_lines(text) if text.lstrip().startswith("{") else _csv(path, text)


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line)
            except (msgspec.DecodeError, RecursionError):
                yield number, None


def _csv(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _held_right(path, header)
        for number, cells in enumerate(reader, 2):
            if any(cells):
                yield number, dict(zip(header, cells, strict=True)) if len(cells) == len(header) else len(cells)
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: not CSV: {error}") from None


def _held_right(path: Path, header: list[str]) -> None:
    for name in header:
        if name not in COLUMNS or header.count(name) > 1:
            what = "stands twice" if name in COLUMNS else f"is no column of verdicts{nearest(name, COLUMNS)}"
            raise ConfigError(f"{path}, row 1: {name!r} {what}")
    missing = [name for name in ("id", "acceptable") if name not in header]
    if missing:
        raise ConfigError(f"{path}, row 1: no column {missing[0]!r}; the columns are {', '.join(COLUMNS)}")


def _verdict(cells: Any, rows: Mapping[str, Outcome], tier: str | None, judge: str) -> tuple[Outcome, str, Verdict]:
    """One row as a verdict. ``ValueError`` says what is wrong with it."""
    if isinstance(cells, int):
        raise ValueError(f"{cells} cells, which is not as many as the header names")
    if not isinstance(cells, dict):
        raise ValueError("not a JSON object")
    for name in cells:
        if name not in COLUMNS:
            raise ValueError(f"{name!r} is no column of verdicts{nearest(str(name), COLUMNS)}")
    said = {name: _text(value) for name, value in cells.items()}
    row = rows.get(said.get("id", ""))
    if row is None:
        raise ValueError(f"there is no row with id {said.get('id', '')!r}")
    name = said.get("tier") or tier
    if name is None:
        raise ValueError("names no tier: add the column, or --tier, or --policy for its first")
    if name not in row.models:
        raise ValueError(f"{row.id} has no answer of tier {name!r}{nearest(name, list(row.models))}")
    by = said.get("judge") or judge
    if not by:
        raise ValueError("names no judge: add the column, or --judge-name")
    return row, name, _valued(said, by)


def _valued(said: dict[str, str], judge: str) -> Verdict:
    word = said.get("acceptable", "")
    if word.lower() not in WORDS:
        raise ValueError(f"acceptable is {word!r}: write true or false, yes or no, 1 or 0")
    acceptable, score, propensity = WORDS[word.lower()], _share(said, "score"), _share(said, "propensity")
    if score is not None and (score >= RIGHT) != acceptable:
        raise ValueError(f"score {score:g} contradicts acceptable {word}: acceptable begins at {RIGHT:g}")
    if propensity == 0:
        raise ValueError("propensity is 0: a row that is never drawn has no verdict")
    note = said.get("note", "")
    labels = {"note": note} if note else {}
    return Verdict(judge=judge, acceptable=acceptable, score=score, propensity=propensity, labels=labels)


def _share(said: dict[str, str], name: str) -> float | None:
    text = said.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {text!r}: write a number from 0 to 1")
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value).strip()
