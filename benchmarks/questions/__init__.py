"""The project's own questions with their gold answers: hand-written slices and slices out of seeded templates.

`python -m benchmarks.questions` prints them as JSON lines. A question's id is made of its text, and its split of its
id (a paraphrase takes its original's), so adding a question moves no other one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

HERE = Path(__file__).parent
TENTHS = ("fit",) * 3 + ("certify",) * 4 + ("test",) * 3


class Asked(NamedTuple):
    """A question as an author writes it, with the other ways to ask for the same."""

    query: str
    reference: str
    match: str
    paraphrases: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question: `query` is the bare user turn, `system` says the answer's form, `match` names the judge."""

    id: str
    slice: str
    split: str
    query: str
    system: str
    reference: str
    match: str
    paraphrase_of: str | None = None


def fingerprint(text: str) -> str:
    """Eight hexadecimal digits that stand for a text."""
    return blake2b(text.encode(), digest_size=4).hexdigest()


def split_of(root: str) -> str:
    """fit 30 %, certify 40 %, test 30 %, by a hash of the id that an original and its paraphrases share."""
    return TENTHS[int(fingerprint(f"split {root}"), 16) % 10]


def spread(slice: str, system: str, asked: Asked) -> Iterator[Question]:
    """An original and its paraphrases, all in one split."""
    root = f"{slice}-{fingerprint(asked.query)}"
    for query in (asked.query, *asked.paraphrases):
        own = f"{slice}-{fingerprint(query)}"
        origin = None if own == root else root
        split = split_of(root)
        yield Question(own, slice, split, query, system, asked.reference, asked.match, origin)


@cache
def questions() -> tuple[Question, ...]:
    """Every question, slice by slice; nothing in it depends on the machine or the moment."""
    from . import handwritten, templates

    instructions: dict[str, str] = tomllib.loads((HERE / "instructions.toml").read_text())
    sources = {**handwritten.SLICES, **templates.SLICES}
    return tuple(
        question
        for slice, system in instructions.items()
        for asked in sources[slice]()
        for question in spread(slice, system.strip(), asked)
    )
