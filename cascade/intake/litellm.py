"""LiteLLM's spend logs: one row a call, and calls that ask the same of several models one outcome.

Only what an outcome needs is kept. Keys, their hashes, addresses and what else the log holds is
passed over, and an end user becomes a hash.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.intake.calls import Call, call_of
from cascade.intake.choice import field_at
from cascade.intake.findings import Fault, Found, Row
from cascade.types import Outcome

TWICE = "a request_id that an earlier row has"
JOINED = "a call with the messages of an earlier row is joined to it"
FREE = "a call that cost nothing: its model is free, or LiteLLM knows no price for it"
UNKEPT = "columns of the log that are not kept"

NEEDED = ("request_id", "model", "spend", "startTime")
_SECRET = frozenset({"api_key", "user_api_key", "user_api_key_hash"})
_READ = frozenset({
    *NEEDED, "call_type", "model_group", "prompt_tokens", "completion_tokens", "endTime", "request_duration_ms",
    "cache_hit", "status", "messages", "response", "proxy_server_request", "metadata", "team_id", "end_user",
    "session_id",
})  # fmt: skip


def is_log(header: Sequence[str]) -> bool:
    """Whether these are columns of a spend log."""
    return set(NEEDED) <= set(header)


class _Asked(msgspec.Struct):
    """Calls with the same messages, each to another model: where the first stood, and what is known of them."""

    number: int
    first: Call
    beside: Mapping[str, Any]
    models: dict[str, Any]
    rows: int = 1


class SpendLog:
    """Takes calls row by row, and gives outcomes when all are seen.

    The outcome of a call can be known only then: the same messages may be asked of another model in
    the last row, and whether a session is a conversation or one call is known only from all of them.
    """

    def __init__(self, slice_by: str | None, found: Found, *, name: str) -> None:
        self._slice_by, self._found, self._name = slice_by, found, name
        self._ids: dict[str, int] = {}
        self._asked: dict[bytes, list[_Asked]] = {}
        self._unkept: dict[str, None] = {}
        if slice_by is not None and set(slice_by.split(".")) & _SECRET:
            raise ConfigError(f"{name}: {slice_by} is never kept: slice by metadata.team or another field")

    def reads(self, header: Sequence[str]) -> list[int]:
        """Positions of the columns that are read; ``ConfigError`` where one that is needed is missing."""
        missing = [own for own in NEEDED if own not in header]
        if missing:
            raise ConfigError(f"{self._name}: is no spend log of LiteLLM: there is no column {', '.join(missing)}")
        by = "" if self._slice_by is None else self._slice_by
        wanted = _READ | {by, by.partition(".")[0]}
        self._unkept.update(dict.fromkeys(own for own in header if own not in wanted))
        return [at for at, own in enumerate(header) if own in wanted]

    def take(self, number: int, cells: Mapping[str, Any]) -> Row | None:
        """Keep a call until all are seen; the row is returned where it is left out."""
        id = str(cells.get("request_id") or "")
        try:
            if id in self._ids:
                raise Fault(TWICE, f"row {self._ids[id]}")
            call = call_of(cells)
        except Fault as fault:
            fault.id = id
            return Row(number, fault)
        self._ids[id] = number
        if call.answer.cost == 0:
            self._found.note(FREE, number, id, call.tier)
        self._place(number, call, self._beside(cells, call))
        return None

    def rest(self) -> Iterator[Row]:
        """Outcomes in the order of their first calls."""
        if self._unkept:
            self._found.note(UNKEPT, 0, detail=", ".join(self._unkept))
        asked = sorted((one for same in self._asked.values() for one in same), key=lambda one: one.number)
        shared = Counter(one.first.conversation for one in asked)
        for one in asked:
            call = one.first
            outcome = Outcome(
                id=call.id,
                messages=call.messages,
                params=call.params,
                metadata={"team": call.team} if call.team else {},
                # LiteLLM makes up a session for a call without one: what no other row shares ties nothing.
                conversation=call.conversation if shared[call.conversation] > 1 else None,
                models=one.models,
            )
            yield Row(one.number, outcome, one.beside, one.rows)

    def _place(self, number: int, call: Call, beside: Mapping[str, Any]) -> None:
        """Into the first outcome with these messages that this model has not answered, else a new one."""
        same = self._asked.setdefault(_key(call), [])
        for one in same:
            if call.tier not in one.models:
                one.models[call.tier] = call.answer
                one.rows += 1
                self._found.note(JOINED, number, call.id, f"{call.tier}, with row {one.number}")
                return
        same.append(_Asked(number, replace(call, metadata={}), beside, {call.tier: call.answer}))

    def _beside(self, cells: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """The value to slice by, where the log has it; all else of the row is let go."""
        if self._slice_by is None:
            return {}
        try:
            return {self._slice_by: field_at({**cells, "metadata": call.metadata}, self._slice_by)}
        except Fault:
            return {}  # the outcome itself may have it, as metadata.team, and else says so


def _key(call: Call) -> bytes:
    """Calls are the same that ask the same, of the same team, with the same tools and format of the answer."""
    shape = {name: call.params[name] for name in ("tools", "tool_choice", "response_format") if name in call.params}
    body = msgspec.json.encode([call.team, call.messages, shape], order="deterministic")
    return hashlib.blake2b(body, digest_size=16).digest()
