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
    return any(_pattern(pattern).search(question) for pattern in policy.cache.time_sensitive)


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
