"""One row of a spend log: whether it is a call that was answered, and what was asked and answered."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from cascade.errors import CascadeError
from cascade.intake.columns import count_in, number_in
from cascade.intake.findings import Fault, shown
from cascade.intake.rows import NO_ID, NOT_FINITE, NOT_JSON, WRONG_TYPE
from cascade.intake.tiers import fits
from cascade.transports.reading import read
from cascade.types import Draft, Message, ModelOutcome, Record

FAILED = "a call that failed"
CACHED = "an answer out of LiteLLM's cache"
NO_CHAT = "no chat completion"
NO_MESSAGES = "no messages are stored"
NO_ANSWER = "no answer is stored"
CUT_TEXT = "a text that LiteLLM has cut"
REDACTED = "a text that LiteLLM has redacted"
NO_TIER = "a model whose name no tier can have"

_CHAT = ("completion", "acompletion")
_STORE = "LiteLLM keeps them with store_prompts_in_spend_logs: true"
_CUT = "(litellm_truncated skipped "
_REDACTED = ("redacted-by-litellm", "REDACTED_BY_LITELM")
_PARAMS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "tools", "tool_choice",
    "response_format", "reasoning_effort",
)  # fmt: skip


class Call(Record, frozen=True, kw_only=True):
    """An answered call. ``conversation`` is a session, or the hash of an end user where there is none.

    ``metadata`` is what the log says beside, to slice by; nothing of it is kept.
    """

    id: str
    tier: str
    answer: ModelOutcome
    messages: list[Message]
    params: dict[str, Any]
    team: str
    conversation: str | None
    metadata: dict[str, Any]


def call_of(cells: Mapping[str, Any]) -> Call:
    """The call in a row of a spend log; raises ``Fault`` for one that cannot be an outcome, or is malformed."""
    id = str(cells.get("request_id") or "")
    if not id:
        raise Fault(NO_ID)
    metadata = _object("metadata", cells)
    _answered(cells, metadata)
    tier = str(cells.get("model") or cells.get("model_group") or "")
    if not fits(tier):
        raise Fault(NO_TIER, f"model: {shown(tier)}")
    asked = _object("proxy_server_request", cells)
    messages = _messages(cells, asked)
    return Call(
        id=id,
        tier=tier,
        answer=_answer(cells, tier),
        messages=messages,
        params={name: asked[name] for name in _PARAMS if asked.get(name) is not None},
        team=str(cells.get("team_id") or ""),
        conversation=_conversation(cells),
        metadata=metadata,
    )


def _answered(cells: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Raises ``Fault`` unless a chat model was asked, and answered."""
    kind = cells.get("call_type") or _CHAT[0]
    if kind not in _CHAT:
        raise Fault(NO_CHAT, f"call_type: {shown(kind)}")
    if "failure" in (cells.get("status"), metadata.get("status")):
        raise Fault(FAILED)
    if str(cells.get("cache_hit") or "").strip().lower() == "true":
        raise Fault(CACHED)


def _messages(cells: Mapping[str, Any], asked: Mapping[str, Any]) -> list[Message]:
    """What was asked: LiteLLM stores it with the request, and in a column of its own for few kinds of calls."""
    found = _parsed("messages", cells.get("messages")) or asked.get("messages")
    if not found:
        raise Fault(NO_MESSAGES, _STORE)
    if not isinstance(found, list) or not all(isinstance(one, dict) and "role" in one for one in found):
        raise Fault(WRONG_TYPE, f'messages: {shown(found)} is no list of {{"role": ..., "content": ...}}')
    _uncut("messages", found)
    return found


def _answer(cells: Mapping[str, Any], tier: str) -> ModelOutcome:
    reply = _reply(cells, tier)
    return ModelOutcome(
        answer=reply.text,
        finish_reason=reply.finish_reason,
        refusal=reply.refusal,
        tool_calls=reply.tool_calls,
        logprobs=reply.logprobs,
        top_logprobs=reply.top_logprobs,
        prompt_tokens=_tokens("prompt_tokens", cells),
        completion_tokens=_tokens("completion_tokens", cells),
        cached_prompt_tokens=reply.usage.cached_tokens or None,
        cost=_amount("spend", cells),
        latency_ms=_latency(cells),
        fingerprint=reply.fingerprint,
    )


def _reply(cells: Mapping[str, Any], tier: str) -> Draft:
    """The response, read as an answer that has just come would be."""
    found = _parsed("response", cells.get("response"))
    if not found:
        raise Fault(NO_ANSWER, _STORE)
    _uncut("response", found)
    try:
        return read(found, tier=tier, model=tier, price=None, latency=0.0)
    except CascadeError as error:
        raise Fault(NO_ANSWER, f"response: {error}") from None


def _uncut(column: str, found: Any) -> None:
    """Raises ``Fault`` for a text of which the log holds a part: it is not what was asked, or answered."""
    for text in _texts(found):
        if _CUT in text:
            raise Fault(CUT_TEXT, f"{column}: set MAX_STRING_LENGTH_PROMPT_IN_DB higher where LiteLLM runs")
        if text in _REDACTED:
            raise Fault(REDACTED, column)


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for part in found.values() if isinstance(found, dict) else found:
            yield from _texts(part)


def _conversation(cells: Mapping[str, Any]) -> str | None:
    if session := cells.get("session_id"):
        return str(session)
    user = cells.get("end_user")
    # A customer is often known by an e-mail address: enough that rows of one are known to be of one.
    return hashlib.blake2b(str(user).encode("utf-8", "replace"), digest_size=8).hexdigest() if user else None


def _latency(cells: Mapping[str, Any]) -> float | None:
    """Milliseconds that the call took; None where the log does not say."""
    began, ended = _moment("startTime", cells), _moment("endTime", cells)
    if began is None or ended is None:
        return _amount("request_duration_ms", cells)
    return (ended - began) / datetime.timedelta(milliseconds=1)


def _moment(column: str, cells: Mapping[str, Any]) -> datetime.datetime | None:
    """A time, in UTC unless it says otherwise."""
    cell = cells.get(column)
    if cell is None or cell == "":
        return None
    try:
        found = cell if isinstance(cell, datetime.datetime) else datetime.datetime.fromisoformat(str(cell).strip())
    except ValueError:
        raise Fault(WRONG_TYPE, f"{column}: {shown(cell)} is no time, as 2026-03-01T12:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=datetime.UTC)


def _tokens(column: str, cells: Mapping[str, Any]) -> int | None:
    cell = cells.get(column)
    if cell is None or cell == "":
        return None
    value = count_in(column, cell)
    if not isinstance(value, int):
        raise Fault(WRONG_TYPE, f"{column}: {shown(cell)} is no number of tokens")
    return value


def _amount(column: str, cells: Mapping[str, Any]) -> float | None:
    cell = cells.get(column)
    if cell is None or cell == "":
        return None
    value = number_in(column, cell)
    if not math.isfinite(value):
        raise Fault(NOT_FINITE, f"{column} is {value}")
    return value


def _object(column: str, cells: Mapping[str, Any]) -> dict[str, Any]:
    found = _parsed(column, cells.get(column))
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Fault(WRONG_TYPE, f"{column}: {type(found).__name__} is no JSON object")
    return found


def _parsed(column: str, cell: Any) -> Any:
    """What a JSON column holds, as data or as text, or as text within text; None where it is empty.

    An error repeats nothing of the cell, which may be where a key is.
    """
    if not isinstance(cell, str) or not cell:
        return cell or None
    try:
        found = json.loads(cell)
    except ValueError as error:
        raise Fault(NOT_JSON, f"{column}: {error}") from None
    except RecursionError:
        raise Fault(NOT_JSON, f"{column}: nested too deeply") from None
    if isinstance(found, str) and found[:1] in ("{", "["):
        return _parsed(column, found)
    return found or None
