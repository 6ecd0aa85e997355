"""After a fork the child goes on with parts of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

from cascade.asks import Call
from cascade.engine import Cascade
from tests.building import policy_of, tier
from tests.test_engine import ASK, build, faked, text_of

__all__ = ["build"]


def in_child(work: Callable[[], bool]) -> bool:
    """Whether ``work`` comes out true in a forked child within five seconds."""
    child = os.fork()
    if not child:
        signal.alarm(5)
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_goes_on_with_parts_of_its_own(build: Callable[..., Cascade]) -> None:
    cascade = build()
    cascade.completion(ASK)
    assert in_child(lambda: cascade.completion(ASK).cascade.served == "accepted")
    assert cascade.completion(ASK).cascade.served == "accepted"


def test_a_forked_child_waits_for_nobody_in_its_parent() -> None:
    parent, started = os.getpid(), threading.Event()

    async def blocks(call: Call) -> str:
        started.set()
        await asyncio.sleep(2.0 if os.getpid() == parent else 0.0)
        return "four"

    cascade, _ = faked(blocks, policy_of(tier("frontier")))
    leader = threading.Thread(target=lambda: cascade.completion(ASK, temperature=0))
    leader.start()
    started.wait()
    assert in_child(lambda: text_of(cascade.completion(ASK, temperature=0)) == "four")
    leader.join()
