"""One event loop a process, in a daemon thread, for synchronous callers and for shadow work.

A loop for each call was the alternative: it cannot share connections. The
thread is a daemon with a portal of its own, because an executor's thread would be joined at exit
before anybody could stop it. A forked child starts a new one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")

_lock = threading.Lock()
_portal: BlockingPortal | None = None
_loop: asyncio.AbstractEventLoop | None = None


def portal() -> BlockingPortal:
    """The process's portal, started when first needed."""
    global _portal  # noqa: PLW0603  one a process is the point
    if _portal is None:
        with _lock:
            if _portal is None:
                _portal = _start()
    return _portal


def call(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run a coroutine function on the background loop and wait for its result."""
    under_way = start(work, *args)
    try:
        return under_way.result()
    except BaseException:  # an interrupted caller waits no longer, and neither does the work
        under_way.cancel()
        raise


def start(work: Callable[..., Awaitable[T]], *args: Any) -> Future[T]:
    """Run a coroutine function on the background loop without waiting; the future cancels it.

    Unlike the portal's own way this may be called from the loop itself: a stream that is read there
    sends its shadows off from there.
    """
    portal()
    assert _loop is not None
    return asyncio.run_coroutine_threadsafe(_awaited(work, *args), _loop)


def running() -> bool:
    """Whether the loop has been started in this process."""
    return _portal is not None


async def _awaited(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    return await work(*args)


def _start() -> BlockingPortal:
    import anyio
    from anyio.from_thread import BlockingPortal

    ready: Future[BlockingPortal] = Future()

    async def serve() -> None:
        global _loop  # noqa: PLW0603  as the portal
        _loop = asyncio.get_running_loop()
        async with BlockingPortal() as made:
            ready.set_result(made)
            await made.sleep_until_stopped()

    threading.Thread(target=anyio.run, args=(serve,), name="cascade", daemon=True).start()
    return ready.result()


def _forget() -> None:
    global _lock, _portal
    _lock, _portal = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)
