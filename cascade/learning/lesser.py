"""The same calibration with less to go by: what is a provider's log-probability worth to you?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade.errors import ConfigError
from cascade.learning.calibrate import Learned, learn
from cascade.policy import Policy
from cascade.types import Outcome

TELLTALES = ("logprob", "token_prob", "seq_prob")
"""Parts of the names that recorded data sets give to signals made of token probabilities."""


def without_logprobs(outcomes: Sequence[Outcome], policy: Policy, **options: Any) -> dict[str, Learned]:
    """The calibration without any family made of log-probabilities, under a name for people.

    Empty where no declared set reads one, where a set would be left with nothing, or where what is
    left cannot be fitted.
    """
    sets = [[name for name in families if not of_tokens(name)] for families in policy.signals.sets]
    if sets == policy.signals.sets or not all(sets):
        return {}
    distinct = [list(names) for names in dict.fromkeys(tuple(sorted(names)) for names in sets)]
    lesser = policy.model_copy(update={"signals": policy.signals.model_copy(update={"sets": distinct})})
    try:
        return {"without log-probabilities": learn(outcomes, lesser, **options)}
    except ConfigError:
        return {}


def of_tokens(family: str) -> bool:
    """Is this signal family made of token probabilities?"""
    return family in ("logprobs", "top") or any(part in family for part in TELLTALES)
