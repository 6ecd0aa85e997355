"""What look-ups, inserts, reload and memory cost, beside numpy's plain product and GPTCache in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cache import recall
from benchmarks.cache.population import DIMENSIONS
from benchmarks.speed.report import machine
from benchmarks.speed.rounds import OWN, PYTHON, environment
from benchmarks.speed.turns import Worker

SIZES = (1_000, 10_000, 100_000, 1_000_000)
WHOLE = 100_000
"""Largest size at which the whole cache is filled, by GPTCache as well; the index alone goes further."""

WANTED = {1_000: 0.1, 10_000: 0.3, 100_000: 1.3, 1_000_000: 6.0}
"""Most milliseconds of CPU a look-up."""

APART = ["uv", "run", "--quiet", "--isolated", "--no-project", "--python", PYTHON]
APART += ["--with", "gptcache==0.1.44", "--with", "sqlalchemy", "--with", "faiss-cpu"]
REOPEN = """
import sys, time, numpy as np
from pathlib import Path
from benchmarks.cache.ours import Given, open_cache
began, cpu = time.perf_counter(), time.process_time()
cache = open_cache(Path(sys.argv[1]), Given(None, None))
took = time.perf_counter() - began, time.process_time() - cpu
assert cache.stats().semantic == int(sys.argv[2])
print(*took)
"""
RESIDENT = """
import os, sys
from pathlib import Path
from benchmarks.cache.population import DIMENSIONS, Clusters
from cascade.cache.semantic import SemanticIndex
from cascade.cache.shelf import signs
clusters = Clusters(10_000)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
def fill(index, size):
    for i in range(0, size, 100):
        index.fill([b"x"] * 100, list(range(i, i + 100)), clusters.draw(100))
signs(clusters.draw(100))  # what the matrix library itself takes is not the index's
index, before = SemanticIndex(DIMENSIONS), resident()
fill(index, int(sys.argv[1]))
print(resident() - before)
"""
METHOD = """
Embedding costs nothing here: vectors of 384 dimensions come out of an array. CPU time of the asking thread, one thread,
median over the rounds; within a round every case takes its turn, and ratios are taken round by round, for the machine
is shared. "cache" is the whole look-up (identity, index, the winner's row out of SQLite), "index" the search alone.
"""

Say = Callable[[str], None]
Figures = dict[str, list[float]]


def measure(data: Path | None, rounds: int, most: int, say: Say) -> dict[str, Any]:
    """Everything that was found, for ``cache_speed.json``."""
    sizes = [size for size in SIZES if size <= most]
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall, about, missing = turns_of(sizes, Path(folder), rounds, say)
        say("reload")
        whole = max(size for size in sizes if size <= WHOLE)
        reload = [reopened(Path(folder) / str(whole), whole) for _ in range(rounds)]
    return {
        "command": f"python -m benchmarks cache speed --rounds {rounds}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "rounds": rounds,
        "missing": missing,
        "GPTCache": about.get("GPTCache", {}).get("GPTCache"),
        "cpu_ms": cpu,
        "wall_ms": wall,
        "inserts_ms": {name: json.loads(said["inserts"]) for name, said in about.items()},
        "reload_s": {"entries": whole, "rounds": reload},
        "memory": memory(whole),
        "recall": recall.measure(data, whole, say),
    }


def turns_of(sizes: list[int], folder: Path, rounds: int, say: Say) -> tuple[Figures, Figures, dict[str, Any], str]:
    """Milliseconds a request by case, one value a round: CPU and wall; what workers say; why a peer is missing."""
    small = [str(size) for size in sizes if size <= WHOLE]
    commands = {
        "ours": [*OWN, "benchmarks.cache.ours", str(folder), str(WHOLE), *map(str, sizes)],
        "GPTCache": [*APART, "python", "-m", "benchmarks.cache.peer_gptcache", *small],
    }
    cpu, wall, about, missing = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list), {}, ""
    with ExitStack() as stack:
        cases = []
        for name, command in commands.items():
            say(f"filling {name}")
            try:
                worker = stack.enter_context(Worker(command, environment()))
            except (OSError, RuntimeError) as error:
                if name == "ours":
                    raise
                missing = f"{name}: {error}"
                continue
            about[name] = worker.about
            cases += [(worker, case) for case in worker.cases]
        cases.sort(key=lambda it: int(it[1].rpartition(" ")[2].replace(",", "")))
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for worker, case in cases[::-1] if number % 2 else cases:
                timing = worker.take(case, turn(case))
                cpu[case].append(timing.thread / 1e3)
                wall[case].append(timing.wall / 1e3)
    return cpu, wall, about, missing


def turn(case: str) -> int:
    """Requests of one turn: some tens of milliseconds."""
    if case.startswith("GPTCache") or case.endswith("1,000,000"):
        return 20
    return 20 if case == "X @ q, 100,000" else 200


def reopened(folder: Path, entries: int) -> tuple[float, float]:
    """Seconds, wall and CPU, in which a new process opens the cache with its index."""
    command = [sys.executable, "-c", REOPEN, str(folder), str(entries)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())  # noqa: S603  own
    wall, cpu = map(float, done.stdout.split())
    return wall, cpu


def memory(entries: int) -> dict[str, float]:
    """What the index adds to a process, in parts of the bytes of its vectors."""
    command = [sys.executable, "-c", RESIDENT, str(entries)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())  # noqa: S603  own
    return {"entries": entries, "ratio": float(done.stdout) / (4 * DIMENSIONS * entries)}


def ratio(made: dict[str, Any], dear: str, cheap: str) -> float | None:
    """How many times the one costs what the other does; median of the rounds' ratios."""
    cpu = made["cpu_ms"]
    if dear not in cpu or cheap not in cpu:
        return None
    return median(a / b for a, b in zip(cpu[dear], cpu[cheap], strict=True))


def markdown(made: dict[str, Any]) -> str:
    """The page ``cache_speed.md``."""
    on = made["machine"]
    inserts, reload, held = made["inserts_ms"], made["reload_s"], made["memory"]
    walls, cpus = zip(*reload["rounds"], strict=True)
    lines = [
        "# Speed of the semantic cache",
        "",
        f"`{made['command']}`, {made['date']}, {made['rounds']} rounds. {on['cpu']}, {on['cores']} cores, "
        f"Python {on['python']}, load {' '.join(map(str, on['load']))} at the end. GPTCache {made['GPTCache']}.",
        METHOD,
        *([f"Not measured: {made['missing']}\n"] if made["missing"] else []),
        "## Look-up, CPU ms",
        "",
        "| entries | cache | index | asked for | exact hit | X @ q | GPTCache | X @ q / index | GPTCache / cache |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(look_up(made, size) for size in SIZES if f"index, {size:,}" in made["cpu_ms"]),
        "",
        "Wall time: " + "; ".join(f"{case} {median(values):.3g}" for case, values in made["wall_ms"].items()) + ".",
        "",
        "## Insert, wall ms (asked for: 0.2 mean)",
        "",
        "| cache | entries | mean | median | worst | CPU mean |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | {size} | {it['mean']:.3f} | {it['median']:.3f} | {it['worst']:.1f} | "
            f"{'' if 'cpu' not in it else format(it['cpu'], '.3f')} |"
            for name, by in inserts.items()
            for size, it in by.items()
        ),
        "",
        f"Reload of {reload['entries']:,} entries in a new process: CPU {median(cpus):.2f} s, wall {median(walls):.2f} "
        f"s (best {min(walls):.2f}; asked for 0.5). Resident memory of an index of {held['entries']:,}: "
        f"{held['ratio']:.3f} times its vectors (asked for 1.3).",
        "",
        "## recall@1 against exact search (asked for .99)",
        "",
        "| population | entries | recall@1 | largest similarity lost | filling, µs a vector |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {row['population']} | {row['size']:,} | {row['recall']:.3f} | {row['lost']:.4f} | "
            f"{row['fill'] / row['size'] * 1e6:.1f} |"
            for row in made["recall"]
        ),
        "",
    ]
    return "\n".join(lines)


def look_up(made: dict[str, Any], size: int) -> str:
    """One row of the table."""
    cpu = made["cpu_ms"]
    cells = [
        f"{median(cpu[case]):.3f}" if (case := f"{name}, {size:,}") in cpu else ""
        for name in ("cache", "index", "exact", "X @ q", "GPTCache")
    ]
    cells.insert(2, f"{WANTED[size]:g}")
    for dear, cheap in (("X @ q", "index"), ("GPTCache", "cache")):
        times = ratio(made, f"{dear}, {size:,}", f"{cheap}, {size:,}")
        cells.append("" if times is None else f"{times:.1f}")
    return f"| {size:,} | {' | '.join(cells)} |"
