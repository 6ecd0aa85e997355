"""The report of a calibration as one HTML file: no network, no script, nothing beside it."""

from __future__ import annotations

from pathlib import Path

from cascade.evidence import Evidence
from cascade.report import pictures, rendering, words

TEMPLATE = "report/page.html.j2"

SHOWN = 8
"""Wrong rows in sight; the rest are folded."""


def html(evidence: Evidence) -> str:
    """The page. The same evidence gives the same text; what comes from data is escaped."""
    kind, level = evidence.kind, evidence.level
    curves = [
        pictures.risk_coverage(one, kind, level).svg(f"risk-{i}") if one.path else None
        for i, one in enumerate(evidence.strata)
    ]
    return rendering.page(
        TEMPLATE,
        evidence=evidence,
        words=words,
        standing=words.STANDINGS[evidence.status],
        headline=words.headline(evidence),
        strata=list(zip(evidence.strata, curves, strict=True)),
        tiers=[(one, pictures.reliability(one)) for one in evidence.reliability],
        trade=pictures.cost_quality(evidence.choices) if evidence.choices else None,
        cheapest=max(evidence.choices, key=lambda choice: choice.served, default=None),
        wrong=sorted(evidence.confidently_wrong, key=lambda row: -row.confidence),
        sections=_sections(evidence),
        shown=SHOWN,
    )


def write(path: Path, evidence: Evidence) -> None:
    """Write the page in one step; ``ConfigError`` when it cannot be written."""
    rendering.put(path, html(evidence))


def _sections(evidence: Evidence) -> list[tuple[str, str]]:
    """Parts of the page that have something to show, by their place."""
    parts = (
        ("risk", "Threshold", evidence.strata),
        ("reliability", "Reliability", evidence.reliability),
        ("cost", "Cost and quality", evidence.choices),
        ("slices", "Slices", evidence.slices),
        ("saving", "Saving", evidence.savings),
        ("break-even", "Break-even", evidence.break_even),
        ("wrong", "Confidently wrong", True),
        ("labels", "Next labels", evidence.next_labels),
        ("scorers", "Scorers", evidence.contest),
        ("signals", "Signals refused", evidence.refused_signals),
        ("left-out", "Left out", evidence.left_out),
        ("limits", "Limits", True),
        ("made", "Origin", True),
    )
    return [(place, name) for place, name, shown in parts if shown]
