"""What a provider did wrong, said as one ``UpstreamError``: whose, how, billed or not, what to do.

A provider's words are quoted, since nobody else can know what it disliked, but never with a key in
them: some servers repeat the one they were given.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from cascade.asks import Endpoint
from cascade.errors import UpstreamError

QUOTED = 300  # characters of the server's own message; the rest is markup or a stack trace

_BUSY = "it could not take the request just now."
_ADVICE = {
    401: "it rejects the key; check {key}.",
    402: "the account has to be paid first.",
    403: "it rejects the key, or what the key may do; check {key}.",
    404: "it knows no model {model}{where}; check the name.",
    408: _BUSY,
    409: _BUSY,
    425: _BUSY,
    429: "too many requests for the limits of this account.",
}
_RETRYABLE = frozenset({408, 409, 425, 429})
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_LIKE_A_KEY = re.compile(
    r"\bBearer\s+\S+"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|ghp|key|api)[-_][\w*.\-]{6,}"
    r"|\bAIza[\w\-]{10,}"
    r"|\b(?=[A-Za-z_\-]*\d)[\w\-]{32,}",
    re.IGNORECASE,
)


def scrub(text: str) -> str:
    """``text`` in one line of at most ``QUOTED`` characters, without anything that may be a key."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, "[removed]")
    text = " ".join(_LIKE_A_KEY.sub("[removed]", text).split())
    return text if len(text) <= QUOTED else text[: QUOTED - 3] + "..."


def message_in(body: bytes) -> str:
    """The message of an error body in any of the usual shapes, else the body as text."""
    try:
        return message_of(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")


def message_of(found: Any) -> str:
    """The message of an error object: OpenAI's ``error.message``, or ``message``, or ``detail``."""
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from seconds or an HTTP date; None where the header is not there or is junk."""
    value = headers.get("Retry-After") or headers.get("retry-after")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def refused(status: int, said: str, *, provider: str, endpoint: Endpoint, wait: float | None = None) -> UpstreamError:
    """The error of an HTTP status other than success. ``said`` is the server's message."""
    said = scrub(said)
    return UpstreamError(
        f"{provider} answered {status}: {_advice(status, endpoint)}" + (f" It said: {said}" if said else ""),
        provider=provider,
        status=status,
        billed=None if status >= 500 else False,
        retry_after=wait,
        retryable=status in _RETRYABLE or status >= 500,
    )


def _advice(status: int, endpoint: Endpoint) -> str:
    if status in _ADVICE:
        advice = _ADVICE[status]
    elif status >= 500:
        advice = "the fault is on its side."
    elif status < 400:
        advice = "the address has moved; correct base_url."
    else:
        advice = "it does not take these messages or parameters for {model}; correct them."
    key = f"the key in ${endpoint.api_key_env}" if endpoint.api_key_env else "the key"
    where = f" at {endpoint.base_url}" if endpoint.base_url else ""
    return advice.format(key=key, model=endpoint.model, where=where)


def timed_out(provider: str, seconds: float) -> UpstreamError:
    """No complete answer in time. The provider may well have worked, and bill it."""
    return UpstreamError(f"{provider} gave no complete answer within {seconds:g} s", provider=provider)


def unreachable(provider: str, why: str) -> UpstreamError:
    """No connection, so nothing was asked and nothing is billed."""
    return UpstreamError(
        f"{provider} cannot be reached: {scrub(why)}; check base_url and that the server runs",
        provider=provider,
        billed=False,
    )


def broken(provider: str, what: str, status: int | None = None) -> UpstreamError:
    """An answer that began and cannot be used. Nobody can know whether it is billed."""
    return UpstreamError(f"{provider} {scrub(what)}", provider=provider, status=status)
