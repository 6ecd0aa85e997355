"""Two columns of a large file as arrays, and nothing else decoded."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cascade.errors import ConfigError
from cascade.intake.parquet import opened as opened_parquet
from cascade.intake.streams import opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 1 << 24
"""Bytes of JSON lines that are decoded at once: many rows, and little memory beside the arrays."""

_BOM = b"\xef\xbb\xbf"


def columns_of(path: Path | str, *, score: str, label: str, tier: str | None = None) -> dict[str, NDArray[np.float64]]:
    """Arrays ``score`` and ``label``, one value a row in the order of the file, NaN where a row has none.

    ``score`` and ``label`` name fields of ``tier``'s part of the record (``correct``, ``cost``,
    ``signals.logprobs.mean``), or of the row itself where ``tier`` is None. JSON lines, which may be
    gzip, and Parquet, flat or nested. Rows are not proven: that is what ``read`` does. Raises
    ``ConfigError`` for a file that holds anything but numbers, booleans and nulls in these places.
    """
    wanted = {"score": score, "label": label}
    try:
        if Path(path).suffix.lower() == ".parquet":
            return _of_parquet(Path(path), wanted, tier)
        return _of_lines(path, {name: _keys(field, tier) for name, field in wanted.items()})
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error


def _keys(field: str, tier: str | None) -> tuple[str, ...]:
    """Keys from the record down to a value; a signal's name may hold dots."""
    head, dot, name = field.partition(".")
    keys = (head, name) if dot and head == "signals" else (field,)
    return keys if tier is None else ("models", tier, *keys)


def _of_lines(path: Path | str, keys: dict[str, tuple[str, ...]]) -> dict[str, NDArray[np.float64]]:
    import numpy as np

    shape, getters = _shape(keys)
    decoder = msgspec.json.Decoder(shape)
    parts: dict[str, list[NDArray[np.float64]]] = {name: [np.empty(0)] for name in keys}
    done = 0
    try:
        for block in _blocks(path):
            rows = decoder.decode_lines(block)
            for name, get in getters.items():
                parts[name].append(np.array(list(map(get, rows)), dtype=np.float64))
            done += len(rows)
    except (msgspec.DecodeError, UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}, after row {done}: {error}; to have each bad row named, use read") from error
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _blocks(path: Path | str) -> Iterator[bytes]:
    """Whole lines, a block of them at a time."""
    with opened(path) as stream:
        rest = stream.read(len(_BOM)).removeprefix(_BOM)
        while data := stream.read(BLOCK):
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end]
            rest = data[end:] if end else rest + data
        if rest:
            yield rest


def _shape(keys: dict[str, tuple[str, ...]]) -> tuple[type[Any], dict[str, attrgetter[Any]]]:
    """A struct that holds these values and skips all else, and how to get each of them out of it.

    Numbered fields stand for the keys, since a tier's name need not be a name in Python.
    """
    tree: dict[str, Any] = {}
    paths: dict[str, list[str]] = {}
    for name, steps in keys.items():
        node, paths[name] = tree, []
        for step in steps:
            paths[name].append(f"f{list(node).index(step) if step in node else len(node)}")
            node = node.setdefault(step, {})
    return _struct(tree), {name: attrgetter(".".join(path)) for name, path in paths.items()}


def _struct(tree: dict[str, Any]) -> type[Any]:
    fields: list[tuple[str, Any, Any]] = []
    for at, below in enumerate(tree.values()):
        inner = _struct(below) if below else None
        # A part that is not there is an empty one, so that every value can be reached.
        fields.append((f"f{at}", float | bool | None, None) if inner is None else (f"f{at}", inner, inner()))
    names = {f"f{at}": key for at, key in enumerate(tree)}
    return msgspec.defstruct("Shape", fields, frozen=True, gc=False, rename=names)


def _of_parquet(path: Path, wanted: dict[str, str], tier: str | None) -> dict[str, NDArray[np.float64]]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    with opened_parquet(path) as file:
        found = {}
        for name, field in wanted.items():
            flat = field if tier is None else f"{tier}.{field}"
            keys = (flat,) if flat in file.schema_arrow.names else _keys(field, tier)
            if keys[0] not in file.schema_arrow.names:
                raise ConfigError(f"{path}: there is no column {flat}, and no {'.'.join(keys)}")
            try:
                column = file.read(columns=[".".join(keys)]).column(keys[0])
                column = pc.struct_field(column, list(keys[1:])) if keys[1:] else column
                values = pc.cast(column, pa.float64()).to_numpy()
            except (pa.ArrowException, KeyError) as error:
                raise ConfigError(f"{path}: {flat} cannot be read as numbers: {error}") from error
            found[name] = np.asarray(values, dtype=np.float64)
    return found
