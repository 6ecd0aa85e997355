"""What a caller of the engine gets when models, disks, callers and the engine's own parts misbehave.

The caller gets the frontier's answer, or an error that says whose fault it was and what was billed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel

from cascade import background
from cascade.asks import Call
from cascade.engine import IN_MEMORY, Cascade
from cascade.errors import BudgetError, ConfigError, UpstreamError
from cascade.policy import Policy
from cascade.testing import FakeModels, draft
from cascade.types import Decision
from tests.building import lock_of, policy_of, tier
from tests.misbehaving import Server

assert aiohttp, "imported at the first call it takes half a second of that call's time limit"
ASK = [{"role": "user", "content": "what is two and two?"}]
UNUSABLE = [
    "timeout", "401", "429", "429-retry-after", "500", "redirect", "not-json", "no-choices", "error-200",
    "wrong-shape", "cut", "empty", "empty-length", "refusal", "filtered", "nowhere",
]  # fmt: skip
UNSERVABLE = ["length", "unsure", "nan-logprobs", "inf-logprobs", "short-logprobs", "impossible-logprobs"]


@pytest.fixture
def build(server: Server) -> Iterator[Callable[..., Cascade]]:
    """A cascade over the misbehaving server: ``cheap`` and ``frontier`` say how the two models behave."""
    built: list[Cascade] = []

    def make(cheap: str = "ok-logprobs", frontier: str = "ok", *, store: Path = IN_MEMORY, **more: Any) -> Cascade:
        parts = {name: more.pop(name) for name in ("checks", "embedder") if name in more}
        fallbacks = [place(server, "ok@backup")] if more.pop("backup", False) else []
        timeout = 0.3 if "timeout" in (cheap, frontier) else 10.0
        ladder = [
            {**tier("cheap", retries=0, timeout=timeout), **place(server, f"{cheap}@cheap")},
            {**tier("frontier", retries=0, timeout=timeout), **place(server, f"{frontier}@frontier")},
        ]
        ladder[1] |= {"fallbacks": fallbacks, "retries": more.pop("retries", 0)}
        policy = policy_of(*ladder, **more)
        built.append(Cascade(policy, lock_of(policy), store=store, **parts))
        return built[-1]

    yield make
    for cascade in built:
        cascade.close()
        background.call(cascade.parts.transport.close)


def place(server: Server, model: str) -> dict[str, Any]:
    return {"model": model, "base_url": server.url, "price": {"input": 1.0, "output": 2.0}}


def faked(answer: Callable[[Call], Any], policy: Policy | None = None) -> tuple[Cascade, FakeModels]:
    policy = policy or policy_of()
    models = FakeModels(answer)
    lock = lock_of(policy) if len(policy.tiers) > 1 else None
    return Cascade(policy, lock, transport=models, store=IN_MEMORY), models


def text_of(reply: Any) -> str:
    return str(reply.choices[0].message.content)


def test_a_sure_draft_of_the_cheap_tier_is_served(build: Callable[..., Cascade], server: Server) -> None:
    reply = build().completion(ASK)
    assert text_of(reply) == "two and two make four"
    assert (reply.cascade.served, reply.cascade.served_by) == ("accepted", "cheap")
    assert server.count("ok@frontier") == 0


@pytest.mark.parametrize("cheap", UNUSABLE + UNSERVABLE)
def test_whatever_the_cheap_tier_does_the_caller_gets_the_frontiers_answer(
    build: Callable[..., Cascade], cheap: str
) -> None:
    cascade = build(cheap)
    reply = cascade.completion(ASK)
    assert text_of(reply) == "four"
    decision = reply.cascade
    assert (decision.served, decision.served_by) == ("escalated", "frontier")
    assert [step.tier for step in decision.steps if step.kind == "call"] == ["cheap", "frontier"]
    assert cascade.decision(decision.id) == decision


@pytest.mark.parametrize("frontier", UNUSABLE)
def test_where_the_frontier_fails_its_fallback_answers(build: Callable[..., Cascade], frontier: str) -> None:
    reply = build("unsure", frontier, backup=True).completion(ASK)
    assert text_of(reply) == "four"
    assert reply.cascade.served == "failed over"


@pytest.mark.parametrize("frontier", [name for name in UNUSABLE if name not in ("refusal", "filtered")])
def test_without_a_fallback_the_error_says_whose_fault_it_is_and_what_was_billed(
    build: Callable[..., Cascade], frontier: str
) -> None:
    cascade = build("unsure", frontier)
    with pytest.raises(UpstreamError, match=r"billed for this request: 0\.00\d+ USD") as caught:
        cascade.completion(ASK)
    assert caught.value.provider
    assert caught.value.cost
    (kept,) = cascade.outcomes()
    assert kept.decision is not None
    assert kept.decision.served == "failed"


def test_a_limit_on_requests_is_waited_out_when_it_is_short(build: Callable[..., Cascade], server: Server) -> None:
    decision = build("unsure", "429-then-ok", retries=1).completion(ASK).cascade
    assert [(s.kind, s.outcome) for s in decision.steps][1:] == [("call", "error"), ("wait", "ok"), ("call", "ok")]


def test_an_unknown_model_is_named(build: Callable[..., Cascade]) -> None:
    with pytest.raises(UpstreamError, match="nowhere@frontier") as caught:
        build("unsure", "nowhere").completion(ASK)
    assert caught.value.status == 404


def test_an_unknown_price_is_the_users_to_mend_before_any_call() -> None:
    with pytest.raises(ConfigError, match="price"):
        Cascade(policy_of({"name": "frontier", "model": "never-heard-of"}), store=IN_MEMORY)


def test_a_missing_key_is_named_and_escalates_from_a_cheap_tier(server: Server) -> None:
    keyless = {"api_key_env": "CASCADE_TEST_NO_SUCH_KEY"}
    cheap = {**tier("cheap"), **place(server, "ok@cheap"), **keyless}
    ladder = [cheap, {**tier("frontier"), **place(server, "ok@frontier")}]
    policy = policy_of(*ladder)
    with Cascade(policy, lock_of(policy), store=IN_MEMORY) as cascade:
        assert cascade.completion(ASK).cascade.served_by == "frontier"
    with (
        Cascade(policy_of(*ladder[:1]), store=IN_MEMORY) as cascade,
        pytest.raises(ConfigError, match="CASCADE_TEST_NO_SUCH_KEY"),
    ):
        cascade.completion(ASK)


@pytest.mark.parametrize("odd", [None, "hello", [], {}, ["hello"], [{"content": "hello"}], [None], ({"role": "user"},)])
def test_messages_that_are_not_messages_are_refused_before_any_call(odd: Any) -> None:
    cascade, models = faked(lambda call: "four")
    with pytest.raises(ConfigError, match="messages"):
        cascade.completion(odd)
    assert not models.calls
    assert not list(cascade.outcomes())


def test_two_hundred_at_once_get_each_its_own_answer(build: Callable[..., Cascade]) -> None:
    cascade = build("unsure", "echo", cache={"enabled": False})

    async def all_of_them() -> list[Any]:
        asks = [[{"role": "user", "content": f"nonce {i}"}] for i in range(200)]
        try:
            return await asyncio.gather(*(cascade.acompletion(ask) for ask in asks))
        finally:
            await cascade.parts.transport.close()

    replies = asyncio.run(all_of_them())
    assert [text_of(reply) for reply in replies] == [f"nonce {i}" for i in range(200)]
    assert len({reply.cascade.id for reply in replies}) == 200


def test_threads_share_one_cascade(build: Callable[..., Cascade]) -> None:
    cascade = build("unsure", "echo")
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda i: text_of(cascade.completion([{"role": "user", "content": f"n{i}"}])), range(64)))
    assert said == [f"n{i}" for i in range(64)]
    assert len(list(cascade.outcomes())) == 64


def test_identical_requests_under_way_are_asked_once(server: Server, build: Callable[..., Cascade]) -> None:
    cascade = build("unsure", "slow-drip")

    async def hundred() -> list[Any]:
        try:
            return await asyncio.gather(*(cascade.acompletion(ASK, temperature=0) for _ in range(100)))
        finally:
            await cascade.parts.transport.close()

    replies = asyncio.run(hundred())
    assert server.count("unsure@cheap") == server.count("slow-drip@frontier") == 1
    assert sorted({reply.cascade.served for reply in replies}) == ["cached", "escalated"]
    assert len({reply.cascade.id for reply in replies}) == 100


class Answered(BaseModel):
    """An answer in the provider's own class, one object for all who wait for it."""

    choices: list[Any] = []


Answered.__module__ = "litellm.types"


def test_callers_who_share_an_answer_keep_their_own_decisions() -> None:
    async def slow(call: Call) -> Any:
        await asyncio.sleep(0.05)
        return draft(call, "four", raw=Answered())

    cascade, _ = faked(slow, policy_of(tier("frontier")))

    async def some() -> list[Any]:
        return await asyncio.gather(*(cascade.acompletion(ASK, temperature=0) for _ in range(5)))

    assert len({reply.cascade.id for reply in asyncio.run(some())}) == 5


@pytest.mark.parametrize("params", [{"response_format": object()}, {"seed": 2**70}, {"extra": {1: 2, "a": 3}}])
def test_a_request_that_cannot_be_written_down_for_the_cache_is_answered(params: dict[str, Any]) -> None:
    cascade, _ = faked(lambda call: "four", policy_of(tier("frontier")))
    assert text_of(cascade.completion(ASK, temperature=0, **params)) == "four"


def test_a_caller_who_is_cancelled_leaves_a_record_of_what_was_under_way(
    build: Callable[..., Cascade], server: Server
) -> None:
    cascade = build("timeout")

    async def leave() -> None:
        task = asyncio.ensure_future(cascade.acompletion(ASK))
        await asyncio.to_thread(server.wait_for_call, "timeout@cheap")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cascade.parts.transport.close()

    asyncio.run(leave())
    assert server.wait_for_drop("timeout@cheap")
    (kept,) = cascade.outcomes()
    assert kept.decision is not None
    assert kept.decision.served == "failed"
    (step,) = kept.decision.steps
    assert (step.tier, step.outcome, step.billed) == ("cheap", "error", None)


def test_one_of_two_callers_who_wait_for_the_same_answer_may_leave() -> None:
    async def slow(call: Call) -> str:
        await asyncio.sleep(0.1)
        return "four"

    cascade, models = faked(slow, policy_of(tier("frontier")))

    async def two() -> Any:
        first = asyncio.ensure_future(cascade.acompletion(ASK, temperature=0))
        second = asyncio.ensure_future(cascade.acompletion(ASK, temperature=0))
        await asyncio.sleep(0.02)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        return await first

    assert text_of(asyncio.run(two())) == "four"
    assert len(models.calls) == 1
    assert len(list(cascade.outcomes())) == 2


def test_observing_never_changes_an_answer_and_ends_before_close_returns(
    build: Callable[..., Cascade], server: Server
) -> None:
    cascade = build(mode="observe")
    reply = cascade.completion(ASK)
    cascade.close()
    assert (text_of(reply), reply.cascade.served_by, reply.cascade.mode) == ("four", "frontier", "observe")
    assert server.count("ok-logprobs@cheap") == 1
    assert {step.tier for step in reply.cascade.steps} == {"frontier"}
    outcome = cascade.ledger.get(reply.cascade.id)
    assert outcome is not None
    assert sorted(outcome.models) == ["cheap", "frontier"]


def test_what_the_caller_does_to_its_list_afterwards_reaches_no_shadow() -> None:
    cascade, models = faked(lambda call: "four", policy_of(mode="observe"))
    conversation = list(ASK)
    cascade.completion(conversation)
    conversation.append({"role": "assistant", "content": "four"})
    cascade.close()
    assert [len(call.messages) for call in models.calls] == [1, 1]


def test_a_shadow_that_outlasts_closing_is_cancelled_and_its_record_is_kept() -> None:
    async def hangs(call: Call) -> str:
        if call.tier == "cheap":
            await asyncio.sleep(60)
        return "four"

    cascade, _ = faked(hangs, policy_of(mode="observe"))
    decision = cascade.completion(ASK).cascade
    cascade.close(timeout=0.1)
    outcome = cascade.ledger.get(f"{decision.id}.shadow")
    assert outcome is not None
    kept = [o for o in cascade.ledger.outcomes() if o.id == decision.id]
    assert kept


def test_a_partial_roll_out_serves_cheap_only_inside(build: Callable[..., Cascade]) -> None:
    cascade = build(rollout=50.0, cache={"enabled": False})
    decisions: list[Decision] = [cascade.completion(ASK).cascade for _ in range(40)]
    assert {d.mode for d in decisions} == {"observe", "enforce"}
    assert all((d.served_by == "cheap") == (d.mode == "enforce") for d in decisions)


def test_a_deadline_ends_the_request(build: Callable[..., Cascade]) -> None:
    cascade = build("timeout", "timeout", budget={"deadline_s": 0.2})
    with pytest.raises((BudgetError, UpstreamError)):
        cascade.completion(ASK)
    (kept,) = cascade.outcomes()
    assert kept.decision is not None
    assert sum(step.latency for step in kept.decision.steps) < 0.35


def test_an_embedder_that_throws_leaves_the_slice_unknown_and_the_request_answered(
    build: Callable[..., Cascade],
) -> None:
    class Once:
        name, dimensions, calls = "once", 2, 0

        def embed(self, texts: list[str]) -> Any:
            import numpy as np

            self.calls += 1
            if self.calls > 2:
                raise RuntimeError("no vectors today")
            return np.eye(2)[[self.calls - 1] * len(texts)]

    slices = {name: {"examples": ["one", "two"]} for name in ("a", "b")}
    cascade = build(slices=slices, embedder=Once())
    assert cascade.completion(ASK).cascade.served_by == "frontier"
    assert cascade.parts.faults["embedder: RuntimeError"] == 1


def test_garbage_where_the_cache_should_be_costs_a_miss(build: Callable[..., Cascade], tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "cache.db").write_bytes(b"garbage" * 1000)
    cascade = build(store=tmp_path)
    assert cascade.completion(ASK, temperature=0).cascade.served == "accepted"
    assert cascade.completion(ASK, temperature=0).cascade.served in ("cached", "accepted")


def test_a_ledger_that_cannot_be_written_flags_the_decision_and_answers(
    build: Callable[..., Cascade], tmp_path: Path
) -> None:
    cascade = build(store=tmp_path)
    (tmp_path / "spool").write_bytes(b"in the way")
    reply = cascade.completion(ASK)
    assert text_of(reply) == "two and two make four"
    assert "unrecorded" in reply.cascade.flags
    (tmp_path / "spool").unlink()


def test_a_ledger_locked_by_another_process_delays_no_answer_and_loses_nothing(
    build: Callable[..., Cascade], tmp_path: Path
) -> None:
    cascade = build(store=tmp_path)
    cascade.completion(ASK)
    list(cascade.outcomes())
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    decision = cascade.completion(ASK).cascade
    other.execute("ROLLBACK")
    other.close()
    assert "unrecorded" not in decision.flags
    assert cascade.decision(decision.id) == decision


def test_closing_gives_the_connections_back(server: Server) -> None:
    policy = policy_of({**tier("frontier"), **place(server, "ok@frontier")})
    with Cascade(policy, store=IN_MEMORY) as cascade:
        cascade.completion(ASK)
    sessions: Any = cascade.parts.transport
    assert not sessions._direct._sessions._by_loop
