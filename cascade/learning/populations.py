"""Which populations get a promise of their own, and how the error budget is divided among them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cascade.exact import least_rows
from cascade.learning.rows import Rows
from cascade.lock import ANY_SLICE, Certificate, Lock
from cascade.policy import Policy
from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Population(Record, frozen=True, kw_only=True):
    """Requests of these ``slices`` (``*``: of any) whose draft has one of these signal sets: disjoint from all others.

    ``gate_slice`` is how its gates are filed: a slice's own name, or any slice. ``delta`` is its share
    of the error budget. ``alone`` with no signal set are the requests of routed slices: were they part
    of each set's population, their few errors would make room for the errors of both.
    """

    name: str
    gate_slice: str
    slices: list[str]
    signal_sets: list[str]
    delta: float
    alone: bool

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows belong to it, (n,)."""
        import numpy as np

        found = np.isin(np.array(rows.slices, dtype=object), self.slices) | (ANY_SLICE in self.slices)
        if self.alone:
            names = [row[0].set_name if row[0] is not None else "" for row in rows.signals]
            routed = np.array(rows.routed, dtype=int) != -1
            found &= np.isin(np.array(names, dtype=object), self.signal_sets) if self.signal_sets else routed
        return found


def population_of(certificate: Certificate, lock: Lock, policy: Policy) -> Population:
    """Whom a certificate of this lock speaks about, from the gates that it covers.

    Closed routed slices cannot be told from its gates; under one promise for all traffic they are in it.
    """
    gates = [gate for gate in lock.gates if gate.id in certificate.gates]
    scored = [gate for gate in gates if not gate.routed]
    sets = {scorer.signal_set for scorer in lock.scorers}
    seen = {name for gate in scored for name in gate.seen} or {gate.slice for gate in gates}
    if policy.target.over == "all":
        seen |= {gate.slice for gate in lock.gates if gate.routed}
    return Population(
        name=certificate.population,
        gate_slice=scored[0].slice if scored else gates[0].slice if gates else ANY_SLICE,
        slices=sorted(seen),
        signal_sets=sorted({gate.signal_set for gate in scored}),
        delta=certificate.delta,
        alone=len(policy.sources) == 1 and len(sets) > 1 and bool(scored),
    )


class Division(Record, frozen=True, kw_only=True):
    """All populations, the slices that stay closed for want of rows, and how delta was shared."""

    populations: list[Population]
    closed: dict[str, int]
    shares: dict[str, int]


def divide(rows: Rows, sets: list[str], policy: Policy) -> Division:
    """Populations from the certification rows' slices and signal sets; their labels are not read.

    With one cheap tier each signal set is a population: a promise about a mixture of sets would not
    outlive a provider that drops one. With more tiers a request has a set at each of them, and they
    are tested together on one path.
    """
    target = policy.target
    whole = (1.0 - target.confidence) / target.refits
    counts = Counter(rows.slices)
    alone = len(policy.sources) == 1 and len(sets) > 1
    per_set = len(sets) if alone else 1
    own, rest, closed = [], sorted(counts), {}
    if target.over == "each slice":
        declared = sorted(policy.slices) or sorted(counts)
        least = least_rows(target.level, whole / (len(declared) * per_set))
        own = [name for name in declared if counts[name] >= least]
        rest = [name for name in declared if counts[name] < least]
        if target.small_slices == "closed":
            closed, rest = {name: least - counts[name] for name in rest}, []
    groups = [(name, name, [name]) for name in own]
    if rest:
        groups.append(("small slices together" if own or target.over != "all" else "all", ANY_SLICE, rest))
    chosen = [*([name] for name in sets), []] if alone else [sets]
    drafts = [
        Population(
            name=f"{name}, {'+'.join(some) or 'routed'}" if alone else name,
            gate_slice=filed,
            slices=slices,
            signal_sets=some,
            delta=whole,
            alone=alone,
        )
        for name, filed, slices in groups
        for some in chosen
    ]
    made = [population for population in drafts if not alone or population.holds(rows).any()]
    parts = {"refits a year": target.refits, "slices": len(groups), "signal sets": len(made) // max(len(groups), 1)}
    shares = {k: v for k, v in parts.items() if v > 1}
    if len(groups) * parts["signal sets"] != len(made):  # not every slice has every set
        shares = {"refits a year": target.refits, "populations": len(made)}
    delta = whole / max(len(made), 1)
    return Division(populations=[replace(one, delta=delta) for one in made], closed=closed, shares=shares)
