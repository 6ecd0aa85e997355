"""A second process that asks a shared store for planted answers, and notes when each was gone there."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from math import inf
from multiprocessing.connection import Connection

Served = Callable[[int, int], bool]

PAUSE = 0.005
LINGER = 1.0
"""Seconds that the process goes on asking after the last retraction."""


class Watch:
    """Forked before the store is opened here: ``make`` opens it over there, and gives back who tells whether
    a client's question of some number is served the planted answer.
    """

    def __init__(self, make: Callable[[], Served], clients: Sequence[int]) -> None:
        context = multiprocessing.get_context("fork")
        self._mine, theirs = context.Pipe()
        self._process = context.Process(target=_look, args=(make, clients, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_all_seen(self) -> None:
        """Until the process has been served every planted answer once; ``EOFError`` if it ended."""
        self._mine.recv()

    def lags(self, retracted: Sequence[float]) -> list[float]:
        """Seconds from each retraction until a question over there got nothing of it, for good. Ends the process."""
        time.sleep(max(0.0, max(retracted) + LINGER - time.monotonic()))
        self._mine.send(None)
        gone = self._mine.recv()
        self._process.join()
        return [seen - at for seen, at in zip(gone, retracted, strict=True)]


def _look(make: Callable[[], Served], clients: Sequence[int], pipe: Connection) -> None:
    """Ask in rounds. What is noted is when the first answer came that was not the planted one, after the last
    that was: never too early; infinite where the planted one is served to the end.
    """
    served, gone, number, told = make(), dict.fromkeys(clients, 0.0), 10**6, False
    while not pipe.poll(PAUSE):
        number += 1
        for client in clients:
            if served(client, number):
                gone[client] = inf
            elif gone[client] == inf:
                gone[client] = time.monotonic()
        if not told and all(gone.values()):
            pipe.send(None)
            told = True
    pipe.send(list(gone.values()))
