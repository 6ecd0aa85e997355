"""The same stored answer to the same question is judged once; everything else anew."""

from __future__ import annotations

import asyncio

from cascade.judging.case import Case
from cascade.judging.repeated import Remembering
from cascade.types import CACHE, ModelOutcome, Outcome, Verdict


class Counting:
    """A judge who changes his mind each time."""

    name, family, spent = "wavering", None, 0.0

    def __init__(self) -> None:
        self.asked = 0

    def estimate(self, case: Case) -> float:
        return 0.5

    async def judge(self, case: Case) -> Verdict | None:
        self.asked += 1
        return Verdict(judge=self.name, acceptable=self.asked % 2 == 1, cost=0.5)


def case_of(
    query: str = "where?", entry: str | None = "e", answer: str = "here", tier: str = CACHE, id: str = "r"
) -> Case:
    model = ModelOutcome(answer=answer, entry=entry, question="whereabouts?")
    return Case(outcome=Outcome(id=id, query=query, models={tier: model}), tier=tier)


def said(judge: Remembering, case: Case) -> Verdict:
    verdict = asyncio.run(judge.judge(case))
    assert verdict is not None
    return verdict


def test_a_repeated_pair_reuses_its_verdict_at_no_cost() -> None:
    asked = Counting()
    judge = Remembering(asked, [])
    first, again = said(judge, case_of()), said(judge, case_of(id="another"))
    assert (first.acceptable, again.acceptable, again.cost) == (True, True, 0.0)
    assert asked.asked == 1
    assert judge.estimate(case_of()) == 0.0


def test_another_question_entry_answer_or_tier_is_judged_anew() -> None:
    asked = Counting()
    judge = Remembering(asked, [])
    others = [case_of("why?"), case_of(entry="f"), case_of(answer="there"), case_of(tier="cheap"), case_of(entry=None)]
    for case in [case_of(), *others, case_of(tier="cheap"), case_of(entry=None)]:
        said(judge, case)
    assert asked.asked == 8


def test_what_this_judge_said_in_earlier_rows_is_remembered_and_nobody_elses_word() -> None:
    mine, theirs = (Verdict(judge=name, acceptable=False) for name in ("wavering", "somebody"))
    for verdict, times in ((mine, 0), (theirs, 1)):
        model = ModelOutcome(answer="here", entry="e", question="whereabouts?", verdicts=[verdict])
        asked = Counting()
        judge = Remembering(asked, [Outcome(id="old", query="where?", models={CACHE: model})])
        assert said(judge, case_of()).acceptable == bool(times)
        assert asked.asked == times
