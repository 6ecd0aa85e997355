"""Work off the callers' path: what is under way, what it may cost today, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from cascade import background
from cascade.policy import Policy
from cascade.types import Mode

SECONDS_A_DAY = 86_400
CANCELLING_SECONDS = 2.0
"""How long cancelled work may take to write down what it had been billed for."""


class Shadows:
    """Starts flows on the background loop, and knows when a day's ceiling is spent."""

    def __init__(self, policy: Policy) -> None:
        self._ceilings = {
            "observe": policy.observe.ceiling_usd_a_day,
            "enforce": policy.explore.ceiling_usd_a_day,
        }
        self.reset()

    def reset(self) -> None:
        """Forget what is under way; for a forked child, in which none of it runs."""
        self._changed = threading.Condition()
        self._under_way: dict[object, Future[None]] = {}
        self._day, self._spent = 0, {"observe": 0.0, "enforce": 0.0}

    def affordable(self, mode: Mode) -> bool:
        """Whether today's ceiling of this mode leaves room for another request's shadow."""
        ceiling = self._ceilings[mode]
        if ceiling is None:
            return True
        with self._changed:
            self._turn_the_page()
            return self._spent[mode] < ceiling

    def paid(self, mode: Mode, dollars: float) -> None:
        """Count what work of this mode has cost, whoever ran it."""
        with self._changed:
            self._turn_the_page()
            self._spent[mode] += dollars

    def start(self, mode: Mode, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run ``work``, which returns its dollars, off the caller's path."""
        token = object()

        async def tracked() -> None:
            cost = 0.0
            try:
                cost = await work()
            finally:
                self.paid(mode, cost)
                with self._changed:
                    self._under_way.pop(token, None)
                    self._changed.notify_all()

        with self._changed:
            self._under_way[token] = background.start(tracked)

    def drain(self, timeout: float) -> None:
        """Wait for what is under way. What does not end in time is cancelled, and its record says so."""
        with self._changed:
            if self._changed.wait_for(lambda: not self._under_way, timeout):
                return
            for work in self._under_way.values():
                work.cancel()
            self._changed.wait_for(lambda: not self._under_way, CANCELLING_SECONDS)

    def _turn_the_page(self) -> None:
        today = int(time.time() // SECONDS_A_DAY)
        if today != self._day:
            self._day, self._spent = today, dict.fromkeys(self._spent, 0.0)
