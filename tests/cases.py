"""Answers to be judged, each with as little in it as can be."""

from __future__ import annotations

from typing import Any

from cascade.asks import Endpoint
from cascade.judging.case import Case
from cascade.judging.llm import ModelJudge
from cascade.judging.rubrics import Rubric
from cascade.testing import Answerer, FakeModels
from cascade.types import ModelOutcome, Outcome

RUBRIC = Rubric(name="short", text="Acceptable is what is right.")
YES = 'It is right.\n{"acceptable": true, "score": 0.9, "misses": []}'
NO = 'It is not.\n{"acceptable": false, "score": 0.1, "misses": ["the number"]}'


def row_of(id: str = "r1", cheap: str | None = "4", last: str | None = "four", **fields: Any) -> Outcome:
    """A row with an answer of each of two tiers."""
    models = {"cheap": ModelOutcome(answer=cheap), "last": ModelOutcome(answer=last)}
    return Outcome(**{"id": id, "query": "what is two and two?", "models": models, **fields})


def case_of(answer: str = "4", reference: Any = None, **fields: Any) -> Case:
    """The cheap tier's answer to such a row."""
    return Case(outcome=row_of(cheap=answer, reference=reference, **fields), tier="cheap")


def judge_of(
    answer: Answerer, price: tuple[float, float, float] | None = (1.0, 4.0, 1.0), *, paired: bool = False
) -> tuple[ModelJudge, FakeModels, list[float]]:
    """A judge whose model is a function; the calls that it gets, and the pauses that it makes."""
    models, pauses = FakeModels(answer), []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    endpoint = Endpoint(model="openai/gpt-judge", price=price)
    return ModelJudge(endpoint, RUBRIC, models, paired=paired, sleep=sleep), models, pauses
