"""Which names of models can be names of tiers."""

from __future__ import annotations

import re

from cascade.tables import TIER_NAME
from cascade.types import CACHE

_FITS = re.compile(TIER_NAME)


def fits(name: str) -> bool:
    """Whether a policy can have a tier of this name; the cache's own is taken."""
    return name != CACHE and _FITS.fullmatch(name) is not None
