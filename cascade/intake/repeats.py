"""Rows that ask what an earlier row asks: the same question twice is not twice the evidence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from msgspec.structs import replace

from cascade.types import Outcome, Request

_MARKS = re.compile(r"""[.,;:!?…¿¡"'`\u2018-\u201f«»]+(?!\d)""")
"""Marks that divide sentences and quote; never those that calculate, or that stand in a number."""


def tie_repeats(outcomes: Iterable[Outcome]) -> tuple[list[Outcome], int]:
    """The outcomes, each that repeats an earlier question tied to it, and how many were tied.

    Questions are the same when they differ in case, blanks and punctuation alone. A repeat gets the
    first one's id as ``paraphrase_of``, or what the first one is a paraphrase of. A row that says
    whose paraphrase or which conversation's turn it is stays as it is, and of conversations the
    question of one turn says too little to be compared.
    """
    first: dict[str, Outcome] = {}
    tied: list[Outcome] = []
    count = 0
    for outcome in outcomes:
        key = "" if outcome.conversation is not None else normalised(outcome)
        head = first.setdefault(key, outcome) if key else outcome
        if head is not outcome and outcome.paraphrase_of is None:
            tied.append(replace(outcome, paraphrase_of=head.paraphrase_of or head.id))
            count += 1
        else:
            tied.append(outcome)
    return tied, count


def normalised(outcome: Outcome) -> str:
    """The question without case, needless blanks and punctuation; its hash where only that was kept."""
    text = outcome.query or Request(id="", messages=outcome.messages or []).question
    if not text:
        return outcome.query_hash or ""
    plain = unicodedata.normalize("NFC", text).casefold()
    return " ".join(_MARKS.sub(" ", plain).split())
