"""What is asked for, and whether the figures reach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple

Kind = Literal["times", "faster", "more", "at most"]
"""``times``: ours is at most so many times the other. ``faster``: the other is at least so many times
ours. ``more``: ours is at most so much more than the other. ``at most``: ours alone."""


class Bar(NamedTuple):
    """One thing that is asked for, of one measure of one case."""

    what: str
    kind: Kind
    limit: float
    measure: str
    ours: str
    beside: str = ""
    blocks: bool = False


class Judged(NamedTuple):
    """A bar and how it came out; None where something was not measured.

    ``best`` is the best round of a figure that stands alone: a shared machine adds to it and never
    takes away, while a ratio's two sides are slow together.
    """

    bar: Bar
    ours: float | None
    beside: float | None
    reached: float | None
    best: float | None = None

    @property
    def met(self) -> str:
        """``yes``, ``missed``, ``not measured``, or ``best round only``, which is no yes."""
        if self.reached is None:
            return "not measured"
        limit = self.bar.limit
        if self.reached >= limit if self.bar.kind == "faster" else self.reached <= limit:
            return "yes"
        return "best round only" if self.best is not None and self.best <= limit else "missed"


BARS = (
    Bar("engine, accepted", "times", 0.25, "thread", "accepted", "cascadeflow accepted"),
    Bar("engine, escalated", "times", 0.5, "thread", "escalated", "cascadeflow escalated"),
    Bar("engine and ledger's thread, accepted", "times", 0.25, "process", "accepted", "cascadeflow accepted"),
    Bar("engine and ledger's thread, escalated", "times", 0.5, "process", "escalated", "cascadeflow escalated"),
    Bar("the gate adds, over the provider alone", "more", 1000.0, "wall", "accepted", "provider", True),
    Bar("the same, synchronous caller", "more", 1000.0, "wall", "accepted, sync", "provider", True),
    *(
        bar
        for body in ("plain", "logprobs")
        for bar in (
            Bar("direct and engine", "times", 2.0, "process", f"direct, {body}", f"aiohttp, {body}"),
            Bar(
                "direct and engine, sync",
                "times",
                2.0,
                "process",
                f"direct, {body}, sync",
                f"httpx, {body}, sync",
            ),
            Bar("direct and engine", "faster", 10.0, "process", f"direct, {body}", f"litellm, {body}"),
            Bar("direct and engine", "faster", 3.0, "process", f"direct, {body}", f"cascadeflow, {body}"),
        )
    ),
    *(
        Bar(f"exact {case}", "at most", limit, measure, case, blocks=True)
        for limit, cases in (
            (30.0, ["hit in memory", "hit in memory, async"]),
            (100.0, ["hit persisted", "hit persisted, async", "hit persisted, off the disk"]),
        )
        for case in cases
        for measure in ("thread", "wall")
    ),
    Bar("`import cascade`", "times", 2.0, "cpu", "import cascade", "import pydantic", True),
    Bar("`from cascade import Cascade`", "times", 2.0, "cpu", "from cascade import Cascade", "import pydantic"),
    Bar("the same", "times", 2.0, "cpu", "from cascade import Cascade", "from pydantic import BaseModel"),
    Bar("`from cascade import Cascade`", "at most", 50.0, "rss", "from cascade import Cascade", "", True),
    Bar("`from cascade import Cascade`", "at most", 0.0, "heavy", "from cascade import Cascade", "", True),
)


def judge(figures: Mapping[str, Mapping[str, Sequence[float]]], bars: Sequence[Bar] = BARS) -> list[Judged]:
    """Each bar held against the figures: medians over the rounds, ratios round by round."""
    return [_judged(bar, figures) for bar in bars]


def _judged(bar: Bar, figures: Mapping[str, Mapping[str, Sequence[float]]]) -> Judged:
    ours = figures.get(bar.ours, {}).get(bar.measure)
    beside = figures.get(bar.beside, {}).get(bar.measure)
    if not ours or (bar.beside and not beside):
        return Judged(bar, median(ours) if ours else None, median(beside) if beside else None, None)
    if not beside:
        return Judged(bar, median(ours), None, median(ours), min(ours))
    pairs = list(zip(ours, beside, strict=True))
    reached = {
        "times": lambda: median(mine / other for mine, other in pairs),
        "faster": lambda: median(other / mine for mine, other in pairs),
        "more": lambda: median(mine - other for mine, other in pairs),
        "at most": lambda: median(ours),
    }[bar.kind]()
    return Judged(bar, median(ours), median(beside), reached)
