"""The thread that moves rows, while there are rows to move; an idle process is never woken."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

TICK = 0.2
"""Seconds that rows may wait for others to be moved with them."""

BATCH = 2000
"""So many rows are moved at once without waiting for the tick."""

PATIENCE = 5.0
"""Longest pause, in seconds, between tries while the store cannot be written."""


class Writer:
    """Calls ``move`` soon after ``notice``, again and again until it answers True.

    Holds ``move`` (a method) weakly: a ledger that nobody uses any more is collected, and its
    thread ends. A daemon, since what it has not moved at exit waits safely in the spool.
    """

    def __init__(self, move: Callable[[], bool]) -> None:
        self._move = weakref.WeakMethod(move)
        self.reset()

    def reset(self) -> None:
        """Forget the thread, as after a fork, which only the forking thread survives."""
        self._wake, self._full, self._stopped = threading.Event(), threading.Event(), threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting = 0

    def notice(self) -> None:
        """A row waits. The count is not exact between threads, and only ever shortens the wait."""
        self._waiting += 1
        if self._waiting == BATCH:
            self._full.set()
        if not self._wake.is_set() and self._started():
            self._wake.set()

    def _started(self) -> bool:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="cascade-ledger", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # at exit, or at the limit of threads: the row waits in the spool
                    return False
                self._thread = thread
        return True

    def stop(self, *, wait: bool = True) -> None:
        """End the thread, after the move that it is in; ``notice`` starts another."""
        thread = self._thread
        for event in (self._stopped, self._full, self._wake):
            event.set()
        if wait:
            if thread is not None:
                thread.join()
            self.reset()

    def _run(self) -> None:
        pause = TICK
        while not self._stopped.is_set():
            self._wake.wait()
            self._full.wait(TICK)
            self._wake.clear()  # before the move: what comes after this line wakes us again
            self._full.clear()
            self._waiting = 0
            move = self._move()
            if move is None or self._stopped.is_set():
                return
            moved = move()
            del move
            if moved:
                pause = TICK
            else:
                self._wake.set()
                self._stopped.wait(pause)
                pause = min(2 * pause, PATIENCE)
