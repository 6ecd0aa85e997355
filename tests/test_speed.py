"""What may never get slow: importing the package, an exact hit, and the gate on the way to an answer.

Held against CPU time, and against the best of many short rounds: a busy machine makes any one of
them slow, and a slow package all of them. A bar counts as reached by the first round that reaches it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.speed import bars, report
from benchmarks.speed.imports import STATEMENTS, Import, imported
from benchmarks.speed.rounds import environment, turn
from benchmarks.speed.setting import QUESTION, engine, messages
from benchmarks.speed.turns import Case, Timing, timed
from cascade.engine import IN_MEMORY, Cascade

PATIENCE = 5.0
REQUESTS = 200
REPEATED = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def costs() -> dict[str, Import]:
    """The cheapest of each import, of three in turn; the first, which compiles, is not counted."""
    env = environment()
    for statement in STATEMENTS:
        imported(statement, env)
    found = [{statement: imported(statement, env) for statement in STATEMENTS} for _ in range(3)]
    return {statement: min(costs[statement] for costs in found) for statement in STATEMENTS}


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(params=["in memory", "persisted"])
def cached(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Cascade, float]]:
    """An engine that has the answer, and the microseconds that giving it may take."""
    kept = request.param == "persisted"
    with engine(tmp_path if kept else IN_MEMORY) as cascade:
        cascade.completion(REPEATED, temperature=0)
        assert cascade.completion(REPEATED, temperature=0).cascade.served == "cached"
        yield cascade, 100.0 if kept else 30.0


def best(case: Case, loop: asyncio.AbstractEventLoop, measure: Callable[[Timing], float], bar: float) -> float:
    """The least of rounds that end when the bar is reached or patience is."""
    until = time.monotonic() + PATIENCE
    least = measure(timed(case, REQUESTS, loop))
    while least > bar and time.monotonic() < until:
        least = min(least, measure(timed(case, REQUESTS, loop)))
    return least


def test_importing_the_package_costs_at_most_two_of_pydantics(costs: dict[str, Import]) -> None:
    assert costs["import cascade"].cpu <= 2.0 * costs["import pydantic"].cpu


def test_importing_the_engine_stays_small_and_brings_nothing_heavy(costs: dict[str, Import]) -> None:
    engine = costs["from cascade import Cascade"]
    assert engine.rss < 50.0
    assert not engine.heavy
    # Half of it is pydantic's models, which the other statement loads too; numpy by mistake would make it 4.
    assert engine.cpu <= 3.0 * costs["from pydantic import BaseModel"].cpu


def test_an_exact_hit_is_answered_within_its_bar(
    cached: tuple[Cascade, float], loop: asyncio.AbstractEventLoop
) -> None:
    cascade, bar = cached
    spent = best(lambda: cascade.completion(REPEATED, temperature=0), loop, lambda timing: timing.thread, bar)
    assert spent <= bar


def test_an_exact_hit_for_asyncio_is_answered_within_its_bar(
    cached: tuple[Cascade, float], loop: asyncio.AbstractEventLoop
) -> None:
    cascade, bar = cached

    async def hit() -> None:
        await cascade.acompletion(REPEATED, temperature=0)

    assert best(hit, loop, lambda timing: timing.thread, bar) <= bar


@pytest.mark.parametrize("passes", ["accepted", "escalated"])
def test_the_gate_adds_less_than_a_millisecond_to_a_provider_that_answers_at_once(
    passes: str, tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    with engine(tmp_path, "accepted" if passes == "accepted" else "escalated") as cascade:

        async def ask() -> None:
            assert (await cascade.acompletion(messages())).cascade.served == passes

        assert best(ask, loop, lambda timing: timing.wall, 1000.0) < 1000.0


def test_a_bar_is_judged_round_by_round_and_what_is_missing_is_not_met() -> None:
    asked = (
        bars.Bar("a", "times", 2.0, "wall", "ours", "other"),
        bars.Bar("b", "faster", 3.0, "wall", "ours", "other"),
        bars.Bar("c", "more", 5.0, "wall", "ours", "other"),
        bars.Bar("d", "at most", 10.0, "wall", "ours"),
        bars.Bar("e", "times", 2.0, "wall", "ours", "nowhere"),
    )
    # The machine was three times as slow in the second round: the ratios do not see it.
    figures = {"ours": {"wall": [10.0, 30.0, 10.0]}, "other": {"wall": [20.0, 60.0, 20.0]}}
    found = bars.judge(figures, asked)
    assert [row.reached for row in found] == [0.5, 2.0, -10.0, 10.0, None]
    assert [row.met for row in found] == ["yes", "missed", "yes", "yes", "not measured"]


def test_a_bar_that_only_the_best_round_reaches_is_not_met() -> None:
    asked = (bars.Bar("a", "at most", 10.0, "wall", "ours"),)
    (found,) = bars.judge({"ours": {"wall": [9.0, 11.0, 12.0]}}, asked)
    assert (found.met, found.reached, found.best) == ("best round only", 11.0, 9.0)


def test_every_bar_has_a_row_on_the_page_and_a_missed_one_says_so() -> None:
    figures = {name: {"wall": [2.0], "thread": [1e9], "process": [1.0]} for name in ("hit in memory", "accepted")}
    judged = bars.judge(figures)
    found = report.Measured(figures, {"cascade-gate": "0"}, {"cascadeflow": "no network"})
    page = report.markdown(report.document(found, judged, 1, "command"), judged)
    assert page.count("\n| engine") == 4
    assert "**missed**" in page
    assert "Not measured: cascadeflow (no network)" in page


def test_the_length_of_a_turn_goes_by_the_beginning_of_a_cases_name() -> None:
    assert turn("litellm, plain") < turn("direct, plain") < turn("accepted") < turn("hit in memory")
