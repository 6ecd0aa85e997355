"""The published figures, as records."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from cascade.labels import label_of
from cascade.tables import Label
from cascade.types import RIGHT, Miss, ModelOutcome, Record, Verdict

NOTES = Path(__file__).parent / "notes.toml"
TEN = 10
"""Scores were given out of ten."""


class Candidate(Record, frozen=True, kw_only=True):
    """One model in one study; ``scores`` by judge, one a scenario. ``times`` is the published price ratio."""

    model: str
    scores: dict[str, list[int]]
    dollars: float
    labels: list[str]
    seconds: tuple[int, int] | None = None
    times: float | None = None


class Told(Record, frozen=True, kw_only=True):
    """The text of one answer."""

    model: str
    scenario: str
    text: str


class Critical(Miss, frozen=True, kw_only=True):
    """What one answer missed."""

    model: str
    scenario: str


class Study(Record, frozen=True, kw_only=True):
    """Candidates on the same scenarios, cheapest first; ``label`` is what a reader would act on.

    ``context`` is what was published of the information that the models had.
    """

    name: str
    scenarios: list[str]
    label: str
    dollars_of: str
    dollars_rounded_to: float
    candidates: list[Candidate]
    context: str = ""
    misses: list[Critical] = []
    answers: list[Told] = []

    @property
    def dearest(self) -> Candidate:
        """The frontier of the study."""
        return self.candidates[-1]


class Routing(Record, frozen=True, kw_only=True):
    """The published example of routing: dollars of the same traffic, routed and all at the frontier."""

    cheap_dollars: float
    escalated_dollars: float
    frontier_dollars: float
    cheap_share: float
    price_ratio: tuple[float, float]
    escalated_times: float


class Notes(Record, frozen=True, kw_only=True):
    """All of it. ``judges`` and ``models`` are names with the model behind each."""

    temperature: float
    draws: int
    judges: dict[str, str]
    models: dict[str, str]
    labels: dict[str, Any]
    studies: list[Study]
    routing: Routing


def load(file: Path = NOTES) -> Notes:
    """The notes."""
    return msgspec.convert(tomllib.loads(file.read_text("utf-8")), Notes)


def labels_read(notes: Notes, study: Study, candidate: Candidate) -> list[str]:
    """The labels of a model's answers: of the text where there is one, else as published."""
    label = Label.model_validate(notes.labels[study.label])
    texts = {told.scenario: told.text for told in study.answers if told.model == candidate.model}
    published = zip(study.scenarios, candidate.labels, strict=True)
    return [label_of(texts[scenario], label) if scenario in texts else said for scenario, said in published]


def outcomes(notes: Notes, study: Study, candidate: Candidate) -> list[ModelOutcome]:
    """The model's answers as judged, one a scenario; a miss is a fact of the answer, so every verdict on it has it."""
    return [_outcome(notes, study, candidate, place) for place in range(len(study.scenarios))]


def _outcome(notes: Notes, study: Study, candidate: Candidate, place: int) -> ModelOutcome:
    of_this = (candidate.model, study.scenarios[place])
    missed = [Miss(what=m.what, critical=m.critical) for m in study.misses if (m.model, m.scenario) == of_this]
    verdicts = []
    for judge, scores in candidate.scores.items():
        score = scores[place] / TEN
        fine = score >= RIGHT and not any(miss.critical for miss in missed)
        verdicts.append(Verdict(judge=f"llm:{notes.judges[judge]}", acceptable=fine, score=score, misses=[*missed]))
    return ModelOutcome(model=notes.models[candidate.model], verdicts=verdicts)
