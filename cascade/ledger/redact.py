"""What of an outcome may be written down: everything, a keyed hash of the question, or no text.

Under ``hashed`` and ``none`` only numbers and names stay: parameters that are numbers, the names
and outcomes of checks, verdicts without their reasons. ``metadata``, ``tenant`` and ``slice`` are
the caller's own labels and stay. Credentials among the parameters go in every mode.
"""

from __future__ import annotations

import os
import re
import secrets
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from cascade.types import Decision, ModelOutcome, Outcome, Sample, Verdict, text_of

Content = Literal["full", "hashed", "none"]

_SECRET = re.compile(
    r"api[_-]?key|authorization|secret|passw|credential|headers|cookie|private[_-]?key"
    r"|(?:access|auth|bearer|ad|id|refresh|session)[_-]?token$",
    re.IGNORECASE,
)
_OPAQUE = {"tools", "functions", "response_format"}  # a schema may well have a field named password


def redacted(outcome: Outcome, content: Content, salt: bytes) -> Outcome:
    """The outcome as it may be stored; the very same object where nothing has to go.

    ``salt`` (up to 64 bytes) keys the hash, so that a guessed question cannot be looked up by
    anyone who has the rows without the salt.
    """
    if content == "full":
        params = without_secrets(outcome.params)
        return outcome if params is outcome.params else replace(outcome, params=params)
    return replace(
        outcome,
        content=content,
        query_hash=_hash(outcome, salt) if content == "hashed" else None,
        query=None,
        system=None,
        messages=None,
        reference=None,
        params={k: v for k, v in outcome.params.items() if isinstance(v, bool | int | float)},
        models={tier: _wordless(model, content) for tier, model in outcome.models.items()},
        decision=_without_details(outcome.decision) if outcome.decision else None,
    )


def without_reasons(verdict: Verdict, content: Content) -> Verdict:
    """A verdict as it may be stored: its ``misses`` quote the answer; that one is critical stays known."""
    if content == "full" or not verdict.misses:
        return verdict
    return replace(verdict, misses=[replace(miss, what="") for miss in verdict.missed if miss.critical])


def without_secrets(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters without credentials, at any depth; the same object where there are none."""
    kept: dict[str, Any] = {}
    changed = False
    for name, value in params.items():
        if _is_secret(name):
            changed = True
            continue
        inner = without_secrets(value) if isinstance(value, dict) and name not in _OPAQUE else value
        changed = changed or inner is not value
        kept[name] = inner
    return kept if changed else params


@lru_cache(maxsize=1024)
def _is_secret(name: object) -> bool:
    return isinstance(name, str) and _SECRET.search(name) is not None


def salt(path: Path) -> bytes:
    """The store's own salt, made by whichever process comes first and complete from the start."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        try:
            draft.touch(mode=0o600)
            draft.write_bytes(secrets.token_bytes(32))
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)
    return path.read_bytes()


def _hash(outcome: Outcome, salt: bytes) -> str:
    question = outcome.query
    if question is None:
        turns = (m for m in reversed(outcome.messages or []) if m.get("role") == "user")
        question = next((text_of(m) for m in turns), "")
    return blake2b(question.encode("utf-8", "replace"), key=salt, digest_size=16).hexdigest()


def _wordless(model: ModelOutcome, content: Content) -> ModelOutcome:
    return replace(
        model,
        answer=None,
        question=None,
        entry=None,  # a digest without a key: whoever guesses the question can tell
        tool_calls=[],
        checks=[replace(check, detail="") for check in model.checks],
        verdicts=[without_reasons(verdict, content) for verdict in model.verdicts],
        samples=[_silent(sample, content) for sample in model.samples],
    )


def _silent(sample: Sample, content: Content) -> Sample:
    return replace(sample, answer=None, verdicts=[without_reasons(verdict, content) for verdict in sample.verdicts])


def _without_details(decision: Decision) -> Decision:
    return replace(decision, steps=[replace(step, detail="") for step in decision.steps])
