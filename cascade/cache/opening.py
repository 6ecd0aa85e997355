"""The cache that a policy asks for."""

from __future__ import annotations

from pathlib import Path

from cascade.cache.cache import Cache
from cascade.ladder import Ladder
from cascade.policy import Policy, metadata_read


def cache_of(policy: Policy, ladder: Ladder, folder: Path | None) -> Cache | None:
    """The policy's cache in ``folder`` (None: in memory); None where the policy wants none."""
    wanted = policy.cache
    if not wanted.enabled:
        return None
    # A tier that fixes its own temperature overrides the caller's silence about it.
    coldest = [tier.params.get("temperature", 1.0) for tier in policy.tiers]
    return Cache(
        identity=ladder.identity,
        folder=folder,
        ttl=wanted.ttl,
        size_limit=int(wanted.size_limit_mb * 2**20),
        max_temperature=wanted.max_temperature,
        default_temperature=max(coldest),
        tools_cacheable=wanted.tools,
        metadata=metadata_read(policy),
    )
