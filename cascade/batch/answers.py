"""The answers of a batch: a line each, appended the moment it is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from cascade.errors import ConfigError
from cascade.run import Run
from cascade.types import Answer, Draft, Record


class Answered(Record, frozen=True, kw_only=True):
    """One line: what became of the question ``id``, which stands in ``row`` of its source.

    ``answer`` is the text served, empty where there is none: a refusal, tool calls, or ``error``, which says
    why nobody answered (``served`` is then ``failed``). ``served``, ``served_by``, ``why`` and ``flags`` are
    those of the decision, which the ledger has under the id ``decision``; ``confidence`` is its probability,
    None where no draft was scored. ``cost`` is in dollars, ``latency`` in seconds. ``at_frontier`` is what as
    many tokens cost at the last tier, None where nobody counted them.
    """

    id: str
    row: int
    answer: str
    served: str
    served_by: str
    why: str
    confidence: float | None
    cost: float
    latency: float
    flags: list[str]
    decision: str
    cost_known: bool = True
    tool_calls: list[dict[str, Any]] = []
    refusal: str | None = None
    at_frontier: float | None = None
    error: str | None = None


class AnswersFile:
    """The lines of a batch; ``lines`` holds them by the question's id, those of earlier runs included.

    Each is one write, so that an answer is either there as a whole or counts as never given. ``ConfigError``
    where the file cannot be read or written, or holds something else.
    """

    def __init__(self, file: Path) -> None:
        self.lines: dict[str, Answered] = {}
        self._file = file
        self._fd = self._opened()
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def keep(self, line: Answered) -> None:
        """Write down what became of a question; on return it survives the end of the process."""
        body = msgspec.json.encode(line) + b"\n"
        try:
            if os.write(self._fd, body) < len(body):
                raise OSError(28, "no space is left")
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be written: {error.strerror}; run it again to go on") from error
        self.lines[line.id] = line

    def forget_failed(self) -> None:
        """Take out the lines that say why nobody answered, so that those questions are asked again."""
        kept = {id: line for id, line in self.lines.items() if line.error is None}
        if len(kept) == len(self.lines):
            return
        part = self._file.with_name(f"{self._file.name}.part")
        try:
            part.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in kept.values()))
            part.replace(self._file)
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        self.close()
        self._fd = self._opened()
        self.lines = kept

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _opened(self) -> int:
        try:
            return os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be written: {error.strerror}") from error

    def _read(self) -> None:
        """The lines there are; one that a killed process could not finish is taken away."""
        body = self._file.read_bytes()
        whole = body[: body.rfind(b"\n") + 1]
        if whole != body:
            os.ftruncate(self._fd, len(whole))
        for number, text in enumerate(whole.splitlines(), 1):
            try:
                line = msgspec.json.decode(text, type=Answered)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{self._file}, line {number}: no answer of a batch: {error}") from None
            if line.id in self.lines:
                raise ConfigError(f"{self._file}, line {number}: the id {line.id!r} stands twice")
            self.lines[line.id] = line


def answered(id: str, row: int, found: Answer, seconds: float, at_frontier: float | None) -> Answered:
    """The line of a question that was answered."""
    decision, draft = found.decision, found.draft
    return Answered(
        id=id,
        row=row,
        answer=draft.text,
        served=decision.served,
        served_by=decision.served_by,
        why=decision.why,
        confidence=decision.confidence.probability if decision.confidence is not None else None,
        cost=decision.cost,
        cost_known=decision.cost_known,
        latency=round(seconds, 6),
        flags=decision.flags,
        decision=decision.id,
        tool_calls=draft.tool_calls,
        refusal=draft.refusal,
        at_frontier=at_frontier,
    )


def unanswered(id: str, row: int, run: Run, error: str, seconds: float) -> Answered:
    """The line of a question that nobody could answer."""
    return Answered(
        id=id,
        row=row,
        answer="",
        served="failed",
        served_by="",
        why=error,
        confidence=None,
        cost=run.spent,
        cost_known=all(step.cost is not None for step in run.steps),
        latency=round(seconds, 6),
        flags=[*run.plan.flags, *run.flags],
        decision=run.request.id,
        error=error,
    )


def cost_elsewhere(draft: Draft, model: str, price: tuple[float, float, float] | None) -> float | None:
    """Dollars of as many tokens at another model; of its own answer what that cost. None where nobody counted.

    Another model would have used its own words, and its own tokens for them: an estimate.
    """
    if draft.model == model and draft.cost is not None:
        return draft.cost
    usage = draft.usage
    if price is None or not (usage.prompt_tokens or usage.completion_tokens):
        return None
    return (usage.prompt_tokens * price[0] + usage.completion_tokens * price[1]) / 1e6
