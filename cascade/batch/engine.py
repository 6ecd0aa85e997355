"""The engine, its work off the caller's path waited for."""

from __future__ import annotations

from typing import Any

from cascade.asks import Spawn
from cascade.drivers import drive
from cascade.engine import Cascade
from cascade.parts import Parts
from cascade.policy import Policy


class WaitingCascade(Cascade):
    """An engine whose work off the caller's path is left to whoever asked.

    So no more is under way than was asked for at once, its calls are made on the loop that counts them,
    and nothing is cut off at the end.
    """

    def __init__(self, policy: Policy, *given: Any, **parts: Any) -> None:
        self._left: list[Spawn] = []
        super().__init__(policy, *given, **parts)

    def left(self) -> list[Spawn]:
        """What the request just answered has left to be driven; to be taken before anything is waited for."""
        left, self._left = self._left, []
        return left

    async def aside(self, left: list[Spawn]) -> None:
        """Drive what was left, its dollars counted against the day's ceiling as ever."""
        for ask in left:
            spent = await drive(ask.flow, self.parts)
            self._shadows.paid(ask.mode, spent if isinstance(spent, float) else 0.0)

    def _spawn(self, ask: Spawn, parts: Parts) -> None:
        self._left.append(ask)
