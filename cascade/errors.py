"""What can go wrong, named by whose fault it is. An escalation is not an error.

Every message says what happened and what to do next. None of them ever holds a secret: keys are
read at the transport and never put into an exception.
"""

from __future__ import annotations


class CascadeError(Exception):
    """Root of everything that this package raises on purpose."""


class ConfigError(CascadeError):
    """The user's: a key, a price, an argument or an environment variable is missing or wrong."""


class PolicyError(CascadeError):
    """A policy or lock file that does not hold.

    ``file`` is the path as the user wrote it, ``field`` the dotted name of the entry
    (``tiers.0.price``), or an empty string when the file as a whole cannot be read.
    """

    def __init__(self, message: str, *, file: str = "", field: str = "") -> None:
        where = ": ".join(part for part in (file, field) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.file = file
        self.field = field


class UpstreamError(CascadeError):
    """Theirs: a provider failed, and this says which, how, and whether it was billed.

    ``status`` is the HTTP status (None when there was none, as after a timeout), ``billed`` is
    True, False, or None when nobody can know (a connection cut half way). ``retry_after`` is in
    seconds. ``retryable`` is False for what a second try cannot mend, such as a rejected key.
    ``delivered`` is True when part of the answer has already reached the caller, so that no other
    model may take over. ``cost`` is what the failed call cost in US dollars, where known.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        billed: bool | None = None,
        retry_after: float | None = None,
        retryable: bool = True,
        delivered: bool = False,
        cost: float | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status = status
        self.billed = billed
        self.retry_after = retry_after
        self.retryable = retryable
        self.delivered = delivered
        self.cost = cost


class Cancelled(UpstreamError):
    """Nobody's: the caller stopped waiting. An ``UpstreamError``, because the question that it
    leaves behind is the same: what of the call under way will be billed?
    """

    def __init__(self) -> None:
        super().__init__("cancelled by the caller", retryable=False, delivered=True)


class BudgetError(CascadeError):
    """A ceiling that the user set, in dollars or seconds, would be passed by the next step."""
