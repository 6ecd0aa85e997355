"""The bytes of a source: unpacked where they are gzip, and as far as they go."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

from cascade.errors import ConfigError
from cascade.intake.findings import Fault, Found, Row
from cascade.ledger.records import STDIO

CUT_FILE = "the file ends early"
DAMAGED = "the file is damaged"
BOM = "a byte order mark is passed over"

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(source: Path | str) -> Iterator[io.BufferedReader]:
    """The bytes of a file or of stdin; those of a file unpacked where they are gzip, whatever its name."""
    if str(source) == STDIO:
        yield cast(io.BufferedReader, sys.stdin.buffer)
        return
    with ExitStack() as stack:
        stream = stack.enter_context(Path(source).open("rb"))
        if stream.peek(2)[:2] == _GZIP:
            import gzip

            stream = stack.enter_context(cast(io.BufferedReader, gzip.GzipFile(fileobj=stream)))
        yield stream


def start_of(stream: io.BufferedReader, name: str, found: Found) -> None:
    """Pass over a byte order mark; ``ConfigError`` for a file in UTF-16."""
    start = stream.peek(len(_BOM))[: len(_BOM)]
    stream.read(len(start) - len(unmarked(start, name, found)))


def unmarked(start: bytes, name: str, found: Found) -> bytes:
    """The first line without its byte order mark; ``ConfigError`` for UTF-16."""
    if start.startswith(_UTF16):
        raise ConfigError(f"{name}: is in UTF-16: save it as UTF-8")
    if start.startswith(_BOM):
        found.note(BOM, 0)
    return start.removeprefix(_BOM)


def whole(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; in place of what a damaged gzip file does not hold any more stands one ``Fault``."""
    import gzip

    number = 0
    try:
        for row in rows:
            number = row.number
            yield row
    except EOFError:
        yield Row(number + 1, Fault(CUT_FILE, "gzip: everything before this row is read, nothing after it"))
    except (zlib.error, gzip.BadGzipFile) as error:
        yield Row(number + 1, Fault(DAMAGED, f"gzip: {error}; everything before this row is read, nothing after it"))
