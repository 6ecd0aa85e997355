"""Processes that take turns: each waits until it is told to run one case some number of times.

Only one works at a time, so peers in environments of their own can be interleaved round by round
and see the same machine. Standard library only: this runs in every one of those environments.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

ONE_THREAD = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")
"""Spinning threads of a matrix library would be measured as everybody's CPU time."""


class Timing(NamedTuple):
    """Microseconds a request: median wall time, mean CPU time of the asking thread and of its process."""

    wall: float
    thread: float
    process: float


Case = Callable[[], Any]
"""One request; may be a coroutine function."""


def timed(case: Case, n: int, loop: asyncio.AbstractEventLoop) -> Timing:
    """Run a case ``n`` times, one after the other."""
    walls: list[int] = []
    clock = time.perf_counter_ns

    async def many() -> None:
        for _ in range(n):
            began = clock()
            await case()
            walls.append(clock() - began)

    thread, process = time.thread_time_ns(), time.process_time_ns()
    if inspect.iscoroutinefunction(case):
        loop.run_until_complete(many())
    else:
        for _ in range(n):
            began = clock()
            case()
            walls.append(clock() - began)
    thread, process = time.thread_time_ns() - thread, time.process_time_ns() - process
    return Timing(statistics.median(walls) / 1e3, thread / n / 1e3, process / n / 1e3)


def serve(cases: Mapping[str, Case], about: Mapping[str, str], loop: asyncio.AbstractEventLoop) -> None:
    """Say what there is, then run what each line of stdin asks for, until it ends.

    What the measured code prints goes to stderr: stdout belongs to the answers.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"cases": list(cases), "about": dict(about)}), file=answers)
    for line in sys.stdin:
        name, n = json.loads(line)
        timed(cases[name], max(n // 5, 1), loop)  # its own caches are cold after the others' turns
        print(json.dumps(timed(cases[name], n, loop)), file=answers)


class Worker:
    """The other end: a process that serves cases."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  commands of this folder
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(env)
        )
        said = self._answer()
        self.cases: list[str] = said["cases"]
        self.about: dict[str, str] = said["about"]

    def take(self, case: str, n: int) -> Timing:
        """Have the case run ``n`` times."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([case, n]) + "\n")
        self._process.stdin.flush()
        return Timing(*self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            last = self._process.stderr.read().strip().splitlines()[-1:] or ["no word"]
            raise RuntimeError(f"a worker ended: {last[0]}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        self._process.wait()
