"""What one row of the cache holds, and its bytes.

msgpack rather than JSON: NaN log-probabilities survive it, and it decodes in half the time. The
decoder is typed, so bytes that are not a row are an error and never an object of another kind.
"""

from __future__ import annotations

import msgspec

from cascade.types import Entry, Record


class Near(Record, frozen=True):
    """Where a semantic look-up searches: one embedder's vector, within one context.

    ``vector`` is float32 in the machine's byte order, unit length; ``context`` is a digest of
    everything that must be identical, the embedder's name included.
    """

    embedder: str
    context: str
    vector: bytes


class Stored(Record, frozen=True):
    """One row: the answer, when it was stored (seconds of the cache's clock), where it is near."""

    at: float
    entry: Entry
    near: Near | None = None


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Stored).decode


def decodes(row: bytes) -> bool:
    """Whether the bytes are a row."""
    try:
        unpack(row)
    except Exception:
        return False
    return True
