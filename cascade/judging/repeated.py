"""A judge that remembers: the same stored answer to the same question is judged once.

Requests are drawn for an audit, and popular questions meet the same entry again and again. Asking
anew would buy the same word twice, and a judge that wavers would give one pair two labels.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from cascade.judging.case import Case, Judge
from cascade.judging.through import Through
from cascade.types import CACHE, Outcome, Verdict

Pair = tuple[str, str, str]


class Remembering(Through):
    """The ``judge``, and for stored answers what it said before, in ``rows`` or since; that costs nothing."""

    def __init__(self, judge: Judge, rows: Iterable[Outcome]) -> None:
        super().__init__(judge)
        self._said: dict[Pair, Verdict] = {}
        for row in rows:
            if CACHE in row.models:
                case = Case(outcome=row, tier=CACHE)
                for verdict in case.model.verdicts:
                    if verdict.judge == judge.name:
                        self._note(case, verdict)

    def estimate(self, case: Case) -> float:
        """Nothing for what was said before."""
        return 0.0 if _pair(case) in self._said else super().estimate(case)

    async def judge(self, case: Case) -> Verdict | None:
        """What was said of the pair, else what the judge says now."""
        pair = _pair(case)
        if pair is not None and pair in self._said:
            return self._said[pair]
        verdict = await self._judge.judge(case)
        if verdict is not None:
            self._note(case, verdict)
        return verdict

    def _note(self, case: Case, verdict: Verdict) -> None:
        pair = _pair(case)
        if pair is not None:
            self._said[pair] = replace(verdict, cost=0.0, propensity=None)


def _pair(case: Case) -> Pair | None:
    """Question, entry and answer; None for a tier's answer, and where the entry or the question is not known."""
    question, entry = case.request.question, case.model.entry
    if case.tier != CACHE or not entry or not question:
        return None
    return question, entry, case.answer
