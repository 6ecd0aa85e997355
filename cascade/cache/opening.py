"""The cache that a policy asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.cache.cache import Cache
from cascade.fresh import Personal, time_sensitive
from cascade.ladder import Ladder
from cascade.policy import Policy, metadata_read
from cascade.types import Request

if TYPE_CHECKING:
    from cascade.embedding import Embedder


def cache_of(
    policy: Policy,
    ladder: Ladder,
    folder: Path | None,
    *,
    embedder: Embedder | None = None,
    personal: Personal | None = None,
    clock: Callable[[], float] = time.time,
) -> Cache | None:
    """The policy's cache in ``folder`` (None: in memory); None where the policy wants none.

    ``embedder`` is used where the policy's cache is semantic. Requests that ``personal`` says yes to
    hold personal data, and are neither stored nor answered; so are time-sensitive ones. ``clock`` gives
    seconds since 1970, by which entries age.
    """
    wanted = policy.cache
    if not wanted.enabled:
        return None

    def withheld(request: Request) -> bool:
        return time_sensitive(request.question, policy) or (personal is not None and personal(request))

    # A tier that fixes its own temperature overrides the caller's silence about it.
    coldest = [tier.params.get("temperature", 1.0) for tier in policy.tiers]
    return Cache(
        identity=f"{policy.name} {ladder.identity}",  # a store may be shared by several policies
        folder=folder,
        ttl=wanted.ttl,
        size_limit=int(wanted.size_limit_mb * 2**20),
        max_temperature=wanted.max_temperature,
        default_temperature=max(coldest),
        tools_cacheable=wanted.tools,
        metadata=metadata_read(policy),
        embedder=embedder if wanted.semantic else None,
        tags=wanted.tags,
        withheld=withheld,
        clock=clock,
    )
