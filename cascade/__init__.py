"""A confidence-gated cascade for LLM calls whose thresholds carry a promise with its evidence.

    from cascade import Cascade

    cascade = Cascade.load("support.toml")
    reply = cascade.completion(messages=[{"role": "user", "content": "..."}])
    reply.cascade.served_by, reply.cascade.why

    lock = calibrate(outcomes, policy)  # from labelled outcomes to thresholds with a promise

Names are resolved when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade.engine import Cascade
    from cascade.errors import (
        BudgetError,
        CascadeError,
        ConfigError,
        PolicyError,
        UpstreamError,
    )
    from cascade.learning.calibrate import calibrate, certify
    from cascade.policy import Policy, Target
    from cascade.recheck import check
    from cascade.types import Decision, Draft, Outcome, Request, Verdict

_HOMES = {
    "Cascade": "engine",
    **dict.fromkeys(["BudgetError", "CascadeError", "ConfigError", "PolicyError", "UpstreamError"], "errors"),
    **dict.fromkeys(["Policy", "Target"], "policy"),
    **dict.fromkeys(["calibrate", "certify"], "learning.calibrate"),
    "check": "recheck",
    **dict.fromkeys(["Decision", "Draft", "Outcome", "Request", "Verdict"], "types"),
}

__all__ = [
    "BudgetError",
    "Cascade",
    "CascadeError",
    "ConfigError",
    "Decision",
    "Draft",
    "Outcome",
    "Policy",
    "PolicyError",
    "Request",
    "Target",
    "UpstreamError",
    "Verdict",
    "calibrate",
    "certify",
    "check",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
