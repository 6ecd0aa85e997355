"""Judges without a model: an answer against a reference, or a command of the user's own.

A rule abstains where the reference is missing or is nothing that it can compare with.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from cascade.checks import CommandCheck
from cascade.judging.case import Case
from cascade.judging.gold import alternatives, last_number, matches, normalised
from cascade.lock import digest
from cascade.types import Miss, Verdict

Rule = Callable[[str, Any], bool | None]
"""Is this answer right by this reference? None where that cannot be told."""


class RuleJudge:
    """A rule as a judge: free, deterministic, the same tomorrow."""

    family: str | None = None
    spent = 0.0

    def __init__(self, name: str, rule: Rule) -> None:
        self.name = name
        self._rule = rule

    def estimate(self, case: Case) -> float:
        """Nothing."""
        return 0.0

    async def judge(self, case: Case) -> Verdict | None:
        """Right or wrong by the row's reference."""
        right = self._rule(case.answer, case.reference)
        return None if right is None else Verdict(judge=self.name, acceptable=right, cost=0.0)


class CommandJudge:
    """A test command as a judge: exit status 0 accepts, 1 does not, everything else abstains.

    It is run and sees what a policy's check does (see ``CommandCheck``), so one program can be both:
    the request and the answer as JSON on stdin, the answer's text in the file that
    ``{answer_file}`` among its words and ``CASCADE_ANSWER_FILE`` name; besides, the row's reference
    in ``CASCADE_REFERENCE``, as text or else as JSON. Never through a shell. ``ConfigError`` for no
    words, or a timeout (seconds) that is not positive.
    """

    family: str | None = None
    spent = 0.0

    def __init__(self, words: list[str], timeout: float, name: str = "") -> None:
        self._check = CommandCheck(words, timeout, name="judge")
        self.name = name or f"command:{PurePath(words[0]).name}@{digest(words)[:8]}"

    def estimate(self, case: Case) -> float:
        """Nothing."""
        return 0.0

    async def judge(self, case: Case) -> Verdict | None:
        """What the command says; it runs in a thread."""
        found = await asyncio.to_thread(self._asked(case.reference), case.request, case.draft)
        if found.outcome == "abstain":
            return None
        misses: list[str | Miss] = [found.detail] if found.detail else []
        return Verdict(judge=self.name, acceptable=found.outcome == "pass", cost=0.0, misses=misses)

    def _asked(self, reference: Any) -> CommandCheck:
        if reference is None:
            return self._check
        text = reference if isinstance(reference, str) else json.dumps(reference)
        return CommandCheck(self._check.command, self._check.timeout, self._check.name, env={"CASCADE_REFERENCE": text})


def exact(answer: str, reference: Any) -> bool | None:
    """The same words as one of the right answers; case, accents and punctuation aside."""
    wanted = [one for one in _texts(reference) if normalised(one)]
    return any(matches("exact", answer, one) for one in wanted) if wanted else None


def numeric(tolerance: float = 0.0) -> Rule:
    """The last number said is the reference's, or no further from it than ``tolerance``."""
    allowed = Decimal(repr(tolerance))

    def near(answer: str, reference: Any) -> bool | None:
        wanted = [number for one in _texts(reference) if (number := last_number(one)) is not None]
        said = last_number(answer)
        return any(said is not None and abs(said - one) <= allowed for one in wanted) if wanted else None

    return near


def json_equal(answer: str, reference: Any) -> bool | None:
    """The same JSON value: the order of keys does not matter, 1, 1.0 and 1e0 are one number.

    A reference in text is read as JSON: the whole of it, else each of its alternatives.
    """
    wanted = _values(reference)
    if not wanted:
        return None
    try:
        said = _decoded(answer)
        return any(_same(said, one) for one in wanted)
    except (ValueError, RecursionError):
        return False


def _texts(reference: Any) -> list[str]:
    if isinstance(reference, str):
        return alternatives(reference)
    if isinstance(reference, bool) or not isinstance(reference, int | float):
        return []
    return [format(Decimal(repr(reference)), "f")]  # 0.00001 and not 1e-05, whose last number is another


def _values(reference: Any) -> list[Any]:
    if reference is None:
        return []
    if not isinstance(reference, str):
        return [_decoded(json.dumps(reference))]
    for texts in ([reference], alternatives(reference)):
        try:
            return [_decoded(text) for text in texts]
        except (ValueError, RecursionError):
            continue
    return []


def _decoded(text: str) -> Any:
    """A JSON value with exact numbers. ``ValueError`` for anything else, NaN and infinities too."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=_no_number)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
