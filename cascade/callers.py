"""The caller's own code inside a flow: where it runs, and what its call site was last told.

Both call sites that keep the caller's code, a wrapped client and a wrapped function, stand on this.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

from cascade.asks import Call
from cascade.errors import CascadeError
from cascade.parts import Parts
from cascade.run import Rules, Run
from cascade.types import Decision, Draft, Message, Request

T = TypeVar("T")
Home = asyncio.AbstractEventLoop | None
"""The event loop that a caller's asynchronous code belongs to; None for synchronous code."""


class Engine(Protocol):
    """What a call site needs of a ``Cascade``."""

    parts: Parts

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        ...

    def request(self, messages: list[Message], *args: Any, **kwargs: Any) -> Request:
        """A request with an id of its own."""
        ...

    def run(self, request: Request, *, stream: bool = False, rules: Rules | None = None) -> Run:
        """A run of it."""
        ...

    def decision(self, request_id: str) -> Decision | None:
        """What the ledger knows of it."""
        ...


class Latest:
    """The latest request of one call site, as this context (thread, task) knows it.

    A context variable for each call site was the alternative: contexts never let go of one, and
    some programs make a client for every request.
    """

    __slots__ = ("__weakref__",)

    def get(self) -> Decision | str | None:
        """Its decision, or only its id while there is none or when it failed; None before the first."""
        return _latest.get().get(self)

    def set(self, value: Decision | str) -> None:
        """Remember it here, and in no context that was copied from this one before."""
        _latest.set(WeakKeyDictionary({**_latest.get(), self: value}))


_latest: ContextVar[WeakKeyDictionary[Latest, Decision | str]] = ContextVar(
    "cascade_latest",
    default=WeakKeyDictionary(),  # noqa: B039  never written to: every ``set`` makes a new one
)


class CallersCode(ABC):
    """A transport to code of the caller's own: it runs where the caller is, and nowhere else.

    ``raised`` is what it raised when it was last run, or None; the flow hears ``told`` of it.
    """

    def __init__(self, home: Home) -> None:
        self.raised: Exception | None = None
        self._home = home

    @abstractmethod
    def work(self, call: Call) -> Callable[[], Any]:
        """What to run for the call; returns its result, or an awaitable of it where there is a home."""

    @abstractmethod
    def drafted(self, call: Call, found: Any, latency: float) -> Draft:
        """The result, read. ``latency`` is in seconds."""

    @abstractmethod
    def told(self, call: Call, error: Exception) -> CascadeError:
        """What the flow is told of an exception."""

    def complete_here(self, call: Call) -> Draft:
        """The answer of synchronous code, in this thread."""
        self.raised, work, started = None, self.work(call), time.perf_counter()
        try:
            found = work()
        except Exception as error:
            raise self.failed(call, error) from error
        return self.drafted(call, found, time.perf_counter() - started)

    async def complete(self, call: Call) -> Draft:
        """The answer from wherever the code belongs; see ``at_home``."""
        self.raised, work, started = None, self.work(call), time.perf_counter()
        try:
            found = await at_home(work, self._home)
        except Exception as error:
            raise self.failed(call, error) from error
        return self.drafted(call, found, time.perf_counter() - started)

    def failed(self, call: Call, error: Exception) -> CascadeError:
        """Remember what was raised, and say it in the flow's words."""
        self.raised = error
        return self.told(call, error)

    async def close(self) -> None:  # noqa: B027  not abstract: what the code holds open is its owner's
        """Nothing to give back."""


async def at_home(work: Callable[[], Any], home: Home) -> Any:
    """The result of the caller's code, whichever loop asks for it (shadow work runs on another one).

    Asynchronous code runs on its own loop, whose connections and locks it holds; synchronous code in
    a thread of its own, since it would block this loop.
    """
    if home is None:
        async with aclosing(from_thread(lambda: [work()])) as found:
            return await anext(found)
    if home is asyncio.get_running_loop():
        return await work()
    if home.is_closed():
        raise RuntimeError("the event loop of the caller has ended")
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(work), home))


async def from_thread(start: Callable[[], Iterable[T]]) -> AsyncGenerator[T]:
    """Iterate synchronous code in a daemon thread and the caller's context.

    A pool was the alternative: it limits how many streams may be open at once, and holds up the end
    of the process until the last of them has ended.
    """
    loop, gone = asyncio.get_running_loop(), threading.Event()
    queue: asyncio.Queue[T | _End] = asyncio.Queue()

    def read() -> None:
        end, items = _End(None), None
        try:
            items = start()
            for item in items:
                if gone.is_set():
                    break
                loop.call_soon_threadsafe(queue.put_nowait, item)
        except BaseException as error:
            end = _End(error)
        finally:
            getattr(items, "close", lambda: None)()
            with suppress(RuntimeError):  # the loop has ended, so nobody waits any more
                loop.call_soon_threadsafe(queue.put_nowait, end)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(read,), name="cascade caller", daemon=True).start()
    try:
        while not isinstance(item := await queue.get(), _End):
            yield item
    finally:
        gone.set()
    if item.error is not None:
        raise item.error


class _End(NamedTuple):
    error: BaseException | None


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
