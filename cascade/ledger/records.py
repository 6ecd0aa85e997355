"""Outcomes as JSON: the bytes of one record, files of them, and their published schema.

JSON knows neither NaN nor infinity; msgspec writes both as null. On the way back null becomes NaN
where a number is required, an absent signal among signals, and None where None is allowed.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from cascade.errors import ConfigError
from cascade.types import OUTCOME_VERSION, Outcome

STDIO = "-"
_VERSION = b'{"version":%d,' % OUTCOME_VERSION
_NAN = float("nan")


def _plain(value: Any) -> Any:
    """Stands in for what JSON cannot hold: numpy values and pydantic models as the data they are.

    All else by its type's name; a ``repr`` would say more, and now and then a secret.
    """
    if isinstance(value, type):
        return f"<{value.__module__}.{value.__qualname__}>"
    for name in ("tolist", "model_dump"):
        if callable(method := getattr(value, name, None)):
            return method()
    return _plain(type(value))


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder(Outcome)


def encode(outcome: Outcome) -> bytes:
    """One line of JSON without its newline.

    The version is always written out: as a default it would be left out, and the record would
    change its version with the next release. Half a surrogate pair, as in an answer cut inside an
    emoji, becomes a question mark. Raises ``TypeError`` or ``RecursionError`` for what is not data.
    """
    try:
        body = _encoder.encode(outcome)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(outcome, enc_hook=_plain), ensure_ascii=False)
        body = _encoder.encode(json.loads(text.encode("utf-8", "replace")))
    if outcome.version != OUTCOME_VERSION:
        return body
    return _VERSION + body[1:]


def decode(line: bytes | str) -> Outcome:
    """The outcome in one line of JSON; unknown fields are ignored.

    Raises ``msgspec.DecodeError`` when it is not one, ``ConfigError`` when a newer release wrote it.
    """
    try:
        outcome = _decoder.decode(line)
    except msgspec.ValidationError:
        outcome = msgspec.convert(_mended(msgspec.json.decode(line)), Outcome)
    if outcome.version > OUTCOME_VERSION:
        raise ConfigError(
            f"outcome {outcome.id} has version {outcome.version}, this release reads up to"
            f" {OUTCOME_VERSION}: upgrade cascade-gate"
        )
    return outcome


def _mended(raw: Any) -> Any:
    """A decoded record with its nulls and booleans put right where a number has to be."""
    if not isinstance(raw, dict):
        return raw
    models = raw.get("models")
    for model in models.values() if isinstance(models, dict) else ():
        if not isinstance(model, dict):
            continue
        samples = model.get("samples")
        for judged in (model, *(samples if isinstance(samples, list) else ())):
            _number_the_label(judged)
        if isinstance(signals := model.get("signals"), dict):
            model["signals"] = {name: value for name, value in signals.items() if value is not None}
        for name in ("logprobs", "top_logprobs"):
            if isinstance(values := model.get(name), list):
                model[name] = _numbers(values)
    decision = raw.get("decision")
    if isinstance(decision, dict) and isinstance(confidence := decision.get("confidence"), dict):
        for name in ("probability", "score"):
            if confidence.get(name, 0) is None:
                confidence[name] = _NAN
    return raw


def _number_the_label(judged: Any) -> None:
    correct = judged.get("correct") if isinstance(judged, dict) else None
    if isinstance(correct, bool | float) and correct in (0, 1):
        judged["correct"] = int(correct)


def _numbers(values: list[Any]) -> list[Any]:
    return [_NAN if v is None else _numbers(v) if isinstance(v, list) else v for v in values]


def read_outcomes(path: Path | str) -> Iterator[Outcome]:
    """Outcomes of a ``.jsonl`` or ``.jsonl.gz`` file, or of stdin for ``-``, one by one.

    Blank lines are skipped. Raises ``ConfigError`` naming file, line (from 1) and what is wrong.
    """
    number = 0
    try:
        with _open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 (named in the message below)
                if line.strip():
                    yield decode(line)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}, line {number}: not an outcome: {error}") from error
    except (EOFError, zlib.error) as error:
        raise ConfigError(f"{path}, after line {number}: damaged gzip file: {error}") from error


def write_outcomes(path: Path | str, outcomes: Iterable[Outcome]) -> int:
    """Write outcomes as JSON lines, compressed for ``.gz``, to stdout for ``-``; returns how many.

    A file appears under its name only when it is complete; the same outcomes give the same bytes.
    Raises ``ConfigError`` when it cannot be written.
    """
    target = STDIO if str(path) == STDIO else f"{path}.{os.getpid()}.part"
    count = 0
    try:
        with _open(target, "wb", gz=str(path).endswith(".gz")) as file:
            for outcome in outcomes:
                file.write(encode(outcome) + b"\n")
                count += 1
        if target != STDIO:
            Path(target).replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if target != STDIO:
            Path(target).unlink(missing_ok=True)
    return count


@contextmanager
def _open(path: Path | str, mode: str, *, gz: bool | None = None) -> Iterator[IO[bytes]]:
    if str(path) == STDIO:
        stream = sys.stdin.buffer if mode == "rb" else sys.stdout.buffer
        yield stream
        if mode == "wb":
            stream.flush()
        return
    with Path(path).open(mode) as raw:
        if not (str(path).endswith(".gz") if gz is None else gz):
            yield cast(IO[bytes], raw)
            return
        import gzip

        with gzip.GzipFile("", mode, fileobj=cast(IO[bytes], raw), mtime=0) as packed:
            yield cast(IO[bytes], packed)


def outcome_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one line of an outcomes file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Outcome, version {OUTCOME_VERSION}",
        **msgspec.json.schema(Outcome),
    }
