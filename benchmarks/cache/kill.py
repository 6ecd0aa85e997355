"""Writers killed at random points: what was acknowledged is there, and the store is sound.

Three processes at once keep, replace and retract answers of one store, and are killed together
(SIGKILL) after a random time, in the middle of whatever they do. Each says on a pipe what it is
about to do and, once the call has returned, that it is done; so at most its last step is open.
"""

from __future__ import annotations

import os
import random
import select
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.speed.report import machine

WRITERS = 3
QUESTIONS = 200
"""Of each writer: few, so that replacing and retracting are as frequent as inserting."""

LONGEST = 0.15
"""Seconds after which the writers are killed at the latest."""

Say = Callable[[str], None]


def cache_in(folder: Path) -> Any:
    """The cache that is written to: with vectors, so that every table takes part."""
    from cascade.cache import Cache

    return Cache(identity="kill", folder=folder, ttl=None, size_limit=2**26, max_temperature=0.0, embedder=Directions())


class Directions:
    """Vectors that cost nothing: one of 64 axes, by the question's number."""

    name = "directions"
    dimensions = 64

    def embed(self, texts: list[str]) -> Any:
        import numpy as np

        return np.eye(64, dtype=np.float32)[[int(text.split()[-1]) % 64 for text in texts]]


def request_of(writer: int, number: int) -> Any:
    from cascade.types import Request

    content = f"question {number}"
    return Request(
        id="r", tenant=str(writer), messages=[{"role": "user", "content": content}], params={"temperature": 0}
    )


def write(folder: Path, writer: int, seed: int, pipe: int) -> None:
    """Change the store until killed, and tell each step before and after."""
    from cascade.types import Draft, Entry

    cache, drawn, step = cache_in(folder), random.Random(seed), 0
    while True:
        step += 1
        number, text = drawn.randrange(QUESTIONS), f"{seed} {step} " + "x" * drawn.randrange(3_000)
        request, keeps = request_of(writer, number), drawn.random() < 0.75
        tell(pipe, number, None, "begun")
        before = cache.faults.total()
        if keeps:
            cache.keep(request, Entry(draft=Draft(tier="t", model="m", text=text)))
        else:
            cache.retract(cache.key(request))
        if cache.faults.total() == before:
            tell(pipe, number, text if keeps else None, "done")


def tell(pipe: int, number: int, text: str | None, said: str) -> None:
    """One line: shorter than a pipe takes in one piece."""
    os.write(pipe, msgspec.json.encode([number, text, said]) + b"\n")


def round_of(folder: Path, seed: int, held: dict[tuple[int, int], str | None], wait: float) -> Counter[str]:
    """Start, kill and look; ``held`` is what must be there, by writer and number, and is brought up to date."""
    children = {}
    for writer in range(WRITERS):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write(folder, writer, seed * WRITERS + writer, writing)
            finally:
                os._exit(1)
        os.close(writing)
        children[reading] = (child, writer)
    said = listen(list(children), wait)
    for child, _ in children.values():
        os.kill(child, signal.SIGKILL)
    found = Counter[str](killed=WRITERS)
    for reading, (child, writer) in children.items():
        os.waitpid(child, 0)
        while more := os.read(reading, 2**20):
            said[reading] += more
        os.close(reading)
        for line in said[reading].splitlines():
            number, text, what = msgspec.json.decode(line)
            held.pop((writer, number), None)
            if what == "done":
                held[writer, number] = text
            found[what] += 1
    return found + looked(folder, held)


def listen(pipes: list[int], wait: float) -> dict[int, bytes]:
    """What is said until all have begun and ``wait`` seconds more."""
    said = dict.fromkeys(pipes, b"")
    until: float | None = None
    while until is None or time.monotonic() < until:
        for pipe in select.select(pipes, [], [], 0.005)[0]:
            said[pipe] += os.read(pipe, 2**20)
        if until is None and all(said.values()):
            until = time.monotonic() + wait
    return said


def looked(folder: Path, held: dict[tuple[int, int], str | None]) -> Counter[str]:
    """Open the store as the next process would, and count what is wrong with it."""
    cache = cache_in(folder)
    unsound = cache.check()
    found = Counter[str](unsound=len(unsound))
    for (writer, number), text in held.items():
        hit = cache.lookup(request_of(writer, number))
        there = hit.draft.text if hit is not None and hit.kind == "exact" else None
        found["lost" if text is not None else "back"] += there != text
    found["faults"] += cache.faults.total()
    cache.close()
    return found


def measure(rounds: int, say: Say, seed: int = 0) -> dict[str, Any]:
    """Everything that was found, for ``cache_kill.json``."""
    drawn, total = random.Random(seed), Counter[str]()
    held: dict[tuple[int, int], str | None] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            total += round_of(Path(folder), seed + number, held, drawn.uniform(0.0, LONGEST))
            if number % 20 == 19:
                say(f"round {number + 1} of {rounds}: {dict(total)}")
    names = ("killed", "begun", "done", "unsound", "lost", "back", "faults")
    return {
        "command": f"python -m benchmarks cache kill --rounds {rounds}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "rounds": rounds,
        "seconds": round(time.monotonic() - began),
        "found": {name: total[name] for name in names},
    }


def markdown(made: dict[str, Any]) -> str:
    """The page ``cache_kill.md``."""
    found = made["found"]
    rows = {
        "processes killed": found["killed"],
        "changes begun": found["begun"],
        "changes acknowledged": found["done"],
        "findings of `check()` after a round": found["unsound"],
        "acknowledged answers lost": found["lost"],
        "acknowledged retractions undone": found["back"],
        "faults of the cache that was opened next": found["faults"],
    }
    lines = [
        "# Killed at random points",
        "",
        f"`{made['command']}`, {made['date']}, {made['rounds']} rounds, {made['seconds']} seconds.",
        f"{WRITERS} processes keep, replace and retract answers of one store at once and are killed together (SIGKILL)",
        "at a random moment; then the next process looks. The last four must be 0.",
        "",
        "| what | how many |",
        "|---|---:|",
        *(f"| {name} | {count:,} |" for name, count in rows.items()),
        "",
    ]
    return "\n".join(lines)
