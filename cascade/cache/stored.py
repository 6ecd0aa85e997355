"""What one row of the cache holds, and its bytes.

msgpack rather than JSON: NaN log-probabilities survive it, and it decodes in half the time. The
decoder is typed, so bytes that are not a row are an error and never an object of another kind.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from cascade.types import Entry, Record


class Stored(Record, frozen=True):
    """The bytes of a row: the answer, when it was stored (seconds of the cache's clock), to what question."""

    at: float
    entry: Entry
    question: str = ""


class Place(Record, frozen=True):
    """Where a semantic look-up finds an entry: one embedder's vector, within one context.

    ``vector`` is float32 in the machine's byte order, unit length; ``context`` is a digest of
    everything that must be identical, the embedder's name included; ``echo`` a digest of context and
    answer, equal for entries that give the same answer there.
    """

    embedder: str
    context: bytes
    echo: int
    vector: bytes


class Row(Record, frozen=True):
    """An entry on its way into the store.

    ``worth`` is what one hit saves, in dollars. One that is not ``proven`` is found by its key alone.
    """

    key: str
    bytes: bytes
    at: float
    worth: float = 0.0
    tags: tuple[str, ...] = ()
    place: Place | None = None
    proven: bool = True

    @property
    def size(self) -> int:
        """Bytes of the answer and its vector."""
        return len(self.bytes) + (len(self.place.vector) if self.place is not None else 0)


class Change(Record, frozen=True, array_like=True):
    """One line of the store's log: an entry was inserted or proven (``live``), or is gone."""

    seq: int
    id: int
    key: str
    live: int


class Found(Record, frozen=True):
    """A row as the store has it, and how many audits it has stood."""

    key: str
    row: bytes
    passed: int


class CacheStats(Record, frozen=True):
    """What a cache holds and has done.

    ``bytes`` are those of the database; ``hits`` those that the entries still there have served, up to
    a second ago; ``oldest`` is in seconds, 0 where there are no entries; ``faults`` are counted by
    kind since this cache was opened.
    """

    entries: int
    semantic: int
    bytes: int
    hits: int
    oldest: float
    faults: dict[str, int] = {}


def small_digest(*parts: bytes) -> int:
    """A signed integer of 64 bits, as SQLite keeps it in an index; lengths are part of it."""
    whole = blake2b(digest_size=8)
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return int.from_bytes(whole.digest(), "big", signed=True)


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Stored).decode


def decodes(row: bytes) -> bool:
    """Whether the bytes are a row."""
    try:
        unpack(row)
    except Exception:
        return False
    return True
