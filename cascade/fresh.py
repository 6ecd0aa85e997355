"""Which questions need a new answer each time: what was right yesterday may be wrong today."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from cascade.policy import Policy
from cascade.types import Request

Personal = Callable[[Request], bool]
"""A user's hook: is the answer this caller's own? Then it is neither stored nor answered from the cache."""


def time_sensitive(question: str, policy: Policy) -> bool:
    """Does some pattern of ``cache.time_sensitive`` occur in the question, in any case of letters?"""
    return _matched(question, tuple(policy.cache.time_sensitive))


@lru_cache(maxsize=64)
def _matched(question: str, patterns: tuple[str, ...]) -> bool:
    """Remembered, since look-up, flight and store each ask, and a long question takes a millisecond."""
    return any(compiled(pattern).search(question) for pattern in patterns)


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of a policy, for any case of letters."""
    return re.compile(pattern, re.IGNORECASE)
