"""Putting cases before a judge, several at once, and keeping each verdict the moment it is there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from cascade.errors import UpstreamError
from cascade.judging.case import Case, Judge
from cascade.types import Verdict

IN_A_ROW = 10
"""So many failures with nothing between them are a judge that is gone, and not bad luck."""

_ROUNDING = 1e-9  # of sums of dollars, so that a budget of exactly the estimate suffices


@dataclass
class Heard:
    """How it went; filled in while it goes, so that it is true after an interruption too.

    ``failed`` counts cases that stay unjudged, by reason. ``cost`` is in dollars, abstentions and
    failures included. ``stopped`` says why cases were left over.
    """

    judged: int = 0
    acceptable: int = 0
    abstained: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0
    stopped: Literal["", "budget", "unreachable", "bad rows"] = ""


Keep = Callable[[Case, Verdict], None]
"""Stores a verdict; when it returns the verdict is safe."""


async def hear(
    cases: Iterable[tuple[Case, float]],
    judge: Judge,
    keep: Keep,
    heard: Heard,
    *,
    concurrency: int = 4,
    budget: float | None = None,
) -> None:
    """Hear cases (each with its propensity) in order; ``heard`` says how it went.

    No case is begun that is expected to carry the judge's spending past ``budget`` (dollars), what is
    under way included. An ``UpstreamError`` leaves its case unjudged; ``IN_A_ROW`` of them end the
    hearing. Everything else that judge or ``keep`` raises ends it too and is raised.
    """
    hearing = _Hearing(judge, keep, heard, budget)
    waiting = iter(cases)
    workers = [asyncio.create_task(hearing.work(waiting)) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        heard.cost = judge.spent


class _Hearing:
    """What the workers of one hearing share."""

    def __init__(self, judge: Judge, keep: Keep, heard: Heard, budget: float | None) -> None:
        self._judge, self._keep, self._heard = judge, keep, heard
        self._budget = budget
        self._expected = 0.0
        self._failures = 0

    async def work(self, waiting: Iterator[tuple[Case, float]]) -> None:
        """Hear one case after the other until none waits or the hearing has been stopped."""
        while not self._heard.stopped and (next_one := next(waiting, None)) is not None:
            await asyncio.sleep(0)  # a rule never waits, and an interruption is heard only by who does
            case, propensity = next_one
            expected = self._judge.estimate(case)
            if self._too_dear(expected):
                self._heard.stopped = "budget"
                return
            self._expected += expected
            try:
                await self._hear(case, propensity)
            finally:
                self._expected -= expected

    async def _hear(self, case: Case, propensity: float) -> None:
        heard = self._heard
        try:
            verdict = await self._judge.judge(case)
        except UpstreamError as error:
            heard.failed[_reason(error)] += 1
            self._failures += 1
            if self._failures >= IN_A_ROW:
                heard.stopped = "unreachable"
            return
        self._failures = 0
        if verdict is None:
            heard.abstained += 1
            return
        self._keep(case, replace(verdict, propensity=propensity))
        heard.judged += 1
        heard.acceptable += verdict.acceptable

    def _too_dear(self, expected: float) -> bool:
        if self._budget is None:
            return False
        return self._judge.spent + self._expected + expected > self._budget * (1 + _ROUNDING)


def _reason(error: UpstreamError) -> str:
    """The same words for the same kind of failure, so that they can be counted."""
    return f"{error.provider} answered {error.status}" if error.status is not None else str(error)
