"""One call of a wrapped client: from its arguments to an answer in the client's own type."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from cascade.callers import Engine, Home, Latest
from cascade.client.dialect import OURS, Dialect, given
from cascade.client.streams import AsyncStream, Stream
from cascade.client.through import ThroughClient
from cascade.drivers import drive, drive_stream, drive_sync
from cascade.errors import UpstreamError
from cascade.flow import answer
from cascade.parts import Parts
from cascade.run import Run
from cascade.streams import AsyncReplies, Replies
from cascade.types import Answer, Decision


class Defaults(NamedTuple):
    """What a call has of ours that names none of its own."""

    slice: str | None = None
    tenant: str = ""
    metadata: dict[str, str] = {}
    stakes: str | None = None


class _Calls:
    """What the calls of one wrapped client share."""

    def __init__(self, cascade: Engine, dialect: Dialect, defaults: Defaults) -> None:
        self._cascade = cascade
        self._dialect = dialect
        self._defaults = defaults
        self._latest = Latest()
        self._silent: set[str] = set()

    def last(self) -> Decision | None:
        """The decision of the latest call in this context (thread, task); None before the first.

        That of a streamed call is there once the stream has ended; that of a call that failed, or of a
        stream that was left, is looked up in the ledger.
        """
        found = self._latest.get()
        return self._cascade.decision(found) if isinstance(found, str) else found

    def _begin(self, client: Any, arguments: dict[str, Any], home: Home) -> _Call:
        found = given(arguments)
        asked = self._dialect.asked(found.own)
        ours = {name: found.ours.get(name, getattr(self._defaults, name)) for name in OURS}
        ours["metadata"] = self._defaults.metadata | (found.ours.get("metadata") or {})
        request = self._cascade.request(asked.messages, params=asked.params, **ours)
        self._latest.set(request.id)
        parts = self._cascade.parts
        through = ThroughClient(
            client, self._dialect, found, asked, rest=parts.transport, silent=self._silent, home=home
        )
        # What is not in the request (a header that changes the answer) cannot be in the cache's key.
        known = asked.whole and found.options.keys() <= {"timeout"}
        run = self._cascade.run(request, stream=found.stream)
        writer = self._dialect.writer(found, request.id) if found.stream else None
        return _Call(run, parts.through(through, parts.cache if known else None), through, writer)

    def _end(self, found: Answer | float) -> Any:
        assert isinstance(found, Answer)
        self._latest.set(found.decision)
        # What the cache or another call under way brought may be somebody else's object.
        fresh = found.decision.served != "cached"
        return self._dialect.built(found.draft, found.decision.id, fresh=fresh)


class _Call(NamedTuple):
    run: Run
    parts: Parts
    through: ThroughClient
    writer: Any

    def explain(self, error: UpstreamError) -> None:
        """Say that it comes from the client's own error, where that was the last word."""
        error.__cause__ = self.through.raised


class Calls(_Calls):
    """Those of a synchronous client."""

    def through(self, client: Any) -> Callable[..., Any]:
        """The client's method, cascaded."""
        return functools.partial(self._create, client)

    def _create(self, client: Any, **arguments: Any) -> Any:
        call = self._begin(client, arguments, None)
        if call.run.stream:
            replies = Replies(drive_stream(answer(call.run), call.parts))
            return Stream(replies, call.writer, self._latest.set, call.explain)
        try:
            return self._end(drive_sync(answer(call.run), call.parts))
        except UpstreamError as error:
            call.explain(error)
            raise


class AsyncCalls(_Calls):
    """Those of an asynchronous client."""

    def through(self, client: Any) -> Callable[..., Any]:
        """The client's method, cascaded."""

        async def create(**arguments: Any) -> Any:
            return await self._create(client, **arguments)

        return create

    async def _create(self, client: Any, **arguments: Any) -> Any:
        call = self._begin(client, arguments, asyncio.get_running_loop())
        if call.run.stream:
            replies = AsyncReplies(drive_stream(answer(call.run), call.parts))
            return AsyncStream(replies, call.writer, self._latest.set, call.explain)
        try:
            return self._end(await drive(answer(call.run), call.parts))
        except UpstreamError as error:
            call.explain(error)
            raise
