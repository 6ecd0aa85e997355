"""Which part saves what: cache, routing and cascade, alone and together, each calibrated by itself.

Every variant gets the same rows, the same target and a calibration of its own, so that none carries a
threshold that was meant for another. The one exception is named: a router put before a cascade that does not
know of it, which is what a stack of two products is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cascade.bench.document import Ablated
from cascade.bench.field import Field, Measured
from cascade.bench.variants import ALL, DECLARED, PAIRS, UNDECLARED, Part, Variants
from cascade.compare import Strategy
from cascade.learning.calibrate import Learned
from cascade.types import Outcome

Progress = Callable[[str], None]


def ablation(
    field: Field, learned: Learned, outcomes: Sequence[Outcome], measured: Measured, told: Progress = lambda _: None
) -> list[Ablated]:
    """All variants that the rows can carry, measured on the rows of ``measured``.

    Without stored answers in the rows the variants with a cache are left out; without questions those with routing.
    """
    made = Variants(field, learned, outcomes, measured)
    found = []
    for make in made.all():
        told("calibrating variants of the policy")
        part = make()
        if part is not None:
            found.append(part)
    return [_summed(part, measured) for part in found]


def claims(found: Sequence[Ablated]) -> list[str]:
    """What is said of such systems, in the light of the variants: empty where they are not there to tell.

    That cache, routing and cascade together save more than any two of them; and that a router before a
    cascade which does not know of it costs quality, money or time.
    """
    by = {one.name: one for one in found}
    said = []
    if all(name in by for name in (ALL, *PAIRS)):
        whole = by[ALL]
        best = max((by[name] for name in PAIRS if by[name].certified), key=_saving, default=None)
        if best is not None:
            ahead = _saving(whole) > _saving(best)
            said.append(
                f"All three together save {_percent(whole)} %, the best pair, {best.name}, {_percent(best)} %: here "
                f"the claim that the three together win {'holds' if ahead else 'does not hold'}."
            )
    if UNDECLARED in by and DECLARED in by:
        mixed, known = by[UNDECLARED].strategy, by[DECLARED].strategy
        said.append(
            f"A router before a cascade that does not know of it saves {_percent(by[UNDECLARED])} % at "
            f"{_points(mixed)} points{_slow(mixed)}; routing that the calibration knows of saves "
            f"{_percent(by[DECLARED])} % at {_points(known)} points{_slow(known)}."
        )
    return said


def _saving(one: Ablated) -> float:
    return one.strategy.saving.estimate


def _percent(one: Ablated) -> str:
    return f"{_saving(one) * 100:.1f}"


def _points(one: Strategy) -> str:
    return f"{one.quality_delta.estimate * 100:+.1f}"


def _slow(one: Strategy) -> str:
    return "" if one.latency_p95 is None else f" and a p95 of {one.latency_p95.estimate:.2f} s"


def _summed(part: Part, measured: Measured) -> Ablated:
    ours, frontier = measured.cascade.spent, measured.frontier.cost
    spared = ours - part.column.spent
    gain = measured.table.boot.figure(lambda w: (w @ spared) / (w @ frontier), ours)
    strategy = measured.table.strategy(part.column)
    return Ablated(name=part.name, what=part.what, certified=part.certified, strategy=strategy, saving_gain=gain)
