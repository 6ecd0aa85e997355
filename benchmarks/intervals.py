"""How often the intervals of a report cover what they estimate, on populations whose truth is known.

Every case has a seed of its own and neither date nor machine is written down, so that the same command
gives the same files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from math import exp
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from cascade.intervals import Bootstrap, Figure, paired_difference, proportion
from cascade.metrics import auroc_figure, quantile

SEED = 2026
ROWS = (100, 300, 1000)
SHARES = (0.01, 0.05, 0.20)
PROMISED = 0.95
LOSSES = 0.75
"""Share of the disagreements that ours loses: a cascade's usually are."""

SIGMA = 1.0
"""Of the logarithm of costs and latencies: the dearest of a hundred requests costs ten times the median one."""

CHEAP, ESCALATED = 0.05, 0.40
RIGHT, APART = 0.80, 1.0
GAIN = (-1.0, 0.5)
"""Ends between which a graded difference is uniform where two graded answers differ."""

METHOD = """
Covers is the share of repetitions whose 95 % interval holds the true value, ± one Monte Carlo standard error; the truth
lies below or above the interval in the others. Width is the mean length of the interval. Bold is more than three
standard errors below 95 %. Two answers that are right or wrong disagree on the share given, and three of four
disagreements are losses. Graded answers differ on the share given, by a uniform amount between -1 and 0.5. Costs and
latencies are lognormal with sigma 1; a cheap call costs 5 % of a frontier one on average and 40 % escalate. The score
that the AUROC is of is normal, one standard deviation higher where the answer is right, which 80 % are. Bootstraps have
2,000 resamples, the same for all repetitions of a size, as a report has one set for all its figures. A p99 of 100 or of
300 rows has no interval: too often no row at all lies beyond it.
"""


class Case(NamedTuple):
    """One interval on one population: ``figure`` draws ``n`` rows and estimates the ``truth`` from them."""

    interval: str
    population: str
    n: int
    truth: float
    figure: Callable[[Generator], Figure]
    repetitions: int
    used: bool = True


@cache
def boot(n: int, a_group: int = 1) -> Bootstrap:
    """One set of resamples for each number of rows, so many rows in each group."""
    return Bootstrap([str(i // a_group) for i in range(n)])


def disagreeing(n: int, share: float, random: Generator) -> tuple[Any, Any]:
    """Right or wrong answers of two sides that disagree on the share given."""
    kind = random.random(n)
    return (kind >= share * LOSSES).astype(float), ((kind < share * LOSSES) | (kind >= share)).astype(float)


def of_pairs(n: int, share: float, random: Generator) -> Figure:
    return paired_difference(*disagreeing(n, share, random))


def of_pairs_resampled(n: int, share: float, random: Generator) -> Figure:
    ours, theirs = disagreeing(n, share, random)
    return boot(n).mean(ours - theirs)


def graded(n: int, share: float, random: Generator) -> Any:
    """Differences of two graded answers, none where they are graded alike."""
    return np.where(random.random(n) < share, random.uniform(*GAIN, size=n), 0.0)


def of_grades(n: int, share: float, random: Generator) -> Figure:
    return paired_difference(graded(n, share, random), np.zeros(n))


def of_grades_resampled(n: int, share: float, random: Generator) -> Figure:
    return boot(n).mean(graded(n, share, random))


def of_share(n: int, share: float, random: Generator) -> Figure:
    return proportion(int(random.binomial(n, share)), n)


def of_cost(n: int, random: Generator) -> Figure:
    return boot(n).mean(random.lognormal(0.0, SIGMA, n))


def of_rewordings(n: int, random: Generator) -> Figure:
    """Each question twice, its two costs alike."""
    return boot(n, 2).mean(np.repeat(random.lognormal(0.0, SIGMA, n // 2), 2))


def of_rewordings_apart(n: int, random: Generator) -> Figure:
    """The same rows as if they were independent."""
    return boot(n).mean(np.repeat(random.lognormal(0.0, SIGMA, n // 2), 2))


def of_saving(n: int, random: Generator) -> Figure:
    frontier, cheap = random.lognormal(0.0, SIGMA, n), CHEAP * random.lognormal(0.0, SIGMA, n)
    return boot(n).saving(cheap + frontier * (random.random(n) < ESCALATED), frontier)


def of_quantile(n: int, q: float, random: Generator) -> Figure:
    return quantile(random.lognormal(0.0, SIGMA, n), q, boot(n))


def of_quantile_resampled(n: int, q: float, random: Generator) -> Figure:
    """The percentile bootstrap: quantiles of rows by how often each was drawn."""
    ordered = np.sort(random.lognormal(0.0, SIGMA, n))

    def resampled(weights: Any) -> Any:
        upto = np.cumsum(weights, axis=-1)
        return ordered[(upto < q * upto[..., -1:]).sum(axis=-1)]

    return boot(n).figure(resampled, ordered)


def of_auroc(n: int, random: Generator) -> Figure:
    right = random.random(n) < RIGHT
    found = auroc_figure(random.normal(APART * right, 1.0), right, boot(n))
    return found or Figure(estimate=float("nan"))


def cases(quick: int = 4000, slow: int = 1000, slowest: int = 300) -> list[Case]:
    """All of them, in the order of the table; repetitions of closed forms are many, of long resamplings few."""
    mean = exp(SIGMA**2 / 2)
    found = []
    for n in ROWS:
        for share in SHARES:
            made = partial(Case, n=n, population=f"{share:.0%} disagree", truth=share * (1 - 2 * LOSSES))
            found.append(made("difference, Bonett-Price", figure=partial(of_pairs, n, share), repetitions=quick))
            plain = partial(of_pairs_resampled, n, share)
            found.append(made("difference, plain bootstrap", figure=plain, repetitions=slow, used=False))
            made = partial(Case, n=n, population=f"{share:.0%} differ", truth=share * sum(GAIN) / 2)
            found.append(
                made("graded difference, Bonett-Price", figure=partial(of_grades, n, share), repetitions=quick)
            )
            plain = partial(of_grades_resampled, n, share)
            found.append(made("graded difference, bootstrap", figure=plain, repetitions=slow))
            wilson = partial(of_share, n, share)
            found.append(Case("share, Wilson", f"{share:.0%} wrong", n, share, wilson, quick))
        found.append(Case("mean cost, bootstrap", "lognormal", n, mean, partial(of_cost, n), slow))
        found.append(Case("saving, bootstrap", "lognormal", n, 1 - CHEAP - ESCALATED, partial(of_saving, n), slow))
        grouped = partial(Case, population="lognormal, each twice", n=n, truth=mean, repetitions=slow)
        found.append(grouped("mean cost, bootstrap of groups", figure=partial(of_rewordings, n)))
        found.append(grouped("mean cost, groups ignored", figure=partial(of_rewordings_apart, n), used=False))
        for q in (0.50, 0.95, 0.99):
            truth = exp(SIGMA * NormalDist().inv_cdf(q))
            made = partial(Case, population="lognormal", n=n, truth=truth, repetitions=slow)
            latency = partial(of_quantile, n, q)
            if latency(np.random.default_rng(0)).high is not None:
                found.append(made(f"p{q * 100:.0f} latency, order statistics", figure=latency))
            plain = partial(of_quantile_resampled, n, q)
            found.append(made(f"p{q * 100:.0f} latency, plain bootstrap", figure=plain, used=False))
        truth = NormalDist().cdf(APART / 2**0.5)
        found.append(Case("AUROC, bootstrap", "normal", n, truth, partial(of_auroc, n), slowest))
    return sorted(found, key=lambda case: (case.interval, case.population, case.n))


def measure(say: Callable[[str], None], chosen: Iterable[Case] | None = None) -> list[dict[str, Any]]:
    """One line a case."""
    lines = []
    for case in cases() if chosen is None else chosen:
        began = time.monotonic()
        lines.append(repeated(case))
        say(f"{case.interval}, {case.population}, n = {case.n}: {time.monotonic() - began:.1f} s")
    return lines


def repeated(case: Case) -> dict[str, Any]:
    """The figures of one case. Its seed is made of its names, so that another case beside it changes nothing."""
    random = np.random.default_rng([SEED, case.n, *f"{case.interval} {case.population}".encode()])
    ends = np.array([(f.low, f.high) for f in (case.figure(random) for _ in range(case.repetitions))], dtype=float)
    below, above = float((case.truth < ends[:, 0]).mean()), float((case.truth > ends[:, 1]).mean())
    covers = 1.0 - below - above
    return {
        "interval": case.interval,
        "population": case.population,
        "n": case.n,
        "truth": case.truth,
        "used": case.used,
        "repetitions": case.repetitions,
        "covers": covers,
        "error": (max(covers * (1 - covers), 0.0) / case.repetitions) ** 0.5,
        "below": below,
        "above": above,
        "width": float((ends[:, 1] - ends[:, 0]).mean()),
    }


def short(line: dict[str, Any]) -> bool:
    """Whether it covers less than it says, beyond chance."""
    chance = (PROMISED * (1 - PROMISED) / line["repetitions"]) ** 0.5
    return bool(line["covers"] < PROMISED - 3 * chance)


def document(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that was found, for ``intervals.json``."""
    return {"command": "python -m benchmarks intervals", "seed": SEED, "promised": PROMISED, "lines": lines}


def markdown(made: dict[str, Any]) -> str:
    """The page ``intervals.md``."""
    used = [line for line in made["lines"] if line["used"]]
    head = (
        "| interval | population | n | covers | truth below | truth above | width |\n|---|---|---:|---:|---:|---:|---:|"
    )
    return "\n".join(
        [
            "# Intervals",
            "",
            f"`{made['command']}`",
            METHOD,
            f"{sum(not short(line) for line in used)} of {len(used)} cases of the intervals that reports use cover"
            " what they say.",
            "",
            "## Used in reports",
            "",
            head,
            *map(row, used),
            "",
            "## Not used, and why",
            "",
            head,
            *(row(line) for line in made["lines"] if not line["used"]),
            "",
        ]
    )


def row(line: dict[str, Any]) -> str:
    """One line of a table."""
    covers = f"{line['covers'] * 100:.1f} ± {line['error'] * 100:.1f} %"
    return (
        f"| {line['interval']} | {line['population']} | {line['n']:,} | {f'**{covers}**' if short(line) else covers} | "
        f"{line['below'] * 100:.1f} % | {line['above'] * 100:.1f} % | {line['width']:.3g} |"
    )
