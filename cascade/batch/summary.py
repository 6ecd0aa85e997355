"""What a batch came to: who answered, what was escalated and why, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from cascade.batch.answers import Answered
from cascade.batch.journal import PossiblyBilled
from cascade.types import Record

ESCALATED = ("escalated", "failed over")


class Summary(Record, frozen=True, kw_only=True):
    """Everything that the output holds, from all runs together.

    ``questions`` are ``answered``, ``failed`` or ``left``. ``served`` counts answers by how they were had,
    ``served_by`` by tier (or ``cache``), ``escalated`` those of the last tier by reason, ``errors`` failures.
    ``cost`` is in dollars and holds every call, those of failed and repeated questions and of the shadow too;
    ``unknown`` is what the ``possibly_billed`` calls can have cost more. ``always_frontier`` estimates what the
    answered questions would have cost at the last tier, from the tokens that were counted; None where of
    some answer none were. ``stopped`` says why questions are left: ``budget``, ``unreachable``, or empty.
    """

    questions: int
    answered: int
    failed: int
    left: int
    served: dict[str, int]
    served_by: dict[str, int]
    escalated: dict[str, int]
    errors: dict[str, int]
    cost: float
    unknown: float
    always_frontier: float | None
    possibly_billed: list[PossiblyBilled]
    stopped: str


def summary(
    lines: Sequence[Answered],
    questions: int,
    *,
    cost: float,
    unknown: float,
    possibly_billed: list[PossiblyBilled],
    stopped: str,
) -> Summary:
    """The summary of an output of so many questions."""
    answered = [line for line in lines if line.error is None]
    elsewhere = [line.at_frontier for line in answered]
    known = [dollars for dollars in elsewhere if dollars is not None]
    return Summary(
        questions=questions,
        answered=len(answered),
        failed=len(lines) - len(answered),
        left=questions - len(lines),
        served=_counted(line.served for line in answered),
        served_by=_counted(line.served_by for line in answered),
        escalated=_counted(kind_of(line.why) for line in answered if line.served in ESCALATED),
        errors=_counted(kind_of(line.error) for line in lines if line.error is not None),
        cost=cost,
        unknown=unknown,
        always_frontier=sum(known) if len(known) == len(answered) else None,
        possibly_billed=possibly_billed,
        stopped=stopped,
    )


def kind_of(why: str) -> str:
    """A reason without what is of one request alone, so that it can be counted."""
    return ": ".join(why.partition("; ")[0].split(": ")[:2])


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())
