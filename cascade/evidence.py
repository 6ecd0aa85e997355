"""What a calibration found out, as values: everything that its report draws and its JSON says.

Shares, risks and probabilities are in [0, 1], money in dollars, quality in [0, 1]. Figures come from
held-out rows, which no step of the calibration has seen, unless a field says otherwise.
"""

from __future__ import annotations

from typing import Literal

from cascade.intervals import Figure
from cascade.types import Record

Status = Literal["certified", "refused", "contradicted"]


class PathPoint(Record, frozen=True, kw_only=True):
    """One candidate threshold of a stratum, strictest first, as the certification rows see it.

    ``served`` is the share of rows that would not go to the last tier. ``n`` and ``bad`` are what the
    test counts; for regret ``better`` are the rows on which the cheap answer was the better one.
    ``risk`` is the empirical selective error or mean regret, ``bound`` its upper confidence limit at
    the stratum's share of delta (of this point alone), NaN where nobody asked for it. ``tested`` says
    that the sequence came here, ``passed`` that the test held.
    """

    threshold: float
    served: float
    n: int
    bad: int
    better: int = 0
    risk: float
    bound: float
    tested: bool = False
    passed: bool = False


class Stratum(Record, frozen=True, kw_only=True):
    """One population with a promise of its own, and how its threshold was found.

    ``start`` and ``chosen`` are places in ``path``; ``chosen`` is None where nothing was certified,
    and ``refusal`` then says what is missing.
    """

    name: str
    slices: list[str]
    signal_sets: list[str]
    delta: float
    rows: int
    path: list[PathPoint] = []
    start: int = 0
    chosen: int | None = None
    refusal: str = ""
    missing_labels: int | None = None


class Bin(Record, frozen=True, kw_only=True):
    """One bin of a reliability diagram: mean stated confidence, and the share right with its interval."""

    confidence: float
    right: Figure
    rows: int


class Reliability(Record, frozen=True, kw_only=True):
    """Is 0.8 right four times of five? One tier's confidences, on held-out rows.

    ``brier`` is the mean squared error of the confidence. ``ece`` is the expected calibration error
    over these bins; ``ece_if_perfect`` is what it would be on average for a perfectly calibrated
    confidence on as many rows, since the plain figure is biased upwards.
    """

    tier: str
    bins: list[Bin]
    brier: float
    ece: float
    ece_if_perfect: float
    auroc: float | None = None
    calibrators: dict[str, str] = {}


class Contestant(Record, frozen=True, kw_only=True):
    """One scorer that was tried for a tier and a signal set, all figures out of fold on the fit rows.

    ``log_loss`` of its probability, ``value`` the predicted saving that it would certify. Lines of tier
    ``all together`` are of all sources under one threshold; they have no log-loss and no AUROC (NaN).
    """

    tier: str
    signal_set: str
    name: str
    rows: int
    log_loss: float
    auroc: float
    value: float
    chosen: bool = False


class RefusedSignal(Record, frozen=True, kw_only=True):
    """A signal that was left out of a scorer, and why."""

    tier: str
    signal: str
    auroc: float
    why: str


class Choice(Record, frozen=True, kw_only=True):
    """What one place on the threshold path costs and is worth, on held-out rows."""

    threshold: float | None
    served: float
    saving: float
    quality_delta: float
    chosen: bool = False


class SliceLine(Record, frozen=True, kw_only=True):
    """One slice of the held-out rows. ``wrong`` is among those served without the last tier."""

    name: str
    rows: int
    served: Figure
    wrong: Figure | None
    saving: Figure | None
    quality_delta: Figure | None
    covered: str


class Saving(Record, frozen=True, kw_only=True):
    """The saving against always-frontier under one choice of signal sets."""

    signals: str
    served: Figure
    saving: Figure
    quality_delta: Figure
    certified: bool


class BreakEven(Record, frozen=True, kw_only=True):
    """The share served cheap from which the cascade pays, audits included, and what was reached.

    ``needed`` is a* of the formula, ``low`` the lower 95 % limit of the share on held-out rows.
    """

    needed: float | None
    reached: Figure
    pays: Literal["pays", "does not pay", "cannot tell yet"]
    audit_rate: float
    cost_cheap: float
    cost_frontier: float
    cost_judge: float


class WrongRow(Record, frozen=True, kw_only=True):
    """An answer that would be served and is not acceptable: for a person to read."""

    id: str
    slice: str
    tier: str
    confidence: float
    question: str
    answer: str
    reference: str
    frontier: str


class NextLabels(Record, frozen=True, kw_only=True):
    """Which labels would help next: so many rows of a population, and what they would cost."""

    stratum: str
    rows: int
    cost: float | None
    why: str


class LeftOut(Record, frozen=True, kw_only=True):
    """Rows that took no part, by reason, with the ids of the first few."""

    reason: str
    rows: int
    examples: list[str]


class Evidence(Record, frozen=True, kw_only=True):
    """A whole calibration, for people. ``kind`` and ``level`` are the target's, ``target`` it in words."""

    policy: str
    kind: Literal["error", "regret"]
    level: float
    status: Status
    statement: str
    target: str
    issued_at: str
    judges: dict[str, int]
    rows: dict[str, int]
    strata: list[Stratum]
    contest: list[Contestant]
    refused_signals: list[RefusedSignal]
    reliability: list[Reliability]
    choices: list[Choice]
    slices: list[SliceLine]
    savings: list[Saving]
    break_even: BreakEven | None
    confidently_wrong: list[WrongRow]
    next_labels: list[NextLabels]
    left_out: list[LeftOut]
    notes: list[str] = []
    headline: str = ""
