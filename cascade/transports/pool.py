"""Connections of the direct transport: one aiohttp session for each event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import ClientSession


class Sessions:
    """The session of the running loop, made when first asked for.

    A session belongs to its loop and holds on to it, so a weak dictionary by loop would keep both
    for ever; those whose loop is closed are dropped when the next one is made instead. A forked
    child runs a loop of its own, and so never touches its parent's sockets.
    """

    def __init__(self) -> None:
        self._by_loop: dict[asyncio.AbstractEventLoop, ClientSession] = {}

    def get(self) -> ClientSession:
        """The running loop's session."""
        loop = asyncio.get_running_loop()
        session = self._by_loop.get(loop)
        if session is None or session.closed:
            self._drop_dead()
            session = self._by_loop[loop] = _session()
        return session

    def _drop_dead(self) -> None:
        for loop, session in tuple(self._by_loop.items()):
            if loop.is_closed():
                # Closing would need the loop; detached, the session goes without complaint.
                session.detach()
                self._by_loop.pop(loop, None)

    async def close(self) -> None:
        """Close the running loop's connections; those of other loops can only be closed on theirs."""
        session = self._by_loop.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()


def _session() -> ClientSession:
    import aiohttp

    return aiohttp.ClientSession(
        # How many calls run at once is for the caller to say; a queue in here would eat the timeout.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        # The call's own timeout is set around all of it; aiohttp's connecting one would cut it short.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={"Content-Type": "application/json", "User-Agent": "cascade"},
    )
