"""Benchmarks as ``cascade bench`` would find them: a small seeded simulation, summed up as the real ones are."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from cascade.bench.document import (
    Ablated,
    Bench,
    Concentration,
    Curve,
    Discriminated,
    Entrant,
    Flattered,
    Lost,
    Noise,
    Place,
    Scenario,
    SliceTable,
    Tails,
    Verdict,
    Waterfall,
)
from cascade.columns import Column, gated, lots, oracle, routed
from cascade.compare import Strategy, Table
from cascade.evidence import LeftOut
from cascade.intervals import Figure, proportion
from cascade.metrics import Discrimination, Escalations, escalations
from cascade.types import Outcome
from cascade.urgency import Hidden, LabelComparison, Missed, MissesCompared, Symmetry
from tests.evidence_examples import Rows, reliability

CHEAP, FRONTIER, AUDIT = 0.000064, 0.000579, 0.00003
LEVEL = 0.05
SLICES = ("arithmetic", "facts", "extraction", "translation", "smalltalk")
RIVALS = {
    "best raw threshold": 0.55,
    "Hoeffding sweep, uncorrected": 0.95,
    "margin and isotonic": 0.62,
    "cascadeflow 1.2": 0.18,
}


class World:
    """Rows that a cheap and a dear model answered, and every strategy on them."""

    def __init__(self, n: int, seed: int = 11, dear: float = FRONTIER) -> None:
        random = np.random.default_rng(seed)
        known = Rows(n, seed, 1.5)
        self.slices = random.choice(SLICES, n, p=(0.4, 0.3, 0.15, 0.1, 0.05))
        self.confidence = known.confidence
        self.frontier = self.always("always-frontier", known.frontier, dear, 2.4, random, last=True)
        self.cheap = self.always("always cheap", known.right, CHEAP, 0.5, random)
        self.other = self.always("always cheap-guided", random.random(n) < 0.8, CHEAP * 2.2, 0.9, random)
        self.random = random

    def always(self, name: str, right: Any, cost: float, seconds: float, random: Any, *, last: bool = False) -> Column:
        n = len(right)
        return Column(
            name=name,
            quality=right.astype(float),
            cost=cost * random.lognormal(0.0, 0.4, n),
            latency=seconds * random.lognormal(0.0, 0.5, n),
            cheap=np.full(n, 0.0 if last else 1.0),
            asked=np.full(n, not last),
        )

    def columns(self, threshold: float) -> list[Column]:
        """Always-frontier first, then all that a benchmark compares."""
        cascade = gated("cascade", self.confidence >= threshold, self.cheap, self.frontier)
        cascade = replace(cascade, aside=AUDIT * cascade.cheap)
        rivals = [gated(name, self.confidence >= at, self.cheap, self.frontier) for name, at in RIVALS.items()]
        thrown = self.random.random(len(self.confidence)) < 0.4
        return [
            self.frontier,
            self.cheap,
            self.other,
            cascade,
            lots(self.cheap, self.frontier, float(cascade.spent.mean())),
            oracle([self.cheap, self.other], self.frontier),
            *rivals,
            routed("query-only quantile", thrown, self.cheap, self.frontier),
        ]

    def summed(self, columns: list[Column], rows: Any = None) -> list[Strategy]:
        places = np.arange(len(self.confidence)) if rows is None else np.flatnonzero(rows)
        outcomes = [Outcome(id=f"row-{i}", models={}) for i in places]
        table = Table(outcomes, columns[0].take(places))
        return [table.strategy(one.take(places)) for one in columns]


def figure(estimate: float, half: float) -> Figure:
    return Figure(estimate=estimate, low=estimate - half, high=estimate + half)


def pays(n: int = 600, slices: int = len(SLICES)) -> Bench:
    """A cascade that pays, every part of the document filled."""
    world = World(n)
    columns = world.columns(0.9)
    strategies = world.summed(columns)
    cascade = strategies[3]
    tables = [
        SliceTable(name=name, rows=int(held.sum()), covered="all traffic", strategies=world.summed(columns, held))
        for name in SLICES[:slices]
        if (held := world.slices == name).any()
    ]
    return Bench(
        policy="support",
        target="max_error 0.05 at confidence 0.95",
        kind="error",
        level=LEVEL,
        status="certified",
        statement="Of the answers served without the last tier at most 5 % are unacceptable, with 95 % confidence.",
        judges={"gold": 2100, "panel-v2": 840},
        rows={"fit": 1200, "certify": 2300, "test": n + 31},
        measured=n,
        left_out=[LeftOut(reason="no verdict of the last tier", rows=31, examples=["row-0007", "row-0012"])],
        verdict=Verdict(
            pays="pays",
            sentence=f"This cascade pays: it saves {cascade.saving.estimate * 100:.1f} % against always-frontier, "
            f"every wasted call and audit counted.",
            saving=cascade.saving,
            break_even=0.163,
            accept_rate=cascade.accept_rate,
            price_ratio=9.0,
            least_price_ratio=2.7,
            labels=1.31,
            payback=5234.0,
            judge_cost=0.0006,
        ),
        strategies=strategies,
        entrants=[Entrant(name=one.name, what=f"what {one.name} does", promise="") for one in strategies],
        slices=tables,
        ablation=ablation(world),
        claims=["That the three together save most holds on these rows."],
        waterfall=waterfall(columns[3], world),
        escalations=escalations(world.cheap.quality, world.frontier.quality, columns[3].cheap == 0.0),
        confidence=[
            Discriminated(
                source="cheap",
                of=Discrimination(
                    rows=n, auroc=figure(0.792, 0.03), aurc=figure(0.081, 0.012), e_aurc=figure(0.041, 0.01),
                    ece=figure(0.048, 0.02), ece_if_perfect=0.031,
                ),
                best_raw="top.min_margin", best_raw_auroc=0.771,
            )
        ],
        reliability=[reliability("cheap", Rows(640, 11, 5.0))],
        curve=curve(world),
        noise=Noise(
            questions=200, question=0.62, draw=0.38, judge=None, redrawing=0.011,
            sentence="The difference of -0.8 points is smaller than what drawing again would move it by, 1.1 points.",
        ),
        tails=Tails(
            searched=41,
            served=151,
            misses=14,
            found=[
                Concentration(
                    rule="questions longer than 212 characters", rows=61, misses=7, rate=proportion(7, 61),
                    elsewhere=proportion(7, n - 61), p=0.012, significant=True,
                )
            ],
            sentence="Of 41 parts of the traffic that were searched one holds more misses than chance would put there.",
        ),
        flattered=[
            Flattered(
                trick="the calls that were thrown away not counted", saving=0.61, quality_delta=-0.008,
                honest_saving=cascade.saving.estimate, honest_quality_delta=cascade.quality_delta.estimate,
            )
        ],
        labels=[
            LabelComparison(
                field="opinion", rows=n, values=["Qualified", "Adverse", "ambiguous"],
                matrix=[[n - 12, 1, 0], [7, 2, 0], [1, 1, 0]], differs=proportion(10, n),
                uninformative=False,
                symmetry=Symmetry(test="McNemar", said="Served answers lean towards Adverse"),
                ambiguous_served=2, ambiguous_frontier=0,
            )
        ],
        misses=MissesCompared(
            rows=n, judged=40, missed_by_frontier=[],
            missed_by_served=[
                Missed(row="row-0003", what="needs an exclusive lock", critical=True, judge="llm:one", compared=True),
                Missed(row="row-0004", what="no date is named", critical=False, judge="llm:one", compared=False),
            ],
            hidden=[
                Hidden(
                    row="row-0003", judge="llm:one", served=0.8, frontier=0.9, missed_by="served",
                    what=["needs an exclusive lock"],
                )
            ],
        ),
        scenarios=scenarios(strategies, n),
        notes=["The judge panel-v2 was not audited by a person."],
    )  # fmt: skip


def ablation(world: World) -> list[Ablated]:
    found = []
    for i, name in enumerate(("all three", "cascade only", "routing only", "cache only", "guided prompt only")):
        column = gated("cascade" if not i else name, world.confidence >= 0.9 + 0.015 * i, world.cheap, world.frontier)
        strategy = world.summed([world.frontier, column])[1]
        found.append(
            Ablated(
                name=name,
                what=f"{name}, nothing else",
                certified=i != 3,
                strategy=strategy,
                saving_gain=figure(0, 0.01),
            )
        )
    return found


def waterfall(cascade: Column, world: World) -> Waterfall:
    served = cascade.cheap == 1.0
    parts = {
        "frontier": float(world.frontier.cost.mean()),
        "avoided": float((world.frontier.cost * served).mean()),
        "served": float((world.cheap.cost * served).mean()),
        "wasted": float((world.cheap.cost * ~served).mean()),
        "extras": 0.0000042,
        "embedding": 0.0,
        "audits": float(cascade.aside.mean()),
        "labels": 0.0000131,
    }
    whole = parts["frontier"] - parts["avoided"] + sum(parts[name] for name in list(parts)[2:])
    return Waterfall(**parts, cascade=whole)


def curve(world: World) -> Curve:
    places = []
    for share in np.linspace(0.0, 1.0, 15):
        accepts = world.confidence >= np.quantile(world.confidence, share)
        one = gated("", accepts, world.cheap, world.frontier)
        place = Place(
            frontier_share=float(1 - accepts.mean()), cost=float(one.cost.mean()), quality=float(one.quality.mean()),
            chosen=6 <= 14 * share < 7,
        )  # fmt: skip
        places.append(place)
    return Curve(places=places, aiq=0.873, apgr=0.712, cpt50=0.214, cpt80=None)


def scenarios(strategies: list[Strategy], rows: int) -> list[Scenario]:
    names = ("frontier down for an hour", "log-probabilities disappear", "the cheap model gets worse", "prices halve")
    return [
        Scenario(
            name=name,
            what=f"{name}, and nothing is fitted again",
            rows=rows,
            lost=[lost(one, i, j) for j, one in enumerate(strategies)],
            check="broken" if i == 2 else None,
            sentence=f"In this scenario the cascade loses {i * 0.4:.1f} points.",
        )
        for i, name in enumerate(names)
    ]


def lost(one: Strategy, i: int, j: int) -> Lost:
    less = 0.004 * i * (1 + j % 4)
    return Lost(
        name=one.name, quality=one.quality.estimate - less, quality_lost=less,
        cost=one.cost.estimate, reported_delta=0.01 if i == 3 else None,
        quality_delta=one.quality_delta.estimate - less, saving=one.saving.estimate - 0.02 * i, saving_lost=0.02 * i,
        accept_rate=one.accept_rate.estimate, accepted_error=None, latency_p95=one.latency_p95.estimate,
        failed=0.01 * (i == 0), kept=None if one.name != "cascade" else i != 2,
    )  # fmt: skip


def does_not_pay() -> Bench:
    """Prices nearly alike: the wasted calls cost more than the avoided ones."""
    world = World(240, seed=5, dear=CHEAP * 1.3)
    columns = world.columns(0.97)
    strategies, whole = world.summed(columns), pays(240)
    verdict = replace(
        whole.verdict, pays="does not pay", saving=strategies[3].saving, accept_rate=strategies[3].accept_rate,
        sentence="This cascade does not pay: it costs more than always asking the last tier.",
        break_even=None, price_ratio=1.3, least_price_ratio=None, payback=None, labels=None, judge_cost=None,
    )  # fmt: skip
    return replace(
        whole, kind="regret", verdict=verdict, strategies=strategies, waterfall=waterfall(columns[3], world),
        slices=[SliceTable(name="", rows=240, covered="all traffic", strategies=strategies)],
        curve=Curve(places=[], aiq=None, apgr=None, cpt50=None, cpt80=None, refused="the gap is under 5 points"),
    )  # fmt: skip


def bare() -> Bench:
    """Nothing certified and nothing served: whatever may be missing is missing."""
    world = World(40, seed=2)
    columns = world.columns(2.0)
    strategies = world.summed([columns[0], columns[1], columns[3]])
    nothing = Figure(estimate=float("nan"))
    whole = pays(40)
    return replace(
        whole, status="refused", statement="Nothing is certified: too few rows.", strategies=strategies,
        verdict=replace(
            whole.verdict, pays="cannot tell yet", sentence="It cannot be told yet.", saving=strategies[2].saving,
            accept_rate=strategies[2].accept_rate, price_ratio=None, judge_cost=None,
        ),
        judges={}, left_out=[], entrants=[], slices=[], ablation=[], waterfall=waterfall(columns[3], world),
        escalations=Escalations(rows=40, escalated=0, useful=nothing, wasted=nothing, harmful=nothing, counts={}),
        confidence=[], reliability=[], curve=None, scenarios=[], flattered=[], notes=[],
        noise=None, tails=None, claims=[], labels=[], misses=None,
    )  # fmt: skip


EXAMPLES = {"pays": pays(), "does not pay": does_not_pay(), "bare": bare()}
KEPT = frozenset({"cascade", "always-frontier", "oracle", "error", "regret", "broken"})
"""Texts that are no data: names that a report looks for, and words out of a few."""


def with_names(bench: Bench, name: str) -> Bench:
    """Names as long or as strange as one likes, told apart by a number."""
    named = [one if one.name in KEPT else replace(one, name=f"{i} {name}") for i, one in enumerate(bench.strategies)]
    return replace(bench, strategies=named)
