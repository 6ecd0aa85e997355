"""Connections of the direct transport: one aiohttp session for each event loop of each process."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import ClientSession


class Sessions:
    """The session of the running loop, made when first asked for.

    A session belongs to its loop and holds on to it, so a weak dictionary by loop would keep both
    for ever; those whose loop is closed are dropped when the next one is made instead.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._by_loop: dict[asyncio.AbstractEventLoop, ClientSession] = {}
        self._inherited: list[ClientSession] = []

    def get(self) -> ClientSession:
        """The running loop's session."""
        if self._process != os.getpid():
            self._leave_to_parent()
        loop = asyncio.get_running_loop()
        session = self._by_loop.get(loop)
        if session is None or session.closed:
            self._drop_dead()
            session = self._by_loop[loop] = _session()
        return session

    def _leave_to_parent(self) -> None:
        """After a fork the sockets are the parent's: neither used here nor shut down."""
        self._inherited += self._by_loop.values()
        self._by_loop = {}
        self._process = os.getpid()

    def _drop_dead(self) -> None:
        for loop in [loop for loop in self._by_loop if loop.is_closed()]:
            # Closing would need the loop; detached, the session goes without complaint.
            self._by_loop.pop(loop).detach()

    async def close(self) -> None:
        """Close the running loop's connections; those of other loops can only be closed on theirs."""
        session = self._by_loop.pop(asyncio.get_running_loop(), None)
        if session is not None and self._process == os.getpid():
            await session.close()


def _session() -> ClientSession:
    import aiohttp

    return aiohttp.ClientSession(
        # How many calls run at once is for the caller to say; a queue in here would eat the timeout.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={"Content-Type": "application/json", "User-Agent": "cascade"},
    )
