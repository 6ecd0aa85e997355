"""What ``cascade bench`` found out, as values: everything that its page draws and its JSON says.

Shares and qualities are in [0, 1], money in dollars, times in seconds. Every figure is of held-out rows,
with a 95 % interval where one makes sense.
"""

from __future__ import annotations

from typing import Literal

from cascade.compare import Strategy
from cascade.evidence import LeftOut, Reliability, Status
from cascade.intervals import Figure
from cascade.metrics import Discrimination, Escalations
from cascade.recheck import Answer
from cascade.types import Record
from cascade.urgency import LabelComparison, MissesCompared

Pays = Literal["pays", "does not pay", "cannot tell yet"]


class Entrant(Record, frozen=True, kw_only=True):
    """One strategy of the table: what it is in words, its figures, and what it promises (empty: nothing)."""

    name: str
    what: str
    promise: str = ""


class SliceTable(Record, frozen=True, kw_only=True):
    """All strategies on the rows of one slice; ``covered`` says which promise speaks about it."""

    name: str
    rows: int
    covered: str
    strategies: list[Strategy]


class Ablated(Record, frozen=True, kw_only=True):
    """One variant with parts taken out, calibrated by itself on the same rows.

    ``certified`` says whether its own calibration found a promise; without one it sends everything to the
    frontier, unless ``what`` says otherwise. ``saving_gain`` is its saving less the cascade's, a paired interval.
    """

    name: str
    what: str
    certified: bool
    strategy: Strategy
    saving_gain: Figure


class Waterfall(Record, frozen=True, kw_only=True):
    """From the cost of always-frontier to the cascade's, in dollars a request; parts add up exactly.

    ``frontier`` is what always-frontier costs, ``avoided`` the frontier calls that did not happen.
    ``served`` are cheap calls whose answer was served, ``wasted`` those whose draft was thrown away,
    ``extras`` samples, verifiers and checks, ``embedding`` vectors of hosted embedders. ``audits`` are
    expected, ``labels`` those of the calibration over the stated number of requests (0.0 where none was
    stated). ``cascade`` = frontier - avoided + all the others.
    """

    frontier: float
    avoided: float
    served: float
    wasted: float
    extras: float
    embedding: float
    audits: float
    labels: float
    cascade: float


class Verdict(Record, frozen=True, kw_only=True):
    """Does it pay? ``sentence`` says it in words, with its figures.

    ``break_even`` is the accept rate from which on it pays at these prices, None where none would do;
    ``accept_rate`` what was reached. ``price_ratio`` is how many times dearer the last tier is than a
    cheap call, ``least_price_ratio`` the ratio below which this cascade stops paying, None where no
    ratio would do. ``labels`` are the dollars that the labels of the calibration cost, None where a price is not
    known, and ``payback`` after how many requests the saving has paid for them.
    """

    pays: Pays
    sentence: str
    saving: Figure
    break_even: float | None
    accept_rate: Figure
    price_ratio: float | None
    least_price_ratio: float | None
    labels: float | None
    payback: float | None
    judge_cost: float | None


class Discriminated(Record, frozen=True, kw_only=True):
    """One source's confidence on held-out rows: ``of`` how it ranks and how well it is calibrated.

    ``best_raw`` is the signal that ranked best on the rows seen and ``best_raw_auroc`` what it has on these;
    None for a source without one.
    """

    source: str
    of: Discrimination
    best_raw: str | None = None
    best_raw_auroc: float | None = None


class Place(Record, frozen=True, kw_only=True):
    """One threshold on the cascade's path: share of rows that the last tier answered, dollars a request, quality."""

    frontier_share: float
    cost: float
    quality: float
    chosen: bool = False


class Curve(Record, frozen=True, kw_only=True):
    """Secondary figures over the whole path, thresholds chosen by nobody; None where refused, ``refused`` says why.

    ``aiq``: RouterBench. ``apgr`` and ``cpt`` (share of frontier calls that recovers half, and 80 %, of the
    gap): RouteLLM. Neither counts audits; the latter do not count the cheap call either.
    """

    places: list[Place]
    aiq: float | None
    apgr: float | None
    cpt50: float | None
    cpt80: float | None
    refused: str = ""


class Noise(Record, frozen=True, kw_only=True):
    """Where the uncertainty of the quality difference comes from; None where the rows cannot say.

    ``question``, ``draw`` and ``judge`` are shares of the variance of the mean difference, from ``questions``
    served cheap and drawn or judged more than once: which questions were asked, which answer was drawn, what
    the judge said. ``redrawing`` is by how much the difference would move (95 %) from drawing again alone,
    and ``sentence`` says when the difference is smaller than that.
    """

    questions: int
    question: float | None = None
    draw: float | None = None
    judge: float | None = None
    redrawing: float | None = None
    sentence: str


class Concentration(Record, frozen=True, kw_only=True):
    """A part of the traffic in which served misses are more frequent than elsewhere.

    ``rule`` names it in words. ``misses`` of its ``rows`` are wrong answers served without the last tier
    where that one is right (wherever they are wrong, for an error target), out of the served ones.
    ``p`` is adjusted for all ``searched`` parts (see ``cascade.bench.tails``).
    """

    rule: str
    rows: int
    misses: int
    rate: Figure
    elsewhere: Figure
    p: float
    significant: bool


class Tails(Record, frozen=True, kw_only=True):
    """The search for where the misses are; ``sentence`` says what it found, or that it found nothing.

    ``searched`` parts of ``served`` answers with ``misses`` among them; ``found`` has the strongest few, which
    need not be significant. ``detectable`` is the rate of misses that would have been found in a rare part
    (6 % of what is served) 8 times of 10: below it, finding nothing says nothing. None where no rate would.
    """

    searched: int
    served: int
    misses: int
    found: list[Concentration]
    detectable: float | None = None
    sentence: str


class Flattered(Record, frozen=True, kw_only=True):
    """The same cascade as a flattering report would show it, beside the honest figure."""

    trick: str
    saving: float
    quality_delta: float
    honest_saving: float
    honest_quality_delta: float


class Lost(Record, frozen=True, kw_only=True):
    """What a scenario did to one strategy: its figures in it, and the differences to the untouched rows.

    ``cost`` is in dollars a request with expected audits; ``saving`` and ``quality_delta`` are against
    always-frontier in the same scenario. ``failed`` is the share of requests without an answer: their quality
    is 0, nobody accepted them, and the latency is of the others (None where there are none). ``accepted_error``
    is None where nothing was accepted. ``kept`` says whether a promise that the strategy has would still hold
    on these rows, as they are; None for a strategy without one. ``reported_delta`` and ``reported_error`` are
    what the labels at hand would say, None where they say the truth.
    """

    name: str
    quality: float
    quality_lost: float
    quality_delta: float
    cost: float
    saving: float
    saving_lost: float
    accept_rate: float
    accepted_error: float | None
    latency_p95: float | None
    failed: float
    kept: bool | None = None
    reported_delta: float | None = None
    reported_error: float | None = None


class Scenario(Record, frozen=True, kw_only=True):
    """One thing that changed in the world, and what each strategy lost by it with nothing fitted again.

    ``rows`` were asked in it; ``sentence`` says with figures who lost what and whether the cascade noticed.
    ``check`` is what ``cascade check`` would answer, given these rows with the labels that they would have; None
    where no label or signal is another one, or where there is no promise.
    """

    name: str
    what: str
    rows: int
    lost: list[Lost]
    check: Answer | None = None
    sentence: str


class Bench(Record, frozen=True, kw_only=True):
    """A whole benchmark. ``strategies`` begins with always-frontier; the certified cascade is named ``cascade``.

    ``kind`` and ``level`` are the target's, ``target`` it in words.
    ``claims`` are what is said of such systems, held against the ablation. ``rows`` counts rows by split,
    ``measured`` how many of the held-out ones every figure is of.
    """

    policy: str
    target: str
    kind: Literal["error", "regret"]
    level: float
    status: Status
    statement: str
    judges: dict[str, int]
    rows: dict[str, int]
    measured: int
    left_out: list[LeftOut]
    verdict: Verdict
    strategies: list[Strategy]
    entrants: list[Entrant]
    slices: list[SliceTable]
    waterfall: Waterfall
    escalations: Escalations
    confidence: list[Discriminated]
    reliability: list[Reliability]
    curve: Curve | None
    flattered: list[Flattered]
    ablation: list[Ablated] = []
    claims: list[str] = []
    noise: Noise | None = None
    tails: Tails | None = None
    labels: list[LabelComparison] = []
    misses: MissesCompared | None = None
    scenarios: list[Scenario] = []
    notes: list[str] = []
