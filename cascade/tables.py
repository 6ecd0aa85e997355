"""The small tables of a policy file, each by itself: cache, audit, budgets, signals.

What they have in common is here too: how a table is read, and what a name may look like.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

TIER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$"
TierName = Annotated[str, Field(pattern=TIER_NAME)]
"""Recorded data sets name their tiers as hubs name models, with an owner and a slash."""

AUDIT_FLOOR = 0.01
"""Least probability of a label: a row that could never be drawn can never be corrected for."""


class Section(BaseModel):
    """Base of the policy's tables: immutable, unknown keys refused."""

    # Schemas are built on first use, so that importing a name of this module need not pay for all of them.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def regular(pattern: str) -> str:
    """The pattern, if it is a regular expression; else ``ValueError``."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


TIME_SENSITIVE = [
    r"\b(today|tonight|tomorrow|yesterday|now|nowadays|currently|latest|newest|up[- ]to[- ]date)\b",
    r"\b(this|next|last|current) (hour|morning|afternoon|evening|week|weekend|month|season|year)\b",
    r"\b(breaking|recent) (news|events|changes)\b|\bweather\b|\bforecast\b|\bat the moment\b",
    r"\b(price|score|value|rate) of\b|\bexchange rate\b|\bwhat time is it\b",
]
"""English words of questions that have another answer tomorrow. One too many costs hits only."""


class Same(Section):
    """Family ``same``: a tier is asked, for one token, whether a stored question asks the same."""

    tier: str


class CachePolicy(Section):
    """Exact hits, and with ``semantic`` the answer to the nearest question in an identical context.

    ``max_temperature``: a request that samples hotter than this wants a new answer each time. A
    request that states no temperature counts as 1.0, the providers' default. ``semantic`` candidates
    are recorded, and served once a gate for them is certified. Requests whose question matches a
    ``time_sensitive`` pattern (in any case of letters) are neither stored nor answered from the
    cache. ``tags`` names metadata whose values label an entry, to invalidate it by. ``same`` names the
    tier that is asked about borderline hits, where calibration found that asking pays.
    """

    enabled: bool = True
    ttl: Positive | None = 86_400.0
    size_limit_mb: Positive = 256.0
    max_temperature: Annotated[float, Field(ge=0.0)] = 0.0
    tools: bool = False
    semantic: bool = False
    time_sensitive: list[Annotated[str, AfterValidator(regular)]] = TIME_SENSITIVE
    tags: list[str] = []
    same: Same | None = None


ABSENT, AMBIGUOUS, OTHER = "absent", "ambiguous", "other"
"""What an answer has in a label's place that names none of its values, several of them, or one that is not declared."""

LABEL_CONSISTENT = "label_consistent"
"""The built-in check that runs only where a policy names it."""

STEP = r"\.[^.\[\]\s]+|\[\d+\]"
"""One step of a path: a key or an index."""


class Label(Section):
    """``[labels.NAME]``: what of an answer its reader acts on, such as a severity or an opinion.

    It is found by ``pattern``, a regular expression whose first group (without one the whole match) is
    the value, at every place where it matches; or by ``path``, keys and indexes into each JSON value
    of the answer (``$.risk``, ``$.gaps[0].type``). ``from = "verdict"`` takes what the latest verdict
    has under the label's name instead. ``values`` are all that it may be; another one counts as
    ``other``. ``ignore_case`` is for pattern and values.
    """

    pattern: Annotated[str, AfterValidator(regular)] | None = None
    path: Annotated[str, Field(pattern=rf"^\$(?:{STEP})+$")] | None = None
    source: Annotated[Literal["answer", "verdict"], Field(alias="from")] = "answer"
    values: list[Annotated[str, Field(min_length=1)]] = []
    ignore_case: bool = True

    @field_validator("values")
    @classmethod
    def _told_apart(cls, values: list[str]) -> list[str]:
        for value in values:
            if value.casefold() in (ABSENT, AMBIGUOUS, OTHER):
                raise ValueError(f"{value!r} is what an answer without one clear value gets; name the value otherwise")
        return values

    @model_validator(mode="after")
    def _found_somehow(self) -> Label:
        ways = [way for way in (self.pattern, self.path) if way is not None]
        if len(ways) != (self.source == "answer"):
            raise ValueError('state one of pattern and path, or neither where from = "verdict"')
        return self


class Audit(Section):
    """Share of accepted and of escalated answers that a judge will see; never below the floor."""

    accepted: Annotated[float, Field(ge=AUDIT_FLOOR, le=1.0)] = 0.05
    escalated: Annotated[float, Field(ge=AUDIT_FLOOR, le=1.0)] = 0.05
    salt: str = ""


class Observe(Section):
    """Observe mode: the cheap tiers answer ``rate`` of the requests off the caller's path."""

    rate: Share = 1.0
    ceiling_usd_a_day: Positive | None = None


class Explore(Section):
    """How often a closed tier is asked off the caller's path, so that its gate can ever open."""

    rate: Annotated[float, Field(ge=AUDIT_FLOOR, le=1.0)] = 0.05
    ceiling_usd_a_day: Positive | None = None


class Budget(Section):
    """Ceilings of one request, over all its steps."""

    max_cost_usd: Positive | None = None
    deadline_s: Positive | None = None


class LedgerPolicy(Section):
    """What of a request's content the ledger keeps: all, a keyed hash of the question, or nothing."""

    content: Literal["full", "hashed", "none"] = "full"
    store: str | None = None


class Votes(Section):
    """Family ``votes``: further samples of the same tier; how far do they agree with the draft?"""

    samples: Annotated[int, Field(ge=1, le=20)] = 2
    temperature: Annotated[float, Field(gt=0.0)] = 1.0


class Second(Section):
    """Family ``second``: another tier's answer to the same question; does it agree with the draft?"""

    tier: str


class Verifier(Section):
    """Family ``verifier``: a tier is asked, for one token, whether the draft is right."""

    tier: str


class Preroute(Section):
    """Skip a cheap tier where it will so probably be rejected that asking it does not pay.

    The predicted chance and the break-even that it is compared with are fitted by calibration.
    """

    enabled: bool = True


class Promotion(Section):
    """When a candidate lock may take the place of the one in force.

    On held-out rows it must be shown, with 95 % confidence on both sides, to lose less than
    ``margin`` of quality (in [0, 1], mean over all requests) against it.
    """

    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01


class SignalPolicy(Section):
    """Which signal sets get a scorer and a share of the error budget, and which signals may cost.

    A set is a list of families. A draft whose set is not declared escalates. ``votes``, ``second``
    and ``verifier`` cost calls, which are charged to the decision; ``user`` names signals given in
    code. ``cost`` says what a signal of recorded data cost to measure, in units of the cheap call
    (``judged_decisiveness = 1.0``): recorded costs of a call do not hold it.
    """

    sets: list[list[str]] = [["logprobs", "text"]]
    user: list[Name] = []
    cost: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    votes: Votes | None = None
    second: Second | None = None
    verifier: Verifier | None = None
