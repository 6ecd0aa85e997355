"""Working through questions: several at once, within a budget, until none is left or something stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from cascade.batch.meter import ASKED, Meter
from cascade.batch.pace import Pace
from cascade.errors import BudgetError
from cascade.judging.hearing import IN_A_ROW
from cascade.types import Outcome

Ask = Callable[[Outcome], Awaitable[str]]
"""Does all that is to be done for one question, and says why it failed, if it did."""

Progress = Callable[[int, float], None]
"""Is told how many questions are done with and the dollars so far."""


def silent(done: int, spent: float) -> None:
    """Progress of which nobody is told."""


class Asking:
    """Questions under way on one meter. ``stopped`` says why some were left over: ``budget``, or ``unreachable``.

    A provider that cannot be reached is known by failures with nothing between them.
    """

    def __init__(self, meter: Meter, concurrency: int) -> None:
        self.pace = Pace()
        self.stopped = ""
        self._meter, self._concurrency = meter, concurrency
        self._in_a_row = 0

    async def through(self, questions: Iterable[Outcome], ask: Ask, progress: Callable[[], None]) -> None:
        """Ask these questions; ``progress`` is told of each that is done with.

        Raises what is wrong with the configuration, at the first call that shows it. Cancelled, it
        waits until every call under way is written down.
        """
        waiting, begun = iter(questions), time.monotonic()

        async def work() -> None:
            while (question := await self._affordable(waiting)) is not None:
                await self._one(question, ask)
                progress()

        workers = [asyncio.create_task(work()) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._meter.close()
            self.pace.seconds += time.monotonic() - begun

    def completed(self, dollars: float) -> None:
        """A question is whole, and this is what it cost."""
        self._in_a_row = 0
        self.pace.completed(dollars)

    async def _affordable(self, waiting: Iterator[Outcome]) -> Outcome | None:
        """The next question, once the budget is sure to hold it; None when none waits or none ever will be."""
        while not self.stopped and not self._meter.affords(self.pace.expected):
            if self.pace.idle:
                self.stopped = "budget"
            else:
                await self.pace.next_end()
        question = None if self.stopped else next(waiting, None)
        if question is not None:
            self.pace.begun(question.id)
        return question

    async def _one(self, question: Outcome, ask: Ask) -> None:
        ASKED.set(question.id)
        try:
            reason = await ask(question)
        except BudgetError:
            self.stopped = "budget"
            return
        finally:
            self.pace.ended(question.id)
        if self._meter.broken is not None:
            raise self._meter.broken
        if self._meter.refused:
            self.stopped = "budget"
        elif reason:
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW:
                self.stopped = "unreachable"
