"""How many requests a second a replay takes on one core, what bounds it, and what it keeps in memory.

The recorded questions of the demo, over and over under new ids. Ratios are within one run: CPU seconds of
the replay over those of decoding the same JSON lines with msgspec, medians of interleaved rounds.
"""

from __future__ import annotations

import gzip
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from benchmarks.coverage.report import write
from benchmarks.speed.report import machine
from cascade.demo import recorded
from cascade.demo import rules as demo_rules
from cascade.gates import Gates
from cascade.hindsight import Gathering
from cascade.ladder import Ladder
from cascade.learning.calibrate import calibrate
from cascade.policy import Policy, Target
from cascade.replay import draft_of, replay, request_of
from cascade.run import Rules
from cascade.signals import measure as signals_of
from cascade.types import Outcome

WANTED = 30_000
CASES = {
    "signals": "recorded signals: one cheap tier, a regression, nothing re-measured",
    "logprobs": "the same, its signals measured again from recorded text and log-probabilities",
    "demo": "the demo's ladder: two cheap tiers, a semantic cache, gain scorers, everything re-measured",
}
BOUND = (
    "What bounds it is Python itself: a request is some hundred function calls and twenty small records, of which the "
    "two regressions (is the tier worth asking, is its draft good enough) take the largest part, then the plan, the "
    "hard checks and the ledger's row that every request leaves behind."
)
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Outcome).decode


def small_policy(policy: Policy) -> Policy:
    """The demo's with one cheap tier, no cache, and an error target, whose scorer is a regression."""
    changes = {"tiers": [policy.tiers[0], policy.last], "target": Target(max_error=0.3)}
    return policy.model_copy(update={**changes, "cache": policy.cache.model_copy(update={"enabled": False})})


def bare(outcome: Outcome, policy: Policy) -> Outcome:
    """The row as a ledger keeps it: the cheap answer's signals, and no log-probability."""
    name = policy.tiers[0].name
    model = outcome.models[name]
    found = signals_of(request_of(outcome), draft_of(name, model, ""), policy.families)
    told = replace(model, signals=found.values, families=list(found.families), logprobs=None, top_logprobs=None)
    return replace(outcome, models={**outcome.models, name: told})


def without_stored(outcome: Outcome) -> Outcome:
    """The row without what its look-up found, and without the tiers that the small policy does not ask."""
    return replace(outcome, models={name: outcome.models[name] for name in ("cheap", "frontier")})


def cases() -> dict[str, tuple[list[bytes], Rules]]:
    """The held-out rows of each case as JSON lines, and the rules that they are replayed under."""
    made, _ = demo_rules()
    rows, policy = recorded(), small_policy(made.policy)
    fit = [without_stored(row) for row in rows if row.split != "test"]
    lock = calibrate(fit, policy)
    small = Rules(policy=policy, gates=Gates(policy, lock), ladder=Ladder(policy))
    held_out = [row for row in rows if row.split == "test"]
    plain = [without_stored(row) for row in held_out]
    return {
        "signals": ([_encode(bare(row, policy)) for row in plain], small),
        "logprobs": ([_encode(row) for row in plain], small),
        "demo": ([_encode(row) for row in held_out], made),
    }


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


def drain(rows: Iterable[Any]) -> None:
    """Look at every row and keep none."""
    for _ in rows:
        pass


def decoded(lines: Iterable[bytes]) -> Iterator[Outcome]:
    """The outcomes, one by one."""
    return map(_decode, lines)


def measure(requests: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds a request of decoding, of replaying what is decoded, and of both in a stream."""
    everything = cases()
    seconds: dict[str, dict[str, list[float]]] = {name: {"floor": [], "replay": [], "both": []} for name in everything}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        for name, (lines, rules) in everything.items():
            many = list(itertools.islice(itertools.cycle(lines), requests))
            outcomes = list(decoded(lines)) * (requests // len(lines) + 1)
            found = seconds[name]
            found["floor"].append(timed(lambda many=many: drain(decoded(many))) / requests)
            found["replay"].append(timed(lambda o=outcomes[:requests], r=rules: drain(replay(o, r))) / requests)
            found["both"].append(timed(lambda many=many, r=rules: drain(replay(decoded(many), r))) / requests)
    medians = {name: {kind: statistics.median(t) for kind, t in found.items()} for name, found in seconds.items()}
    return {name: {**m, "served_cheap": _served(*everything[name])} for name, m in medians.items()}


def _served(lines: list[bytes], rules: Rules) -> float:
    """Share of the requests that the last tier does not answer: those are the ones that ask twice."""
    found = list(replay(decoded(lines), rules))
    last = rules.policy.last.name
    return sum(row.decision is not None and row.decision.served_by != last for row in found) / len(found)


def streamed(file: Path, requests: int) -> None:
    """Replay a file of JSON lines as the command does, and print CPU seconds and the peak of the memory in bytes."""
    _, rules = cases()["signals"]
    gathering = Gathering(rules)
    started = time.process_time()
    with gzip.open(file, "rb") as lines:
        for row in replay(decoded(itertools.islice(lines, requests)), rules):
            gathering.add(row)
    found = gathering.found()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {"requests": found.requests, "seconds": time.process_time() - started, "peak_bytes": peak}
    print(msgspec.json.encode(told).decode())


def streams(requests: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A hundredth and all of so many requests, each in a process of its own."""
    lines, _ = cases()["signals"]
    outcomes = [_decode(line) for line in lines]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl.gz"
        with gzip.open(file, "wb", compresslevel=1) as out:
            for i, outcome in enumerate(itertools.islice(itertools.cycle(outcomes), requests)):
                out.write(_encode(replace(outcome, id=f"q{i}")) + b"\n")
        for count in (max(requests // 100, 1), requests):
            say(f"streaming {count:,} requests")
            program = f"from benchmarks.replaying import *; streamed(Path({str(file)!r}), {count})"
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)  # noqa: S603
            found.append(msgspec.json.decode(done.stdout))
    return found


def report(requests: int, rounds: int, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    """Measure, write both files, and the page."""
    some = min(requests, 20_000)
    made = {
        "command": f"python -m benchmarks replaying --requests {requests} --rounds {rounds}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "requests": some,
        "rounds": rounds,
        "wanted": WANTED,
        "cases": measure(some, rounds, say),
        "streams": streams(requests, say),
    }
    page = markdown(made)
    write(made, page, "replaying")
    return made, page


def markdown(made: dict[str, Any]) -> str:
    """The page ``replaying.md``."""
    on = made["machine"]
    lines = [
        "# Replay",
        "",
        f"`{made['command']}`, {made['date']}, {on['cpu']}, Python {on['python']}, load {on['load'][0]}: "
        f"{made['requests']:,} requests a case, CPU seconds on one core, medians of {made['rounds']} rounds. Wanted: "
        f"{made['wanted']:,} requests a second with recorded signals.",
        "",
        "| what is replayed | served without the last tier | requests a second | us a request | us to decode its line "
        "| times the decoding | a second, decoding included |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in made["cases"].items():
        us, floor = 1e6 * found["replay"], 1e6 * found["floor"]
        lines.append(
            f"| {CASES[name]} | {found['served_cheap']:.0%} | {1e6 / us:,.0f} | {us:.1f} | {floor:.1f} "
            f"| {us / floor:.1f} | {1 / found['both']:,.0f} |"
        )
    lines += ["", BOUND]
    lines += ["", "Streamed from a compressed file and gathered as `cascade replay` does:", ""]
    lines += ["| requests | a second | peak memory MB |", "|---:|---:|---:|"]
    for one in made["streams"]:
        rate, peak = one["requests"] / one["seconds"], one["peak_bytes"] / 2**20
        lines.append(f"| {one['requests']:,} | {rate:,.0f} | {peak:.0f} |")
    return "\n".join([*lines, ""])
