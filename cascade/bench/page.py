"""A benchmark as one HTML file: no network, no script, nothing beside it."""

from __future__ import annotations

from pathlib import Path

from cascade.bench import words as said
from cascade.bench.document import Bench, Pays
from cascade.bench.pictures import pictures
from cascade.report import rendering, words
from cascade.report.words import STANDINGS

TEMPLATE = "bench/page.html.j2"

TONES: dict[Pays, str] = {"pays": "certified", "does not pay": "contradicted", "cannot tell yet": "refused"}
"""Classes of the page's style, which has them for promises."""


def html(bench: Bench) -> str:
    """The page. The same benchmark gives the same text; what comes from data is escaped."""
    whole = bench.strategies[0].cost.estimate * 1000
    return rendering.page(
        TEMPLATE,
        bench=bench,
        said=said,
        words=words,
        standing=said.STANDINGS[bench.verdict.pays],
        tone=TONES[bench.verdict.pays],
        promise=STANDINGS[bench.status],
        ours=said.ours(bench.strategies),
        amount=said.alike(whole),
        price=f"%.{said.digits(whole)}f",
        pictures=pictures(bench),
        sections=_sections(bench),
    )


def write(path: Path, bench: Bench) -> None:
    """Write the page in one step; ``ConfigError`` when it cannot be written."""
    rendering.put(path, html(bench))


def _sections(bench: Bench) -> list[tuple[str, str]]:
    """Parts of the page that have something to show, by their place."""
    parts = (
        ("strategies", "Strategies", True),
        ("pays", "Does it pay?", True),
        ("slices", "Slices", bench.slices),
        ("tails", "Misses", bench.tails),
        ("latency", "Latency", True),
        ("ablation", "Parts taken out", bench.ablation),
        ("scenarios", "Scenarios", bench.scenarios),
        ("confidence", "Confidence", bench.confidence or bench.reliability or bench.curve),
        ("secondary", "Secondary figures", True),
        ("noise", "Noise", bench.noise),
        ("flattered", "Flattered", bench.flattered),
        ("labels", "Labels", bench.labels or bench.misses),
        ("left-out", "Left out", bench.left_out),
        ("limits", "Limits", True),
        ("made", "Origin", True),
    )
    return [(place, name) for place, name, shown in parts if shown]
