"""What a row says of the calls that were made for it, handed out again one after another.

A row keeps one answer of each tier. What its decision's steps say besides is told as they say it:
faults with what they cost, answers that were empty and cut off, what was paid for signals. Nothing is
made up: a second answer of a tier that has only one recorded is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cascade.types import ModelOutcome, Outcome, Step

SILENT = "silent_failure"
"""Outcome of a call whose answer was empty and cut off."""

ANSWERED = ("ok", SILENT, "rescue")
"""Outcomes of a call that brought an answer."""


UNSENT = "not sent"
"""Outcome of a call that something forbade: a ceiling, or a key that was not set."""


class Made(NamedTuple):
    """One call that was made. ``step`` is None where no step tells of it; ``kept`` says that its answer is the
    row's; ``pause`` are the seconds before the same model was asked again, None where it was not.
    """

    step: Step | None
    kept: bool
    pause: float | None = None


ONCE = Made(None, kept=True)


class Recorded:
    """The calls of one row that have not been handed out yet."""

    __slots__ = ("_left", "_outcome", "_signals")

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._left = {} if outcome.decision is None else _calls(outcome.decision.steps, outcome.models)
        self._signals: dict[tuple[str, str], list[Step]] | None = None

    def call(self, tier: str, model: str) -> Made | None:
        """The next call of this tier, or None where no more is recorded.

        An answer that no step tells of was asked for aside, or comes from a recorded data set. A call that
        was not sent is only of this ``model``'s concern.
        """
        left = self._left.get(tier)
        if left is None:
            self._left[tier] = []
            return ONCE if tier in self._outcome.models else None
        while left and (step := left[0].step) is not None and step.outcome == UNSENT and step.model != model:
            del left[0]
        return left.pop(0) if left else None

    def signal(self, tier: str, family: str) -> Step | None:
        """The next call that was made for this family and this tier's draft, or None."""
        if self._signals is None:
            self._signals = _signals(self._outcome)
        left = self._signals.get((tier, family))
        return left.pop(0) if left else None


def _calls(steps: Iterable[Step], models: Mapping[str, ModelOutcome]) -> dict[str, list[Made]]:
    """The calls of each tier in their order, and which of them brought the answer that the row has."""
    found: dict[str, list[Made]] = {}
    for step in steps:
        if step.kind == "call":
            found.setdefault(step.tier, []).append(Made(step, kept=False))
        elif step.kind == "wait" and found.get(step.tier):
            found[step.tier][-1] = found[step.tier][-1]._replace(pause=step.latency)
    for tier, made in found.items():
        place = _place(made, models.get(tier))
        if place is not None:
            made[place] = made[place]._replace(kept=True)
    return found


def _place(made: list[Made], model: ModelOutcome | None) -> int | None:
    """Where the row's answer stands: last, but an empty one was given up if the row has words."""
    for place in range(len(made) - 1, -1, -1) if model is not None else ():
        step = made[place].step
        if step is not None and step.outcome in ANSWERED and not (step.outcome == SILENT and model and model.answer):
            return place
    return None


def _signals(outcome: Outcome) -> dict[tuple[str, str], list[Step]]:
    """What was paid for signals, by the tier whose draft they are about and by family."""
    found: dict[tuple[str, str], list[Step]] = {}
    drafting = ""
    for step in outcome.decision.steps if outcome.decision is not None else ():
        if step.kind == "call":
            drafting = step.tier
        elif step.kind == "signal":
            found.setdefault((drafting, step.detail), []).append(step)
    return found
