"""The wide tables of RouterBench: one column a model with its scores, and beside it answers and costs."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Sequence
from typing import Any

from cascade.errors import ConfigError
from cascade.intake.columns import UNKNOWN, Layout, Place
from cascade.intake.findings import Found
from cascade.intake.tiers import fits

ORACLE = "a column that says which model should have answered is not read"

_ROW = {"sample_id": "id", "prompt": "query", "eval_name": "slice"}
_ORACLE = "oracle_model_to_route_to"
_ANSWER, _COST = "|model_response", "|total_cost"

_STRING = r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*\""""
_LIST = re.compile(rf"\[\s*(?:{_STRING})(?:\s*,\s*(?:{_STRING}))*\s*\]", re.DOTALL)
_EACH = re.compile(_STRING, re.DOTALL)


def is_wide(header: Sequence[str]) -> bool:
    """Whether a column stands beside one that has its costs."""
    return any(own.endswith(_COST) and own.removesuffix(_COST) in header for own in header)


def wide(header: Sequence[str], slice_by: str | None, found: Found, *, name: str) -> Layout:
    """What is read of the table ``name``; columns that nothing reads are noted.

    A model is what has a column of costs or of answers. Raises ``ConfigError`` for a table of another
    kind, a column that stands twice, and a model whose name no tier can have.
    """
    if not is_wide(header):
        raise ConfigError(f"{name}: is no table of RouterBench: there is no column MODEL beside one MODEL{_COST}")
    twice = sorted({own for own in header if header.count(own) > 1})
    if twice:
        raise ConfigError(f"{name}: more than one column is {', '.join(twice)}")
    if "sample_id" not in header:
        raise ConfigError(f"{name}: there is no column sample_id, which is the id")
    models = dict.fromkeys(own.rpartition("|")[0] for own in header if own.endswith((_ANSWER, _COST)))
    for model in models:
        if not fits(model):
            raise ConfigError(f"{name}: no tier can be called {model!r}: rename the columns of this model")
    flat = []
    for position, own in enumerate(header):
        if (place := _place(own, models)) is not None:
            flat.append((position, own, place))
        elif own != slice_by:
            found.note(ORACLE if own == _ORACLE else UNKNOWN, 0, detail=own)
    by = (header.index(slice_by), slice_by) if slice_by is not None and slice_by in header else None
    return Layout(flat, [], by)


def worded(layout: Layout, cells: Sequence[Any]) -> list[Any]:
    """The cells of a row, prompts and answers that are lists of texts joined by newlines."""
    plain = list(cells)
    for position, _, place in layout.flat:
        if place.field in ("query", "answer"):
            plain[position] = _text(plain[position])
    return plain


def _place(own: str, models: dict[str, None]) -> Place | None:
    if own in _ROW:
        return Place(None, _ROW[own])
    if own in models:
        return Place(own, "score")
    model, _, field = own.rpartition("|")
    fields = {_ANSWER: "answer", _COST: "cost"}
    return Place(model, fields[f"|{field}"]) if f"|{field}" in fields else None


def _text(cell: Any) -> Any:
    """A list of texts as one text, be it a list or written out as JSON or as Python writes it; all else as it is.

    Only string literals are ever read, and only of what is a flat list of them: what nests deeper could
    exhaust a parser, and would be no prompt.
    """
    if isinstance(cell, str) and _LIST.fullmatch(cell):
        cell = _literals(cell)
    if isinstance(cell, list) and cell and all(isinstance(part, str) for part in cell):
        return "\n".join(cell)
    return cell


def _literals(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        pass
    try:
        with warnings.catch_warnings(action="ignore"):  # of "\d", which an answer may hold that is no literal
            return [ast.literal_eval(part) for part in _EACH.findall(cell)]
    except (ValueError, SyntaxError):
        return cell
