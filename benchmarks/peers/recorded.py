"""What cascadeflow said of this project's own recording, kept so that nobody needs to install it to compare.

``python -m benchmarks peers --record`` makes ``recordings/peers.jsonl.gz`` again: the same file for the same version.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.cases import Case, Row
from benchmarks.peers.measured import Word
from benchmarks.record import RECORDINGS

PEERS = RECORDINGS / "peers.jsonl.gz"
GIVEN = {"logprobs": lambda row: row, "text": Row.untold}
"""What the peer is told besides question and answer, by the name in the file."""

DIGITS = 6


class Kept(msgspec.Struct, frozen=True):
    """One line: a peer's word on one tier's answer to one question.

    ``id`` and ``tier`` are those of ``demo.jsonl.gz``; ``given`` is ``text`` or ``logprobs`` (text as well).
    ``confidence`` is its estimator's; ``threshold`` its default for the question's complexity; ``asked`` whether its
    agent asked for the draft at all, ``accepted`` whether it served it.
    """

    id: str
    tier: str
    given: str
    confidence: float
    threshold: float
    asked: bool
    accepted: bool
    peer: str

    @property
    def word(self) -> Word:
        return Word(self.confidence, self.threshold, self.asked, self.accepted)


def asked(cases: Sequence[Case]) -> list[list[Row]]:
    """The rows to ask about: each case with its log-probabilities and without."""
    return [[told(row) for row in case.rows] for case in cases for told in GIVEN.values()]


def kept(cases: Sequence[Case], said: Sequence[Sequence[dict[str, Any]]], peer: str) -> list[Kept]:
    """Lines of what was said of the rows that were ``asked``."""
    places = [(case, given) for case in cases for given in GIVEN]
    return [
        Kept(row.id, case.model, given, round(word["confidence"], DIGITS), word["threshold"], word["asked"],
             word["accepted"], peer)
        for (case, given), words in zip(places, said, strict=True)
        for row, word in zip(case.rows, words, strict=True)
    ]  # fmt: skip


def keep(lines: Sequence[Kept], path: Path = PEERS) -> None:
    """Write the file anew."""
    path.write_bytes(gzip.compress(b"".join(msgspec.json.encode(line) + b"\n" for line in lines), 9, mtime=0))


def read(path: Path = PEERS) -> list[Kept]:
    """The lines of the committed file."""
    return [msgspec.json.decode(line, type=Kept) for line in gzip.decompress(path.read_bytes()).splitlines()]
