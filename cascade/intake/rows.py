"""From a row as it stands in its source to an outcome, or to its fault."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from cascade.errors import ConfigError
from cascade.intake.findings import Fault, Found, Row
from cascade.ledger.records import decode
from cascade.types import OUTCOME_VERSION, Outcome

CUT = "cut off in the middle of a record"
NOT_JSON = "not JSON"
NOT_UTF8 = "not UTF-8"
NO_ID = "no id"
WRONG_TYPE = "a value of the wrong type"
VERSION = "a version that this release does not know"
NOT_FINITE = "a number that is not finite"
NAN_SIGNAL = "a signal that is NaN is missing"

_UNDECODED = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError)
"""What plain data that is no outcome raises, some of it while it is made JSON again."""

Noted = Callable[[str, str], None]
"""Takes the reason and the detail of a note about the row at hand."""


def outcome_of(row: Row, found: Found) -> Outcome:
    """The outcome that a row holds; raises ``Fault``, with the row's id where that can be known.

    Only a line that is no outcome as it stands is looked at twice: Python's own parser also reads
    the NaN and Infinity that JSON does not have and many programs write.
    """
    body = row.body
    if isinstance(body, Fault):
        raise body
    if isinstance(body, Outcome):
        return body
    if isinstance(body, bytes):
        try:
            return _of_this_version(decode(body))
        except (msgspec.DecodeError, ConfigError, UnicodeDecodeError, RecursionError):
            body = plain(body)
    id = name if isinstance(name := body.get("id"), str) else ""
    try:
        return _converted(body, lambda reason, detail: found.note(reason, row.number, id, detail))
    except Fault as fault:
        fault.id = id
        raise


def plain(body: Any) -> dict[str, Any]:
    """A row as plain data; raises ``Fault`` for what is no JSON object."""
    if isinstance(body, Outcome):
        body = msgspec.to_builtins(body)
    if isinstance(body, bytes):
        try:
            body = json.loads(body.decode())
        except UnicodeDecodeError as error:
            raise Fault(NOT_UTF8, f"byte {error.start + 1} of the line") from None
        except (ValueError, RecursionError) as error:
            raise Fault(*_broken(body, error)) from None
    if not isinstance(body, dict):
        raise Fault(NOT_JSON, f"a record is an object, this is {type(body).__name__}")
    return body


def _broken(line: bytes, error: Exception) -> tuple[str, str]:
    if isinstance(error, RecursionError):
        return NOT_JSON, "nested too deeply"
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as better:
        return (CUT if "truncated" in str(better) else NOT_JSON), str(error)
    return NOT_JSON, str(error)  # an integer of thousands of digits


def _converted(raw: dict[str, Any], noted: Noted) -> Outcome:
    version = raw.get("version", OUTCOME_VERSION)
    if isinstance(version, int) and version > OUTCOME_VERSION:
        raise Fault(VERSION, f"{version}, newer than {OUTCOME_VERSION}: upgrade cascade-gate")
    if raw.get("id") in (None, ""):
        raise Fault(NO_ID)
    try:
        return _of_this_version(_decoded(_finite(raw, noted)))
    except _UNDECODED as error:
        raise Fault(WRONG_TYPE, _placed(raw, error)) from None


def _decoded(raw: dict[str, Any]) -> Outcome:
    return decode(msgspec.json.encode(raw))


def _placed(raw: dict[str, Any], error: Exception) -> str:
    """The decoder's message with the tier that it means, which it leaves out."""
    message, models = str(error), raw.get("models")
    if "models[...]" in message and isinstance(models, dict):
        for tier, model in models.items():
            try:
                _decoded({"id": "", "models": {tier: model}})
            except _UNDECODED as found:
                return str(found).replace("$.models[...]", tier)
    return message


def _of_this_version(outcome: Outcome) -> Outcome:
    if not 1 <= outcome.version <= OUTCOME_VERSION:
        raise Fault(VERSION, str(outcome.version), id=outcome.id)
    return outcome


def _finite(raw: dict[str, Any], noted: Noted) -> dict[str, Any]:
    """A record without the numbers that JSON cannot hold, which as nulls would pass for missing.

    A NaN among signals is a signal that was not measured. Log-probabilities and what the caller sent
    along are left alone.
    """
    for place, value in _numbers(raw):
        if not math.isfinite(value):
            raise Fault(NOT_FINITE, f"{place} is {value}")
    models = raw.get("models")
    if not isinstance(models, dict):
        return raw
    clean = dict(models)
    for tier, model in models.items():
        if isinstance(model, dict) and isinstance(signals := model.get("signals"), dict):
            missing = [name for name, value in signals.items() if _is_nan(value)]
            for name in missing:
                noted(NAN_SIGNAL, f"{tier}.signals.{name}")
            clean[tier] = model | {"signals": {name: v for name, v in signals.items() if name not in missing}}
    return raw | {"models": clean}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _numbers(raw: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Places and values of the floats of a record that must be finite."""
    models = raw.get("models")
    parts: list[tuple[str, Any]] = [("propensity", raw.get("propensity"))]
    for tier, model in models.items() if isinstance(models, dict) else ():
        if not isinstance(model, dict):
            continue
        parts += [(f"{tier}.{name}", value) for name, value in model.items()]
        if isinstance(signals := model.get("signals"), dict):
            # NaN is looked for elsewhere; an infinite signal is a number gone wrong, not a missing one.
            parts += [(f"{tier}.signals.{name}", value) for name, value in signals.items() if not _is_nan(value)]
        for name in ("verdicts", "checks", "samples"):
            parts += _fields(f"{tier}.{name}", model.get(name))
        for sample in samples if isinstance(samples := model.get("samples"), list) else ():
            parts += _fields(f"{tier}.samples.verdicts", sample.get("verdicts") if isinstance(sample, dict) else None)
    yield from ((place, value) for place, value in parts if isinstance(value, float))


def _fields(place: str, entries: Any) -> list[tuple[str, Any]]:
    """Places and values of what stands in a list of objects; nothing where it is no such list."""
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [(f"{place}.{field}", value) for entry in found for field, value in entry.items()]
