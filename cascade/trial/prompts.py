"""The prompts of a trial: each question once, in the order of a coin, with its split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from cascade.batch.questions import questions_in
from cascade.decide import coin
from cascade.errors import ConfigError
from cascade.intake import tie_repeats
from cascade.intake.findings import Finding, Found, Group
from cascade.learning.drawn import splits_of
from cascade.lock import digest
from cascade.replay import request_of
from cascade.types import Outcome

SAME_ID = "the id of an earlier prompt that asks something else"
REPEATED = "asks what an earlier prompt asks, and is asked once"


class Prompts(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts as outcomes without answers, in the order in which they are asked; and what was found.

    Every line is among the prompts, the ``bad`` ones or the ``repeated`` ones. Each prompt has its
    split, so that it is known beforehand which answers of the last tier will be judged.
    """

    prompts: list[Outcome]
    bad: list[Group]
    repeated: list[Finding]


def read_prompts(source: Path, *, seed: int = 0) -> Prompts:
    """Prompts of a ``.jsonl`` file (also ``.gz``), or of a ``.txt`` with one prompt a line.

    A prompt without an id gets a hash of what it asks, the same in every run. The order is drawn by a
    hash of ``seed`` and id: however far a budget reaches, what it reaches is an even draw. Raises
    ``ConfigError`` when the file cannot be read or holds no prompt.
    """
    found = Found()
    kept = _Kept(found)
    for number, line in questions_in(source, found):
        kept.add(number, line)
    intake = found.intake(kept.prompts, 0)
    repeated = [one for group in intake.notes if group.reason == REPEATED for one in group.found]
    if not kept.prompts:
        why = f": {intake.problems[0].reason} ({intake.problems[0].first[0]})" if intake.problems else ""
        raise ConfigError(f"{source}: holds no prompt{why}")
    return Prompts(prompts=ordered(kept.prompts, seed), bad=intake.problems, repeated=repeated)


def ordered(prompts: Iterable[Outcome], seed: int) -> list[Outcome]:
    """Prompts with their splits, in the order of a coin: any beginning of it is an even draw."""
    tied, _ = tie_repeats(prompts)
    dealt = [replace(row, split=split) for row, split in zip(tied, splits_of(tied), strict=True)]
    return sorted(dealt, key=lambda row: coin(str(seed), "trial", row.id))


class _Kept:
    """The prompts that are good, each once."""

    def __init__(self, found: Found) -> None:
        self.prompts: list[Outcome] = []
        self._found = found
        self._asked: dict[str, str] = {}
        self._ids: set[str] = set()

    def add(self, number: int, prompt: Outcome) -> None:
        """Take a prompt, name it a repetition, or name it bad."""
        request = request_of(prompt)
        content = digest([request.messages, request.params, request.slice, prompt.reference])
        prompt = replace(prompt, id=prompt.id or f"p{content}")
        if content in self._asked:
            self._found.note(REPEATED, number, prompt.id, f"as {self._asked[content]}")
        elif prompt.id in self._ids:
            self._found.problem(SAME_ID, number, prompt.id)
        else:
            self._asked[content] = prompt.id
            self._ids.add(prompt.id)
            self.prompts.append(prompt)
