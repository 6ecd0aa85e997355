"""Drift and outage: what each strategy loses when the world changes and nothing is fitted again.

The cascade's decisions come out of the real flow on the changed rows, the others' out of what they were
fitted to. Lots and the oracle take no part: their share, or their knowledge, would be fitted anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from cascade.bench.document import Lost, Scenario
from cascade.bench.field import CASCADE, FRONTIER, Field
from cascade.bench.telling import sentence
from cascade.bench.worlds import World, heard, unchanged, worlds
from cascade.columns import Column, always, flowed, gated, routed
from cascade.compare import comparable, others
from cascade.learning.account import rules_under
from cascade.learning.pairs import with_pairs
from cascade.learning.rows import Rows, read_rows
from cascade.learning.scores import with_neighbours
from cascade.recheck import Answer, check
from cascade.replay import Replayed, replay
from cascade.types import RIGHT, ModelOutcome, Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

NO_ANSWER = ModelOutcome(correct=0, cost=0.0, latency_ms=0.0, cpu_ms=0.0)


class Fate(NamedTuple):
    """What became of every row under one strategy: its column, and which rows got no answer, (n,).

    A row without an answer has quality 0, costs what was paid before it failed, and its latency is no answer's.
    """

    column: Column
    failed: Any


def scenarios(field: Field, outcomes: Sequence[Outcome]) -> list[Scenario]:
    """Every scenario on these held-out outcomes, which are ``Rows.outcomes``: paid signals are in their costs.

    ``ConfigError`` where no row can be compared.
    """
    rows, slices = usable(field, outcomes)
    accepted = accepts(field, rows)
    before = losses(field, unchanged(rows), accepted)
    return [scenario(field, world, accepted, before) for world in worlds(rows, slices, field.policy)]


def scenario(field: Field, world: World, accepted: dict[str, Mask], before: dict[str, Lost]) -> Scenario:
    """One of them; ``accepted`` is what the rivals accept of the untouched rows and ``before`` what came of that."""
    if world.kind in ("visible", "blind"):  # only there do drafts look otherwise than before
        accepted = accepts(field, world.outcomes)
    after = losses(field, world, accepted, before)
    answer = _answer(field, world)
    return Scenario(
        name=world.name,
        what=world.what,
        rows=len(world.outcomes if world.asked is None else world.asked),
        lost=list(after.values()),
        check=answer,
        sentence=sentence(world, before, after, field.policy, answer),
    )


def usable(field: Field, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[str]]:
    """The outcomes on which every strategy can be measured, sorted by id, and their slices."""
    given = {outcome.id: outcome for outcome in outcomes}
    read, _ = read_rows(outcomes, field.policy, field.embedder)
    # As they were given: reading them once more has charged paid signals once more.
    rows = [given[outcome.id] for outcome in read.outcomes]
    kept, _ = comparable(_replayed(field, rows), field.policy)
    ids = {row.outcome.id for row in kept}
    places = [i for i, row in enumerate(rows) if row.id in ids]
    return [rows[i] for i in places], [read.slices[i] for i in places]


def accepts(field: Field, outcomes: Sequence[Outcome]) -> dict[str, Mask]:
    """Which drafts of the first cheap tier each strategy but the cascade would serve, (n,) by its name."""
    import numpy as np

    read = _signals(field, outcomes)
    ids = [outcome.id for outcome in outcomes]
    found: dict[str, Mask] = {name: np.array([one in known for one in ids]) for name, known in field.recorded.items()}
    for rival in field.rivals:
        mask = dict(zip([row.id for row in read.outcomes], rival.accepts(read), strict=True))
        found[rival.name] = np.array([bool(mask.get(one, False)) for one in ids])
    return found


def losses(
    field: Field, world: World, accepted: dict[str, Mask], before: dict[str, Lost] | None = None
) -> dict[str, Lost]:
    """The figures of every strategy in a world, by name, always-frontier first; ``before`` without the change."""
    true = fates(field, world, accepted)
    seen = None if world.reported is None else fates(field, replace(world, outcomes=world.reported), accepted)
    found = {}
    for name, fate in true.items():
        one = figures(fate, true[FRONTIER], before[name] if before is not None else None)
        if name == CASCADE:
            one = replace(one, kept=_kept(field, one))
        if seen is not None:
            told = figures(seen[name], seen[FRONTIER], None)
            one = replace(one, reported_delta=told.quality_delta, reported_error=told.accepted_error)
        found[name] = one
    return found


def fates(field: Field, world: World, accepted: dict[str, Mask]) -> dict[str, Fate]:
    """What becomes of the rows that are asked, by strategy."""
    import numpy as np

    policy, hour = field.policy, np.array([row.id in world.hour for row in world.outcomes])
    rows = [_answering(row, world) for row in world.outcomes]
    down = {
        name: hour & (name in world.down) for name in {*(tier.name for tier in policy.tiers), *others(rows, policy)}
    }
    frontier = Fate(always(rows, policy.last.name, FRONTIER, last=True), down[policy.last.name])
    singles = [Fate(always(rows, name, f"always {name}", last=False), down[name]) for name in others(rows, policy)]
    found = [frontier, *singles, _ours(field, world, frontier.column)]
    routers = {rival.name for rival in field.rivals if rival.kind == "router"}
    for name, mask in accepted.items():
        decided = _routed if name in routers else _gated
        found.append(decided(name, mask, singles[0], frontier))
    places = np.arange(len(rows)) if world.asked is None else np.array(world.asked)
    return {fate.column.name: Fate(fate.column.take(places), fate.failed[places]) for fate in found}


def figures(fate: Fate, frontier: Fate, before: Lost | None) -> Lost:
    """The figures of one strategy beside always-frontier's in the same world."""
    import numpy as np

    column, failed = fate
    served = (column.cheap == 1.0) & ~failed
    quality, cost = float(column.quality.mean()), float(column.spent.mean())
    paid = float(frontier.column.cost.mean())
    saving = 1.0 - cost / paid if paid else 0.0
    timed = column.latency is not None and not failed.all()
    slow = np.quantile(column.latency[~failed], 0.95, method="inverted_cdf") if timed else None
    return Lost(
        name=column.name,
        quality=quality,
        quality_lost=0.0 if before is None else before.quality - quality,
        quality_delta=float((column.quality - frontier.column.quality).mean()),
        cost=cost,
        saving=saving,
        saving_lost=0.0 if before is None else before.saving - saving,
        accept_rate=float(served.mean()),
        accepted_error=float((column.quality[served] < RIGHT).mean()) if served.any() else None,
        latency_p95=None if slow is None else float(slow),
        failed=float(failed.mean()),
    )


def _ours(field: Field, world: World, frontier: Column) -> Fate:
    """The cascade through the real flow; a request that nobody answered has quality 0."""
    import numpy as np

    replayed = _replayed(field, heard(world, field.policy))
    rows = [replace(row, quality=0.0) if row.error else row for row in replayed]
    column = flowed(rows, field.policy, CASCADE, aside=field.audits(rows, frontier))
    return Fate(column, np.array([bool(row.error) for row in rows]))


def _gated(name: str, accepted: Mask, cheap: Fate, frontier: Fate) -> Fate:
    """Where no draft comes, the frontier is asked."""
    kept = accepted & ~cheap.failed
    return Fate(gated(name, kept, cheap.column, frontier.column), ~kept & frontier.failed)


def _routed(name: str, accepted: Mask, cheap: Fate, frontier: Fate) -> Fate:
    """One call, so nobody else is asked where it fails."""
    import numpy as np

    return Fate(
        routed(name, accepted, cheap.column, frontier.column), np.where(accepted, cheap.failed, frontier.failed)
    )


def _replayed(field: Field, outcomes: Sequence[Outcome]) -> list[Replayed]:
    return list(replay(outcomes, rules_under(field.policy, field.lock, field.embedder), field.embedder))


def _answering(row: Outcome, world: World) -> Outcome:
    """The row with nothing in the place of an answer that does not come."""
    if row.id not in world.hour:
        return row
    return replace(row, models={name: NO_ANSWER if name in world.down else m for name, m in row.models.items()})


def _signals(field: Field, outcomes: Sequence[Outcome]) -> Rows:
    """The rows with all signals that the rivals were fitted on, learned ones as the lock has them."""
    lock, policy = field.lock, field.policy
    read, _ = read_rows(outcomes, policy, field.embedder)
    read = with_neighbours(read, lock.neighbours, policy, field.embedder, own=False)
    return with_pairs(read, lock.pairing, policy)


def _answer(field: Field, world: World) -> Answer | None:
    """What a check of the promise says when somebody labels the rows of this world."""
    if not field.lock.certificates or world.kind in ("price", "outage"):
        return None
    rows = world.outcomes if world.reported is None else world.reported
    asked = rows if world.asked is None else [rows[place] for place in world.asked]
    return check(asked, field.policy, field.lock, embedder=field.embedder).answer


def _kept(field: Field, one: Lost) -> bool | None:
    """Does what the lock promises hold here, as a point estimate? None where it promises nothing.

    Promises to several populations together imply the weakest of them for all rows together.
    """
    certificates = field.lock.certificates
    if not certificates:
        return None
    level = max(certificate.level for certificate in certificates)
    risk = (one.accepted_error or 0.0) if certificates[0].kind == "error" else -one.quality_delta
    return risk <= level
