"""Rows of Parquet files, flat or with ``models`` as a struct, read with pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cascade.errors import ConfigError
from cascade.intake.findings import Fault, Row
from cascade.intake.layouts import Layouts
from cascade.intake.streams import DAMAGED

BATCH = 4096


def opened(path: Path) -> Any:
    """A ``pyarrow.parquet.ParquetFile``; ``ConfigError`` where pyarrow is missing or the file is none."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ConfigError(f"{path}: Parquet needs pyarrow: pip install 'cascade-gate[parquet]'") from None
    try:
        return ParquetFile(path)
    except ArrowException as error:
        raise ConfigError(f"{path}: cut short, or no Parquet file: {error}") from error


def parquet_rows(path: Path, layouts: Layouts) -> Iterator[Row]:
    """Rows from 1; a null is a value that the row does not have."""
    with opened(path) as file:
        from pyarrow import ArrowException

        header = list(file.schema_arrow.names)
        table = layouts.table(header, nested=True)
        read = [header[at] for at in table.positions]
        number = 0
        try:
            for batch in file.iter_batches(batch_size=BATCH, columns=read):
                for cells in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    if (row := table.row(number, [cells.get(own) for own in header])) is not None:
                        yield row
        except (ArrowException, OSError) as error:
            yield Row(number + 1, Fault(DAMAGED, f"{error}; nothing after it is read"))
