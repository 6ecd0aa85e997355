"""Labelled outcomes: as Hypothesis draws them, and as the flat rows of a table."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cascade.types import ModelOutcome, Outcome, Verdict

NAMES = st.sampled_from(["cheap", "gpt-4.1", "gpt-4.1-mini", "a/b.c"])
UNIT = st.floats(0, 1)
AMOUNTS = st.floats(0, 1e6)
COUNTS = st.integers(0, 10**6)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
SIGNALS = st.dictionaries(st.sampled_from(["verbal", "logprobs.mean", "text.score"]), st.floats(-9, 9), max_size=3)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    return Verdict(judge=draw(TEXT), acceptable=draw(st.booleans()), score=draw(maybe(UNIT)))


@st.composite
def answers(draw: st.DrawFn) -> ModelOutcome:
    """An answer with a label: a table's own, or the word of one judge."""
    judged = draw(st.booleans())
    return ModelOutcome(
        answer=draw(maybe(TEXT)),
        correct=None if judged else draw(st.integers(0, 1)),
        score=None if judged else draw(maybe(UNIT)),
        verdicts=[draw(verdicts())] if judged else [],
        signals=draw(SIGNALS),
        finish_reason=draw(maybe(st.sampled_from(["stop", "length"]))),
        prompt_tokens=draw(maybe(COUNTS)),
        completion_tokens=draw(maybe(COUNTS)),
        cost=draw(maybe(AMOUNTS)),
        latency_ms=draw(maybe(AMOUNTS)),
    )


@st.composite
def rows(draw: st.DrawFn, id: str) -> Outcome:
    """A row whose question nobody else asks."""
    return Outcome(
        id=id,
        slice=draw(st.sampled_from(["", "billing", "a.b"])),
        split=draw(maybe(st.sampled_from(["fit", "certify"]))),
        query=draw(maybe(st.just(f"what is {id}"))),
        system=draw(maybe(TEXT)),
        reference=draw(maybe(TEXT)),
        tenant=draw(st.sampled_from(["", "t1"])),
        metadata=draw(st.dictionaries(st.sampled_from(["team", "a.b"]), TEXT, max_size=2)),
        stakes=draw(maybe(TEXT)),
        conversation=draw(maybe(TEXT)),
        propensity=draw(maybe(UNIT)),
        models=draw(st.dictionaries(NAMES, answers(), min_size=1, max_size=3)),
    )


@st.composite
def outcomes(draw: st.DrawFn) -> list[Outcome]:
    return [draw(rows(f"q{at}")) for at in range(draw(st.integers(1, 5)))]


def flat(outcome: Outcome) -> dict[str, Any]:
    """The columns of one row: every field that has a flat name, and is there."""
    names = ("id", "slice", "split", "query", "system", "reference", "tenant", "stakes", "conversation", "propensity")
    cells = {name: getattr(outcome, name) for name in names}
    cells |= {f"metadata.{key}": value for key, value in outcome.metadata.items()}
    for tier, model in outcome.models.items():
        fields = ("answer", "correct", "score", "finish_reason", "prompt_tokens", "completion_tokens", "cost")
        cells |= {f"{tier}.{name}": getattr(model, name) for name in (*fields, "latency_ms")}
        cells |= {f"{tier}.signals.{name}": value for name, value in model.signals.items()}
        for verdict in model.verdicts:
            cells |= {f"{tier}.judge": verdict.judge, f"{tier}.correct": int(verdict.acceptable)}
            cells |= {f"{tier}.score": verdict.score}
    return {name: value for name, value in cells.items() if value not in (None, "")}


def table(found: list[Outcome]) -> tuple[list[str], list[dict[str, Any]]]:
    """Header and rows."""
    cells = [flat(outcome) for outcome in found]
    return list(dict.fromkeys(name for row in cells for name in row)), cells
