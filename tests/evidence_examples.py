"""Evidence as a calibration would find it: a small seeded simulation of judged answers, not made-up figures."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from scipy.stats import beta

from cascade.evidence import (
    Bin,
    BreakEven,
    Choice,
    Contestant,
    Evidence,
    LeftOut,
    NextLabels,
    PathPoint,
    RefusedSignal,
    Reliability,
    Saving,
    SliceLine,
    Stratum,
    WrongRow,
)
from cascade.intervals import Figure, paired_difference, proportion

LEVEL, DELTA = 0.05, 0.05
CHEAP, FRONTIER, JUDGE = 0.000064, 0.000579, 0.0006
TRIED = (("text+logprobs", "logistic"), ("text+logprobs", "trees"), ("text", "logistic"))
NAMES = ("billing", "facts", "extraction", "smalltalk", "refunds", "shipping", "accounts", "other")
QUESTIONS = (
    "Which plan includes priority support, and from which day on?",
    "¿Cuándo llega mi pedido? Lo compré el martes.",
    "Почему списали деньги дважды?",
    "Πότε ανοίγει το κατάστημα;",
    "请问发票什么时候开",
    "متى يصل الطلب؟",
    'Is "<b>50 % off</b>" & "free" the same?',
)


class Rows:
    """Judged answers: calibrated confidences, right or wrong as they say, the frontier mostly right."""

    def __init__(self, n: int, seed: int, skill: float = 1.0) -> None:
        random = np.random.default_rng(seed)
        self.random = random
        self.confidence = random.beta(1.6 * skill, 0.9, n)
        self.right = random.random(n) < self.confidence
        self.frontier = random.random(n) < 0.97
        self.slice = random.integers(0, 1_000_000, n)

    def at(self, threshold: float) -> Any:
        return self.confidence >= threshold


def upper(bad: int, n: int, delta: float) -> float:
    """Clopper and Pearson's upper limit."""
    return 1.0 if n == 0 or bad >= n else float(beta.ppf(1 - delta, bad + 1, n - bad))


def stratum(name: str, n: int, seed: int, delta: float, *, skill: float = 1.0, level: float = LEVEL) -> Stratum:
    """A sequence of tests from the strictest threshold that could pass to the first that does not."""
    rows = Rows(n, seed, skill)
    path: list[PathPoint] = []
    for share in np.linspace(0.02, 1.0, 50):
        threshold = float(np.quantile(rows.confidence, 1 - share))
        served = rows.at(threshold)
        count, bad = int(served.sum()), int((served & ~rows.right).sum())
        point = PathPoint(
            threshold=threshold,
            served=count / n,
            n=count,
            bad=bad,
            risk=bad / count,
            bound=upper(bad, count, delta),
        )
        path.append(point)
    start = next((i for i, p in enumerate(path) if p.n >= 230), len(path))
    chosen = None
    for i in range(start, len(path)):
        passed = path[i].bound <= level
        path[i] = msgspec.structs.replace(path[i], tested=True, passed=passed)
        if not passed:
            break
        chosen = i
    refusal = "" if chosen is not None else f"of {n:,} rows too few are judged to hold {level * 100:.0f} %"
    return Stratum(
        name=name,
        slices=[name],
        signal_sets=["text+logprobs"],
        delta=delta,
        rows=n,
        path=path,
        start=min(start, len(path) - 1),
        chosen=chosen,
        refusal=refusal,
        missing_labels=None if chosen is not None else 214,
    )


def reliability(tier: str, rows: Rows) -> Reliability:
    edges = np.quantile(rows.confidence, np.linspace(0, 1, 11))
    place = np.clip(np.searchsorted(edges, rows.confidence, side="right") - 1, 0, 9)
    bins = []
    for i in range(10):
        held = place == i
        right = proportion(int(rows.right[held].sum()), int(held.sum()))
        bins.append(Bin(confidence=float(rows.confidence[held].mean()), right=right, rows=int(held.sum())))
    gaps = [abs(b.confidence - b.right.estimate) * b.rows for b in bins]
    return Reliability(
        tier=tier,
        bins=bins,
        brier=float(((rows.confidence - rows.right) ** 2).mean()),
        ece=sum(gaps) / len(rows.right),
        ece_if_perfect=0.0312,
        auroc=0.7713,
        calibrators={"text+logprobs": "isotonic", "text": "platt"},
    )


def choices(rows: Rows, at: float) -> list[Choice]:
    found = []
    for threshold in [None, *np.quantile(rows.confidence, np.linspace(0.95, 0, 20))]:
        served = np.zeros(len(rows.right), bool) if threshold is None else rows.at(threshold)
        share = float(served.mean())
        cost = FRONTIER * (1 - share) + (CHEAP if threshold is not None and share < 1 else CHEAP * share)
        delta = float(np.where(served, rows.right, rows.frontier).mean() - rows.frontier.mean())
        found.append(Choice(threshold=threshold, served=share, saving=1 - cost / FRONTIER, quality_delta=delta))
    best = min(range(len(found)), key=lambda i: abs(found[i].served - at))
    found[best] = msgspec.structs.replace(found[best], chosen=True)
    return found


def saving(signals: str, rows: Rows, threshold: float, certified: bool) -> Saving:
    served = rows.at(threshold)
    got = np.where(served, rows.right, rows.frontier).astype(float)
    share = proportion(int(served.sum()), len(served))
    each = 1 - CHEAP / FRONTIER
    figure = Figure(estimate=share.estimate * each, low=(share.low or 0) * each, high=(share.high or 0) * each)
    quality = paired_difference(got, rows.frontier.astype(float))
    return Saving(signals=signals, served=share, saving=figure, quality_delta=quality, certified=certified)


def slice_line(name: str, rows: Rows, threshold: float, covered: str) -> SliceLine:
    one = saving(name, rows, threshold, certified=True)
    served = rows.at(threshold)
    wrong = proportion(int((served & ~rows.right).sum()), int(served.sum()))
    return SliceLine(
        name=name,
        rows=len(served),
        served=one.served,
        wrong=wrong if served.any() else None,
        saving=one.saving,
        quality_delta=one.quality_delta,
        covered=covered,
    )


def wrong_rows(count: int) -> list[WrongRow]:
    rows = []
    for i in range(count):
        question = QUESTIONS[i % len(QUESTIONS)]
        row = WrongRow(
            id=f"row-{i:04}",
            slice=NAMES[i % len(NAMES)],
            tier="cheap",
            confidence=0.991 - i * 0.007,
            question=question * (60 if i == 1 else 1),
            answer="The second one.\n\n- since Monday\n- until Friday",
            reference="The third one.",
            frontier="It is the third one, since Tuesday.",
        )
        rows.append(row)
    return rows


def certified(slices: int = 8, wrong: int = 9) -> Evidence:
    """Two strata of which both are certified, every list filled."""
    strata = [stratum("all slices", 1400, 3, DELTA / 2, skill=5.0), stratum("refunds", 900, 5, DELTA / 2, skill=5.0)]
    threshold = strata[0].path[strata[0].chosen or 0].threshold
    held_out = Rows(640, 11, 5.0)
    names = [NAMES[i] if i < len(NAMES) else f"topic {i:02}" for i in range(slices)]
    lines = [slice_line(n, Rows(60 + 7 * i, i, 3.0 + i % 3), threshold, "all slices") for i, n in enumerate(names)]
    whole = saving("with log-probabilities", held_out, threshold, certified=True)
    return Evidence(
        policy="support",
        kind="error",
        level=LEVEL,
        status="certified",
        statement=f"Of the answers served without the last tier at most 5 % are unacceptable, with 95 % "
        f"confidence, from {sum(s.path[s.chosen or 0].n for s in strata):,} judged answers.",
        target="max_error 0.05 at confidence 0.95",
        issued_at="2026-03-01T12:00:00Z",
        judges={"gold": 2100, "panel-v2": 840},
        rows={"fit": 1200, "certify": 2300, "test": 640},
        strata=strata,
        contest=[
            Contestant(
                tier="cheap",
                signal_set=s,
                name=n,
                rows=1200,
                log_loss=0.41 + 0.01 * i,
                auroc=0.8 - 0.01 * i,
                value=0.35 - 0.02 * i,
                chosen=i in (0, 2),
            )
            for i, (s, n) in enumerate(
                [("text+logprobs", "logistic"), ("text+logprobs", "trees"), ("text", "logistic")]
            )
        ],
        refused_signals=[RefusedSignal(tier="cheap", signal="text.digits", auroc=0.512, why="no better than chance")],
        reliability=[reliability("cheap", held_out), reliability("guided", Rows(400, 17, 2.0))],
        choices=choices(held_out, whole.served.estimate),
        slices=lines,
        savings=[whole, saving("without log-probabilities", held_out, threshold + 0.03, certified=True)],
        break_even=BreakEven(
            needed=0.163,
            reached=whole.served,
            pays="pays",
            audit_rate=0.05,
            cost_cheap=CHEAP,
            cost_frontier=FRONTIER,
            cost_judge=JUDGE,
        ),
        confidently_wrong=wrong_rows(wrong),
        next_labels=[NextLabels(stratum="all slices", rows=214, cost=0.128, why="serves about 4 % more")],
        left_out=[LeftOut(reason="no verdict of the last tier", rows=31, examples=["row-0007", "row-0012"])],
        notes=["The judge panel-v2 was not audited by a person."],
    )


def refused() -> Evidence:
    """Too few rows: nothing certified, nothing to show beside the path."""
    return msgspec.structs.replace(
        certified(),
        status="refused",
        statement="Nothing is certified: at least 59 accepted rows without a bad one are needed, and there are 40.",
        strata=[stratum("all slices", 140, 3, DELTA)],
        reliability=[],
        choices=[],
        slices=[],
        savings=[],
        break_even=None,
        confidently_wrong=[],
        left_out=[],
        notes=[],
    )


def contradicted() -> Evidence:
    """Held-out rows say otherwise."""
    whole = certified(slices=1)
    assert whole.break_even is not None
    return msgspec.structs.replace(
        whole,
        status="contradicted",
        statement="The promise of at most 5 % does not hold on held-out rows: 31 of 311 are unacceptable.",
        break_even=msgspec.structs.replace(whole.break_even, needed=None, pays="does not pay"),
    )
