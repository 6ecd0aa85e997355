"""The report of a calibration as one HTML file: no network, no script, nothing beside it."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.errors import ConfigError
from cascade.evidence import Evidence
from cascade.report import pictures, words

if TYPE_CHECKING:
    import jinja2

TEMPLATE = "page.html.j2"

SHOWN = 8
"""Wrong rows in sight; the rest are folded."""

SHORT = 320
"""Characters of a question or an answer beyond which it is folded, and of a promise that is set smaller."""


def html(evidence: Evidence) -> str:
    """The page. The same evidence gives the same text; what comes from data is escaped."""
    kind, level = evidence.kind, evidence.level
    curves = [
        pictures.risk_coverage(f"risk-{i}", one, kind, level) if one.path else None
        for i, one in enumerate(evidence.strata)
    ]
    return (
        _templates()
        .get_template(TEMPLATE)
        .render(
            evidence=evidence,
            words=words,
            standing=words.STANDINGS[evidence.status],
            headline=words.headline(evidence),
            strata=list(zip(evidence.strata, curves, strict=True)),
            tiers=[(one, pictures.reliability(f"reliability-{i}", one)) for i, one in enumerate(evidence.reliability)],
            trade=pictures.cost_quality("cost", evidence.choices) if evidence.choices else None,
            cheapest=max(evidence.choices, key=lambda choice: choice.served, default=None),
            wrong=sorted(evidence.confidently_wrong, key=lambda row: -row.confidence),
            sections=_sections(evidence),
            shown=SHOWN,
            short=SHORT,
        )
    )


def write(path: Path, evidence: Evidence) -> None:
    """Write the page in one step: a reader sees the old file or the new one, never a part.

    Raises ``ConfigError`` when it cannot be written.
    """
    body = html(evidence).encode("utf-8", "replace")  # half a surrogate pair is no character
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        part.write_bytes(body)
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}; name another file") from error
    finally:
        part.unlink(missing_ok=True)


@functools.cache
def _templates() -> jinja2.Environment:
    """Every value is escaped, and a name that is missing is an error, not an empty place."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("cascade.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"tied": _tied, "minus": _minus}
    return made


def _tied(text: str) -> str:
    """A figure and its unit stay on one line."""
    return _minus(text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" points", "\N{NO-BREAK SPACE}points"))


def _minus(text: str) -> str:
    """A number's minus sign rather than a hyphen, which is too short for one."""
    return re.sub(r"(?<![\w-])-(?=[\d$.])", "\N{MINUS SIGN}", text)


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
