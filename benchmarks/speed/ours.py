"""The worker for this package and for the floors under it: ``python -m benchmarks.speed.ours ADDRESS``.

The floors (raw aiohttp, sync httpx) run in this very process, since a ratio to another process's
floor would be a ratio of two allocators as well.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import httpx

from benchmarks.speed import turns
from benchmarks.speed.setting import QUESTION, engine, messages
from cascade.cache import Cache
from cascade.engine import IN_MEMORY, Cascade
from cascade.replies import reply
from cascade.types import Answer

REPEATED = [{"role": "user", "content": QUESTION}]
BODIES = {"plain": "text", "logprobs": "logprobs+text"}
"""What the stub sends, and the signal set that a gate can then read."""


def gate_cases(store: Path) -> dict[str, turns.Case]:
    """Engine alone, its ledger on disk; ``provider`` is the fake provider and nothing else."""
    accepts, escalates = engine(store / "accepted"), engine(store / "escalated", "escalated")
    _expect(accepts.completion(messages()), "accepted")
    _expect(escalates.completion(messages()), "escalated")
    request = accepts.request(messages())
    tier = accepts.policy.tiers[0]
    call = accepts.run(request).call(tier, tier, "whole")

    async def provider() -> Any:
        return await accepts.parts.transport.complete(call)

    return {
        "accepted": _asynchronous(accepts),
        "accepted, sync": _synchronous(accepts),
        "escalated": _asynchronous(escalates),
        "provider": provider,
    }


def hit_cases(store: Path) -> dict[str, turns.Case]:
    """Exact hits, the whole path: in memory, persisted behind its front, and read from disk."""
    memory, kept = engine(IN_MEMORY), engine(store / "hits")
    for each in (memory, kept):
        each.completion(REPEATED, temperature=0)
        _expect(each.completion(REPEATED, temperature=0), "cached")

    def from_disk() -> Any:
        _forget_front(kept)
        return kept.completion(REPEATED, temperature=0)

    return {
        "hit in memory": lambda: memory.completion(REPEATED, temperature=0),
        "hit in memory, async": _asynchronous(memory, repeated=True),
        "hit persisted": lambda: kept.completion(REPEATED, temperature=0),
        "hit persisted, async": _asynchronous(kept, repeated=True),
        "hit persisted, off the disk": from_disk,
        **_hit_parts(memory, kept),
    }


def _hit_parts(memory: Cascade, kept: Cascade) -> dict[str, turns.Case]:
    """What a hit is made of, each by itself."""
    request = kept.request(REPEATED, params={"temperature": 0})
    cache, decided = kept.parts.cache, kept.completion(REPEATED, temperature=0).cascade
    assert cache is not None
    hit = cache.lookup(request)
    assert hit is not None
    answer, run = Answer(draft=hit.draft, decision=decided), kept.run(request)
    outcome = run.outcome(decided)

    def from_disk() -> Any:
        _forget_front(kept)
        return cache.lookup(request)

    return {
        "part: request": lambda: kept.request(REPEATED, params={"temperature": 0}),
        "part: plan": lambda: kept.run(request),
        "part: key": lambda: cache.key(request),
        "part: look-up": lambda: cache.lookup(request),
        "part: look-up off the disk": from_disk,
        "part: ledger in memory": lambda: memory.ledger.append(outcome),
        "part: ledger on disk": lambda: kept.ledger.append(outcome),
        "part: reply": lambda: reply(answer),
    }


def server_cases(store: Path, address: str, loop: asyncio.AbstractEventLoop) -> dict[str, turns.Case]:
    """Direct transport and engine against the stub, beside the bare clients."""
    session = loop.run_until_complete(_session())
    client = httpx.Client()
    cases: dict[str, turns.Case] = {}
    for body, signals in BODIES.items():
        base = f"{address}/{body}/v1"
        cascade = engine(store / body, base_url=base, signals=signals)
        _expect(cascade.completion(messages()), "accepted")
        cases |= {
            f"direct, {body}": _asynchronous(cascade),
            f"direct, {body}, sync": _synchronous(cascade),
            f"aiohttp, {body}": _aiohttp(session, base, body),
            f"httpx, {body}, sync": _httpx(client, base, body),
        }
    return cases


def _forget_front(cascade: Cascade) -> None:
    """Make the next hit the first one of a process, which finds its row on the disk only."""
    assert isinstance(cascade.parts.cache, Cache)
    cascade.parts.cache._front.clear()


def _asynchronous(cascade: Cascade, repeated: bool = False) -> Callable[[], Awaitable[Any]]:
    if repeated:

        async def hit() -> Any:
            return await cascade.acompletion(REPEATED, temperature=0)

        return hit

    async def ask() -> Any:
        return await cascade.acompletion(messages())

    return ask


def _synchronous(cascade: Cascade) -> turns.Case:
    return lambda: cascade.completion(messages())


def _aiohttp(session: aiohttp.ClientSession, base: str, body: str) -> Callable[[], Awaitable[Any]]:
    async def ask() -> Any:
        async with session.post(f"{base}/chat/completions", json=_payload(body)) as response:
            return await response.json()

    return ask


def _httpx(client: httpx.Client, base: str, body: str) -> turns.Case:
    return lambda: client.post(f"{base}/chat/completions", json=_payload(body)).json()


def _expect(answer: Any, served: str) -> None:
    made = answer.cascade
    if made.served != served:
        raise RuntimeError(f"{made.served} instead of {served}: {made.why}")


def _payload(body: str) -> dict[str, Any]:
    return {"model": "small", "messages": messages()} | ({"logprobs": True} if body == "logprobs" else {})


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


def main(address: str) -> None:
    """Serve every case until told to stop."""
    logging.disable(logging.WARNING)
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        cases = gate_cases(store) | hit_cases(store) | server_cases(store, address, loop)
        about = {name: version(name) for name in ("cascade-gate", "aiohttp", "httpx", "pydantic")}
        turns.serve(cases, about, loop)


if __name__ == "__main__":
    main(sys.argv[1])
