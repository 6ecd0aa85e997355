"""Recorded answers whose text is whole: question, answer, whether it was right, and the model's own signal."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from benchmarks.record import RECORDINGS
from cascade.errors import ConfigError
from cascade.types import RIGHT


class Answered(msgspec.Struct, frozen=True):
    """One model's answer as the files have it."""

    correct: float
    answer: str | None = None
    output: str | None = None
    signals: dict[str, float] = {}
    logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None
    finish_reason: str | None = None
    cost: float | None = None


class Line(msgspec.Struct, frozen=True):
    """One question as the files have it."""

    id: str
    query: str
    models: dict[str, msgspec.Raw]
    task: str = ""
    split: str = ""
    slice: str = ""
    paraphrase_of: str | None = None
    contaminated_for_arena_routers: bool = False

    def of(self, model: str) -> Answered | None:
        """This model's answer; None where there is none."""
        return msgspec.json.decode(self.models[model], type=Answered) if model in self.models else None

    def surely(self, model: str) -> Answered:
        """This model's answer with its price; ``ConfigError`` where either is missing, for nothing is guessed."""
        found = self.of(model)
        if found is None or found.cost is None:
            raise ConfigError(f"{self.id}: {model} has no answer with a cost; every question needs both models")
        return found


class Row(NamedTuple):
    """An answer. ``own`` is the model's own signal, higher for surer; ``unit`` names what rewordings share."""

    id: str
    unit: str
    split: str
    question: str
    answer: str
    right: bool
    own: float
    temperature: float | None = None
    finish_reason: str | None = None
    logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None

    def shown(self) -> dict[str, Any]:
        """What a peer gets to see."""
        hidden = {"id", "unit", "split", "right", "own"}
        return {name: value for name, value in self._asdict().items() if name not in hidden and value is not None}

    def untold(self) -> Row:
        """The same without log-probabilities."""
        return self._replace(logprobs=None, top_logprobs=None)


class Case(NamedTuple):
    """Rows of one model; ``own`` says which signal of its own stands beside the peers."""

    source: str
    model: str
    own: str
    rows: list[Row]


class Source(NamedTuple):
    """Where cases come from. ``most`` is the length at which the collector cut texts; those are left out."""

    name: str
    file: str
    models: tuple[str, ...]
    own: str
    task: str = ""
    most: int | None = None
    temperature: float | None = None


MEAN = "mean log-probability"
OWN = Source("own recording", "", ("cheap", "cheap-guided"), MEAN, temperature=0.0)
MIXTRAL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
SHARED = (
    Source("GSM8K (RouteLLM's log)", "routellm_mmlu_gsm8k/data.jsonl.gz", (MIXTRAL,), "neg_output_chars", "gsm8k"),
    Source(
        "short answers (openqa)",
        "openqa_tokenprobs/test.jsonl.gz",
        ("gemma-2b-it", "gemma-2-9b-it", "phi-3-mini-4k", "llama-3-8b-instruct"),
        "seq_prob",
    ),
    Source(
        "GSM8K, MATH, CRUX (ZeroEval)",
        "zeroeval_reasoning/data.jsonl.gz",
        ("gpt-4o-mini-2024-07-18", "gemma-2-9b-it", "claude-3-haiku-20240307"),
        "neg_output_chars",
        most=1200,
        temperature=0.0,
    ),
)


def lines_of(file: Path) -> list[Line]:
    """The lines of one file; ``ConfigError`` names the file, and the line where one does not fit."""
    if not file.is_file():
        raise ConfigError(f"recorded answers are missing: {file}; name the folder of the shared data: ... peers DIR")
    found = []
    with gzip.open(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                found.append(msgspec.json.decode(line, type=Line))
            except msgspec.DecodeError as error:
                raise ConfigError(f"{file}, line {number}: {error}") from None
    return found


def own_cases() -> list[Case]:
    """This project's own recording, all splits."""
    lines = lines_of(RECORDINGS / "demo.jsonl.gz")
    return [Case(OWN.name, model, OWN.own, _rows(OWN, model, lines)) for model in OWN.models]


def shared_cases(folder: Path, say: Callable[[str], None]) -> list[Case]:
    """The shared data's answers whose texts are whole; ``ConfigError`` where a file is missing."""
    found = []
    for source in SHARED:
        lines = lines_of(folder / source.file)
        found += [Case(source.name, model, source.own, _rows(source, model, lines)) for model in source.models]
        say(f"{source.name}: {len(lines):,} questions")
    return found


def _rows(source: Source, model: str, lines: list[Line]) -> list[Row]:
    made = []
    for line in lines:
        found = line.of(model) if not source.task or line.task == source.task else None
        text = (found.output or found.answer) if found is not None else None
        if found is None or not text or (source.most is not None and len(text) >= source.most):
            continue
        own = fmean(found.logprobs or [0.0]) if source.own == MEAN else found.signals.get(source.own)
        if own is None:
            continue
        made.append(
            Row(
                line.id, line.paraphrase_of or line.id, line.split, line.query, text, found.correct >= RIGHT, own,
                source.temperature, found.finish_reason, found.logprobs, found.top_logprobs,
            )
        )  # fmt: skip
    return made
