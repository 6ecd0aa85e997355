"""The field of a benchmark: everything that is compared, fitted once, and measured on any rows.

The cascade's gates, the rivals' thresholds and the variants of an ablation are all fitted on the rows of
the splits ``fit`` and ``certify``; what they do is then measured on the same held-out rows, or on rows
that something was done to (``cascade.bench.scenarios``), with nothing fitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from cascade.bench.rivals import Rival, rivals
from cascade.columns import Column, always, flowed, gated, lots, oracle, routed
from cascade.compare import Table, comparable, others
from cascade.learning.account import rules_under
from cascade.learning.calibrate import Learned
from cascade.learning.rows import Rows, read_rows
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.replay import Replayed, replay
from cascade.types import Outcome, Record

FRONTIER = "always-frontier"
CASCADE = "cascade"
LOTS = "lots at equal cost"
ORACLE = "oracle"


class Prices(Record, frozen=True, kw_only=True):
    """What goes on beside the calls of requests: dollars of one verdict (None: not known, not counted) and
    over how many requests the labels of a calibration are spread (None: they are shown by themselves).
    """

    judge: float | None = None
    requests: int | None = None


class Measured(Record, frozen=True, kw_only=True):
    """All strategies on the same rows. ``rows[i]`` is what the flow did with ``outcomes[i]``.

    ``columns`` are by name, always-frontier and the first cheap tier first; ``slices`` has the slice of each
    row as serving found it. ``table`` sums columns up (``cascade.compare.Table``); ``left_out`` counts rows
    by reason.
    """

    rows: list[Replayed]
    outcomes: list[Outcome]
    slices: list[str]
    columns: dict[str, Column]
    table: Any
    left_out: dict[str, int] = {}

    @property
    def cheap(self) -> Column:
        """Every row answered by the first cheap tier."""
        return list(self.columns.values())[1]

    @property
    def frontier(self) -> Column:
        """Every row answered by the last tier."""
        return self.columns[FRONTIER]

    @property
    def cascade(self) -> Column:
        """What the certified cascade did."""
        return self.columns[CASCADE]


class Field(Record, frozen=True, kw_only=True):
    """What takes part. ``embedder`` is the one that serves, ``reader`` one that routers read questions with;
    both may be None. ``recorded`` maps a name to the ids of rows whose cheap answer some other system
    accepted, as it was recorded; ids that it says nothing of count as not accepted.
    """

    policy: Policy
    lock: Lock
    embedder: Any
    reader: Any = None
    rivals: list[Rival] = []
    recorded: dict[str, frozenset[str]] = {}
    prices: Prices = Prices()

    def measure(self, outcomes: Sequence[Outcome]) -> Measured:
        """Every strategy on these outcomes; ``ConfigError`` where no row can be compared."""
        rows, _ = read_rows(outcomes, self.policy, self.embedder)
        return self.measured(rows)

    def measured(self, table: Rows) -> Measured:
        """The same, of rows that were read already."""
        import numpy as np

        replayed = list(replay(table.outcomes, rules_under(self.policy, self.lock, self.embedder), self.embedder))
        rows, left_out = comparable(replayed, self.policy)
        ids = {row.outcome.id for row in rows}
        kept = table.take([i for i, outcome in enumerate(table.outcomes) if outcome.id in ids])
        outcomes = kept.outcomes
        frontier = always(outcomes, self.policy.last.name, FRONTIER, last=True)
        singles = [always(outcomes, name, f"always {name}", last=False) for name in others(outcomes, self.policy)]
        ours = flowed(rows, self.policy, CASCADE, aside=self.audits(rows, frontier))
        cheap = singles[0]
        columns = [frontier, *singles, lots(cheap, frontier, float(ours.spent.mean())), oracle(singles, frontier), ours]
        columns += [self.decided(one, one.accepts(kept), cheap, frontier) for one in self.rivals]
        for name, accepted in self.recorded.items():
            columns.append(gated(name, np.array([one.id in accepted for one in outcomes]), cheap, frontier))
        return Measured(
            rows=rows,
            outcomes=outcomes,
            slices=list(kept.slices),
            columns={one.name: one for one in columns},
            table=Table(outcomes, frontier),
            left_out=left_out,
        )

    def audits(self, rows: Sequence[Replayed], frontier: Column) -> Any:
        """Expected dollars of each row's audit, (n,): the frontier's answer and a verdict, or a verdict alone."""
        import numpy as np

        audit, judge = self.policy.audit, self.prices.judge or 0.0
        last = self.policy.last.name
        cheap = np.array([row.decision is not None and row.decision.served_by != last for row in rows])
        return np.where(cheap, audit.accepted * (frontier.cost + judge), audit.escalated * judge)

    def decided(self, rival: Rival, accepts: Any, cheap: Column, frontier: Column) -> Column:
        """What a rival does with rows of which it ``accepts`` some (n,)."""
        if rival.kind == "router":
            return routed(rival.name, accepts, cheap, frontier)
        # A signal that costs is paid for every draft, by whoever reads it.
        rate = self.policy.signals.cost.get(rival.reads.partition(".")[0], 0.0)
        return gated(rival.name, accepts, replace(cheap, cost=cheap.cost * (1.0 + rate)), frontier)


def field_of(learned: Learned, bare: Field) -> Field:
    """The field with its rivals, fitted on the rows that the calibration was made of."""
    policy = bare.policy
    sent = 1.0 - float(bare.measured(learned.test).cascade.cheap.mean())
    return replace(bare, rivals=rivals(together(learned.fit, learned.certify), policy, bare.reader, sent))


def together(one: Rows, other: Rows) -> Rows:
    """The rows of both."""
    import numpy as np

    from cascade.learning.rows import LISTS, TABLES

    listed: dict[str, Any] = {name: [*getattr(one, name), *getattr(other, name)] for name in LISTS}
    tables: dict[str, Any] = {
        name: np.concatenate([getattr(one, name), getattr(other, name)], axis=1) for name in TABLES
    }
    return Rows(**listed, **tables, propensity=np.concatenate([one.propensity, other.propensity]))
