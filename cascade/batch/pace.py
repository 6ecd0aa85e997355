"""What questions have cost, and what the next one is expected to."""

from __future__ import annotations

import asyncio
from math import sqrt

FEW = 5
"""Complete questions from which on their mean is worth something; before, single calls keep to the budget."""


class Pace:
    """How fast questions are completed, and what the next one is expected to cost, a margin included."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.done = 0
        self._sum = self._squares = 0.0
        self._open: set[str] = set()
        self._watching: list[asyncio.Future[None]] = []

    @property
    def idle(self) -> bool:
        """Whether no question is under way."""
        return not self._open

    async def next_end(self) -> None:
        """Wait until a question that is under way is not any more."""
        turn = asyncio.get_running_loop().create_future()
        self._watching.append(turn)
        await turn

    @property
    def expected(self) -> float:
        """Dollars of the next question and of those under way: their mean and two standard deviations more.

        0.0 before there is a mean.
        """
        if self.done < FEW:
            return 0.0
        mean = self._sum / self.done
        spread, ahead = sqrt(max(self._squares / self.done - mean**2, 0.0)), len(self._open) + 1
        return ahead * mean + 2.0 * spread * sqrt(ahead)

    def begun(self, id: str) -> None:
        """A question is under way."""
        self._open.add(id)

    def ended(self, id: str) -> None:
        """It is not any more."""
        self._open.discard(id)
        for turn in self._watching:
            if not turn.done():
                turn.set_result(None)
        self._watching.clear()

    def completed(self, dollars: float) -> None:
        """A question is done with, and this is what it cost."""
        self.done += 1
        self._sum += dollars
        self._squares += dollars**2
