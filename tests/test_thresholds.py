"""No threshold is written into the code: what a score is compared with comes out of a lock."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cascade"
JUDGED = re.compile(r"score|confidence|probability|similarity|threshold|margin|chance", re.IGNORECASE)
RANGE = {0, 1}
"""Ends of the unit interval: what a probability must lie between is no threshold."""


def literals(file: Path) -> list[str]:
    """Comparisons of something judged with a number that is not an end of the unit interval."""
    return comparisons(file.read_text(), file.name)


def comparisons(source: str, name: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        if any(map(is_judged, sides)) and any(number(side) not in RANGE | {None} for side in sides):
            found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    return found


def is_judged(side: ast.expr) -> bool:
    if isinstance(side, ast.Call):
        side = side.func
    name = side.attr if isinstance(side, ast.Attribute) else side.id if isinstance(side, ast.Name) else ""
    return bool(JUDGED.search(name))


def number(side: ast.expr) -> float | None:
    try:
        value = ast.literal_eval(side)
    except ValueError:
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_judged_is_compared_with_a_number_in_the_code(file: Path) -> None:
    assert not literals(file)


@pytest.mark.parametrize("source", ["score > 0.8", "0.5 <= hit.similarity", "p.chance(y) < 0.3", "confidence == -1"])
def test_such_a_comparison_would_be_found(source: str) -> None:
    assert comparisons(source, "here")


@pytest.mark.parametrize("source", ["score >= threshold", "0.0 <= probability <= 1.0", "threshold is None", "n > 3"])
def test_what_is_none_is_let_pass(source: str) -> None:
    assert not comparisons(source, "here")
