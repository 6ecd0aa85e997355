"""Ask two real models every question of the project and keep what they answered.

    python -m benchmarks.record --weights DIR [--limit N] [--only main|draws]
    python -m benchmarks.record --summary

Three tiers: the small model as it is, the same model under a better prompt, and the larger model. One worker and one
thread for each model. A run that was stopped goes on where it was: finished answers wait in a work file.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import aiohttp
import msgspec

from cascade.judging.gold import matches
from cascade.local import Served, serve, weights
from cascade.policyfile import load_policy
from cascade.types import CACHE

from .questions import Question, fingerprint, questions

RECORDINGS = Path(__file__).parent / "recordings"
POLICY = Path(__file__).parent.parent / "policies" / "demo.toml"
MOST_TOKENS = {"main": 256, "draws": 64}
TOP = 5
DRAWS = 5
DRAWN = 200

Kind = Literal["main", "draws"]


class Price(NamedTuple):
    """Dollars for a million tokens in and out."""

    into: float
    out: float


class Tier(NamedTuple):
    """One way to ask: a model, and the hosted model that it stands in for."""

    name: str
    model: Literal["cheap", "frontier"]
    price: Price
    guided: bool = False


SMALL, LARGE = Price(0.75, 4.50), Price(5.0, 30.0)  # gpt-5.4-mini, gpt-5.5
TIERS = (
    Tier("cheap", "cheap", SMALL),
    Tier("cheap-guided", "cheap", SMALL, guided=True),
    Tier("frontier", "frontier", LARGE),
)


class Sample(msgspec.Struct, frozen=True):
    """One draw at temperature 1."""

    answer: str
    correct: int


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tier made of a question. The beginning that a prompt shares with the one before comes out of llama.cpp's
    cache, as `cached_prompt_tokens` says; `latency_ms` is of a machine that did other work too, `cpu_ms` is not."""

    answer: str
    correct: int
    finish_reason: str
    logprobs: list[float]
    top_logprobs: list[list[float]]
    prompt_tokens: int
    completion_tokens: int
    cost: float
    latency_ms: float
    cpu_ms: float
    cached_prompt_tokens: int = 0


class Drawn(msgspec.Struct, frozen=True):
    """Several draws of one tier."""

    samples: list[Sample]


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a work file: one tier's answer, or draws, to one question."""

    id: str
    tier: str
    answer: Answer | None = None
    drawn: Drawn | None = None


class Job(NamedTuple):
    """One thing to ask of a server."""

    question: Question
    tier: Tier


@cache
def better_prompts() -> dict[str, str]:
    """The better prompt of every slice, as the demo's policy has it."""
    return load_policy(POLICY).tier("cheap-guided").prompts


def cost(price: Price, prompt_tokens: int, completion_tokens: int) -> float:
    """Dollars for one call, cached tokens not discounted."""
    return round((price.into * prompt_tokens + price.out * completion_tokens) / 1e6, 10)


def body(job: Job, kind: Kind, draw: int) -> dict[str, Any]:
    """The request, as OpenAI's dialect has it."""
    question = job.question
    system = better_prompts()[question.slice] if job.tier.guided else question.system
    asked = {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": question.query}],
        "max_tokens": MOST_TOKENS[kind],
    }
    if kind == "main":
        return {**asked, "temperature": 0, "logprobs": True, "top_logprobs": TOP}
    whole = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}  # the model's own distribution, not a trimmed one
    return {**asked, **whole, "temperature": 1.0, "seed": int(fingerprint(f"{question.id} {draw}"), 16)}


class Timed(NamedTuple):
    """A reply with what it took."""

    reply: dict[str, Any]
    latency_ms: float
    cpu_ms: float


class Server(NamedTuple):
    """One model, and the connection that is kept to it."""

    session: aiohttp.ClientSession
    served: Served

    async def complete(self, request: dict[str, Any]) -> Timed:
        """Ask, and time it by the clock and by the server's own CPU time: nobody else asks meanwhile."""
        spent, began = self.served.cpu_seconds(), time.perf_counter()
        async with self.session.post(f"{self.served.url}/chat/completions", json=request) as response:
            response.raise_for_status()
            reply: dict[str, Any] = msgspec.json.decode(await response.read())
        took = time.perf_counter() - began
        return Timed(reply, took * 1000, (self.served.cpu_seconds() - spent) * 1000)


def read(timed: Timed, job: Job) -> Answer:
    """What is kept of a reply."""
    (first,), usage = timed.reply["choices"], timed.reply["usage"]
    tokens = (first.get("logprobs") or {}).get("content") or []
    text = first["message"]["content"] or ""
    into, out = usage["prompt_tokens"], usage["completion_tokens"]
    return Answer(
        answer=text,
        correct=int(matches(job.question.match, text, job.question.reference)),
        finish_reason=first["finish_reason"],
        logprobs=[round(token["logprob"], 4) for token in tokens],
        top_logprobs=[[round(top["logprob"], 3) for top in token["top_logprobs"]] for token in tokens],
        prompt_tokens=into,
        completion_tokens=out,
        cost=cost(job.tier.price, into, out),
        latency_ms=round(timed.latency_ms, 1),
        cpu_ms=round(timed.cpu_ms, 1),
        cached_prompt_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
    )


async def answered(server: Server, job: Job) -> Answer:
    """One answer at temperature 0."""
    return read(await server.complete(body(job, "main", 0)), job)


async def drawn(server: Server, job: Job) -> Drawn:
    """Several answers at temperature 1."""
    replies = [read(await server.complete(body(job, "draws", draw)), job) for draw in range(DRAWS)]
    return Drawn([Sample(reply.answer, reply.correct) for reply in replies])


def jobs(kind: Kind, model: str, limit: int | None) -> Iterator[Job]:
    """What one server is asked, slice by slice, so that prompts share their beginning with the one before."""
    chosen = questions() if kind == "main" else drawable()
    for tier in TIERS:
        if tier.model != model or (kind == "draws" and tier.guided):
            continue
        counts: dict[str, int] = {}
        for question in chosen:
            counts[question.slice] = counts.get(question.slice, 0) + 1
            if limit is None or counts[question.slice] <= limit:
                yield Job(question, tier)


def drawable() -> tuple[Question, ...]:
    """Test questions for the draws, as many of each slice as an even spread allows."""
    slices: dict[str, list[Question]] = {}
    for question in sorted(questions(), key=lambda one: fingerprint(f"draw {one.id}")):
        if question.split == "test" and question.paraphrase_of is None:
            slices.setdefault(question.slice, []).append(question)
    each = DRAWN // len(slices)
    return tuple(question for held in slices.values() for question in held[:each])


def finished(work: Path) -> dict[tuple[str, str], Entry]:
    """The entries of a work file; a line that was cut by a kill is not one."""
    entries: dict[tuple[str, str], Entry] = {}
    for line in work.read_bytes().splitlines() if work.exists() else ():
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except msgspec.DecodeError:
            continue
        entries[entry.id, entry.tier] = entry
    return entries


async def work_off(served: Served, todo: Sequence[Job], kind: Kind, work: Path) -> None:
    """Put one server's jobs to it, one after the other, each answer safe in the work file before the next."""
    limit = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=limit) as session:
        server = Server(session, served)
        with work.open("ab", buffering=0) as out:
            for place, job in enumerate(todo, 1):
                if kind == "main":
                    entry = Entry(job.question.id, job.tier.name, answer=await answered(server, job))
                else:
                    entry = Entry(job.question.id, job.tier.name, drawn=await drawn(server, job))
                out.write(msgspec.json.encode(entry) + b"\n")
                if place % 50 == 0 or place == len(todo):
                    print(f"{time.strftime('%H:%M:%S')} {kind} {job.tier.name}: {place} of {len(todo)}", flush=True)


async def ask_all(servers: dict[str, Served], kind: Kind, limit: int | None, work: Path) -> None:
    """Both servers at once, each through what is not in the work file yet."""
    done = finished(work)
    todo = {
        model: [job for job in jobs(kind, model, limit) if (job.question.id, job.tier.name) not in done]
        for model in servers
    }
    await asyncio.gather(*(work_off(served, todo[model], kind, work) for model, served in servers.items()))


def pack(kind: Kind, work: Path, target: Path) -> int:
    """Join questions and answers into one compressed file that is the same for the same answers; says how many."""
    found: defaultdict[str, dict[str, Answer | Drawn | None]] = defaultdict(dict)
    for entry in finished(work).values():
        found[entry.id][entry.tier] = entry.answer if kind == "main" else entry.drawn
    rows = [
        {**msgspec.to_builtins(question), "models": dict(sorted(found[question.id].items()))}
        for question in sorted(questions(), key=lambda one: one.id)
        if question.id in found
    ]
    text = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    target.write_bytes(gzip.compress(text, 9, mtime=0))
    return len(rows)


class Recorded(Question, frozen=True, omit_defaults=True, kw_only=True):
    """A question with what every tier answered."""

    models: dict[str, Answer]


class Redrawn(Question, frozen=True, omit_defaults=True, kw_only=True):
    """A question with several draws of two tiers."""

    models: dict[str, Drawn]


def recorded(path: Path = RECORDINGS / "demo.jsonl.gz") -> list[Recorded]:
    """The recorded answers."""
    lines = [msgspec.json.decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for line in lines:
        line["models"].pop(CACHE, None)  # nobody was asked for that one; see benchmarks.stored
    return [msgspec.convert(line, Recorded) for line in lines]


def redrawn(path: Path = RECORDINGS / "draws.jsonl.gz") -> list[Redrawn]:
    """The recorded draws."""
    return [msgspec.json.decode(line, type=Redrawn) for line in gzip.decompress(path.read_bytes()).splitlines()]


def auroc(scores: Sequence[float], right: Sequence[int]) -> float | None:
    """How often a right answer scores above a wrong one, ties counting half; nothing where one kind is absent.

    >>> auroc([0.9, 0.8, 0.8, 0.1], [1, 1, 0, 0])
    0.875
    """
    good = [score for score, kind in zip(scores, right, strict=True) if kind]
    bad = [score for score, kind in zip(scores, right, strict=True) if not kind]
    if not good or not bad:
        return None
    wins = sum((one > other) + 0.5 * (one == other) for one in good for other in bad)
    return wins / (len(good) * len(bad))


def cells(rows: Sequence[Recorded]) -> Iterator[str]:
    """Of every tier: share right and, in brackets, the AUROC of the mean log-probability."""
    for tier in TIERS:
        answers = [row.models[tier.name] for row in rows]
        means = [sum(one.logprobs) / len(one.logprobs) if one.logprobs else 0.0 for one in answers]
        right = [one.correct for one in answers]
        area = auroc(means, right)
        yield f"{sum(right) / len(right):.2f} ({'  - ' if area is None else f'{area:.2f}'})"


def both(rows: Sequence[Recorded]) -> str:
    """What the better prompt mends and what it breaks, beside the plain one of the same model."""
    pairs = [(row.models["cheap"].correct, row.models["cheap-guided"].correct) for row in rows]
    return f"+{pairs.count((0, 1))} -{pairs.count((1, 0))}"


def summary(rows: Sequence[Recorded]) -> str:
    """A Markdown table: share right (AUROC) of each slice and tier, and what the better prompt mends and breaks."""
    slices: defaultdict[str, list[Recorded]] = defaultdict(list)
    for row in rows:
        slices[row.slice].append(row)
    names = " | ".join(tier.name for tier in TIERS)
    lines = [f"| slice | questions | {names} | guided mends, breaks |", "|---|--:|" + "--:|" * (len(TIERS) + 1)]
    for name, held in [*sorted(slices.items()), ("all", list(rows))]:
        lines.append(f"| {name} | {len(held)} | {' | '.join(cells(held))} | {both(held)} |")
    for tier in TIERS:
        answers = [row.models[tier.name] for row in rows]
        dollars, seconds = sum(one.cost for one in answers), sum(one.cpu_ms for one in answers) / 1000
        lines.append(f"\n{tier.name}: {dollars:.4f} dollars, {seconds:,.0f} CPU seconds.")
    return "\n".join(lines)


def record(directory: Path, kinds: Sequence[Kind], limit: int | None, target: Path) -> None:
    """Start both models, ask what is still to ask, and write the recordings."""
    ladder = weights(directory)
    with serve(ladder.cheap) as cheap, serve(ladder.frontier) as frontier:
        for kind in kinds:
            work = directory / f"{kind}.work.jsonl"
            asyncio.run(ask_all({"cheap": cheap, "frontier": frontier}, kind, limit, work))
    for kind in kinds:
        name = "demo" if kind == "main" else "draws"
        print(pack(kind, directory / f"{kind}.work.jsonl", target / f"{name}.jsonl.gz"), name)


def main() -> None:
    """Record, or print the table of what was recorded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.add_argument("--weights", type=Path, help="folder of the model files; the work files go there too")
    parser.add_argument("--limit", type=int, help="this many questions of each slice only")
    parser.add_argument("--only", choices=("main", "draws"))
    parser.add_argument("--into", type=Path, default=RECORDINGS, help="where the recordings are written")
    parser.add_argument("--summary", action="store_true", help="print the table of the recordings and stop")
    given = parser.parse_args()
    if given.summary:
        print(summary(recorded(given.into / "demo.jsonl.gz")))
        return
    if given.weights is None:
        parser.error("--weights DIR says where the model files are")
    kinds: tuple[Kind, ...] = (given.only,) if given.only else ("main", "draws")
    record(given.weights, kinds, given.limit, given.into)


if __name__ == "__main__":
    main()
