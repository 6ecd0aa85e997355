"""Everything once a round, in turn, for as many rounds as were asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.speed.imports import STATEMENTS, imported
from benchmarks.speed.turns import ONE_THREAD, Worker

CASCADEFLOW = "cascadeflow==1.2.0"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OWN = [sys.executable, "-m"]
APART = ["uv", "run", "--quiet", "--isolated", "--no-project", "--python", PYTHON, "--with", CASCADEFLOW]
WORKERS = {
    "ours": [*OWN, "benchmarks.speed.ours"],
    "litellm": [*OWN, "benchmarks.speed.peer_litellm"],
    "cascadeflow": [*APART, "python", "-m", "benchmarks.speed.peer_cascadeflow"],
}

WARM = 30
TURNS = {"litellm": 4, "cascadeflow,": 12, "direct": 40, "aiohttp": 60, "httpx": 40, "part": 500, "hit": 400}
"""Requests of one turn by how the case's name begins; 150 for all others. About 20 ms each, so that those
who are compared take their turns within one mood of the machine."""

Figures = dict[str, dict[str, list[float]]]
"""Case, then measure, then one value a round. ``wall``, ``thread`` and ``process`` are microseconds a
request, ``cpu`` milliseconds and ``rss`` megabytes of an import."""

Say = Callable[[str], None]


class Measured(NamedTuple):
    """Figures, versions of what was measured, and the reasons why something was not."""

    figures: Figures
    versions: dict[str, str]
    missing: dict[str, str]


def environment() -> dict[str, str]:
    """This process's, with single-threaded matrix libraries and compiled modules kept."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | ONE_THREAD


@contextmanager
def stub(env: Mapping[str, str]) -> Iterator[str]:
    """The stub server's address, while it runs."""
    command = [*OWN, "benchmarks.speed.stub"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(env)) as server:  # noqa: S603
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


def measure(rounds: int, say: Say, together: Sequence[str] = ()) -> Measured:
    """Run every case of every worker in each round; the order turns round from one to the next.

    ``together`` lists cases whose turns follow one another, whichever worker's they are.
    """
    found, env = Measured(defaultdict(lambda: defaultdict(list)), {}, {}), environment()
    with ExitStack() as stack:
        address = stack.enter_context(stub(env))
        workers: list[Worker] = []
        for name, command in WORKERS.items():
            say(f"starting {name}")
            try:
                worker = stack.enter_context(Worker([*command, address], env))
            except (OSError, RuntimeError) as error:
                if name == "ours":
                    raise
                found.missing[name] = str(error)
                say(f"{name} is left out: {error}")
                continue
            workers.append(worker)
            found.versions.update(worker.about)
        place = {case: i for i, case in enumerate(together)}
        cases = [(worker, case) for worker in workers for case in worker.cases]
        cases.sort(key=lambda it: place.get(it[1], len(place)))
        for worker, case in cases:
            worker.take(case, min(WARM, turn(case)))
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for worker, case in cases[::-1] if number % 2 else cases:
                for clock, value in worker.take(case, turn(case))._asdict().items():
                    found.figures[case][clock].append(value)
    _measure_imports(rounds, found.figures, env, say)
    return found


def turn(case: str) -> int:
    """How many requests this case runs in its turn."""
    return next((n for start, n in TURNS.items() if case.startswith(start)), 150)


def _measure_imports(rounds: int, figures: Figures, env: Mapping[str, str], say: Say) -> None:
    say("imports")
    for statement in STATEMENTS:
        imported(statement, env)  # compiles what is not compiled yet
    for _ in range(rounds):
        for statement in STATEMENTS:
            cpu, rss, modules, heavy = imported(statement, env)
            for name, value in {"cpu": cpu, "rss": rss, "modules": modules, "heavy": len(heavy)}.items():
                figures[statement][name].append(float(value))
