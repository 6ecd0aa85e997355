"""Scores of rows as serving computes them, and the parts beside the scorers that need labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cascade.confidence import SLICE_FEATURE, Scorer, Scout, logit, question_signals
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.learning.features import Table, places_of, table_of
from cascade.learning.fit import fit_right, right_of
from cascade.learning.rows import Rows
from cascade.lock import Gate
from cascade.neighbours import FAMILY, Nearby, Neighbours, pack
from cascade.policy import Policy
from cascade.signals import extend, narrowed, sets
from cascade.types import CACHE, Signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_OF_A_KIND = 20
"""Passed and rejected drafts that a scout needs to have seen."""


def scores_of(
    rows: Rows, scorers: Sequence[Scorer], scouts: Sequence[Scout], gates: Sequence[Gate], policy: Policy
) -> Floats:
    """Scores as serving computes them, (k, n); minus infinity where a tier does not serve.

    Rows of a routed slice stand where their gate does: they are served together or not at all.
    """
    import numpy as np

    by_key = {(scorer.tier, scorer.signal_set): scorer for scorer in scorers}
    scores = np.full((len(policy.sources), len(rows)), -np.inf)
    for i, signals in enumerate(rows.signals):
        for index, found in enumerate(signals):
            scorer = by_key.get((policy.sources[index].name, found.set_name)) if found is not None else None
            score = scorer.score(found, rows.slices[i]) if scorer is not None and found is not None else None
            if score is not None:
                scores[index, i] = score
    return standing(np.where(skipped(rows, scouts, policy), -np.inf, scores), rows, gates, policy)


def standing(scores: Floats, rows: Rows, gates: Sequence[Gate], policy: Policy) -> Floats:
    """The same scores with the rows of routed slices put where their gates stand."""
    names = [source.name for source in policy.sources]
    placed = {(names.index(g.tier), g.slice): g.standing for g in gates if g.routed and g.standing is not None}
    for i, tier in enumerate(rows.routed):
        if tier >= 0:
            scores[tier, i] = placed.get((tier, rows.slices[i]), float("-inf"))
    return scores


def routed_gates(rows: Rows, kind: str, policy: Policy) -> list[Gate]:
    """A gate for each slice that is routed to a cheap tier, standing on the path by its fit rows.

    On the scale of the scorers: log-odds of its share of right answers, or its mean quality less the
    last tier's. A slice without fit rows gets none and stays closed.
    """
    import numpy as np

    gates = []
    for tier, name in sorted({(t, rows.slices[i]) for i, t in enumerate(rows.routed) if t >= 0}):
        here = [i for i, t in enumerate(rows.routed) if t == tier and rows.slices[i] == name]
        right = float(right_of(rows.quality[tier, here]).mean())
        gain = float(np.mean(rows.quality[tier, here] - rows.quality[-1, here]))
        place = logit(right) if kind == "right" else gain
        owner = policy.sources[tier].name
        gates.append(Gate(id=f"{owner}/{name}/routed", tier=owner, slice=name, routed=True, standing=place))
    return gates


def skipped(rows: Rows, scouts: Sequence[Scout], policy: Policy) -> Any:
    """Which tiers pre-routing would not ask, (k, n) of bool."""
    import numpy as np

    by_tier = {scout.tier: scout for scout in scouts}
    found = np.zeros((len(policy.sources), len(rows)), dtype=bool)
    for index, source in enumerate(policy.sources):
        scout = by_tier.get(source.name)
        if source.asked:
            found[index] = [not _promising(scout, *of) for of in zip(rows.signals, rows.slices, strict=True)]
        elif source.name != CACHE and scout is not None:
            found[index] = [
                scout.hopeless(question_signals(request), name)
                for request, name in zip(rows.requests, rows.slices, strict=True)
            ]
    return found


def _promising(scout: Scout | None, signals: list[Signals | None], slice_name: str) -> bool:
    """Would serving ask a tier about this stored answer? What it is without the check is the first source's."""
    free = signals[0]
    return scout is not None and free is not None and scout.promising(free, slice_name)


def _check_scout(rows: Rows, scores: Floats, threshold: float, index: int, policy: Policy) -> list[Scout]:
    """The chance that a stored answer passes once it is checked, of those that do not pass without.

    From the free signals of the source before, which is the same stored answer unchecked.
    """
    import numpy as np

    for families in policy.sources[index - 1].sets:
        known = places_of(rows, index - 1, sets(families))
        places = [i for i in known if rows.signals[i][index] is not None and not scores[index - 1, i] >= threshold]
        passed = scores[index, places] >= threshold
        if min(int(passed.sum()), int((~passed).sum())) < LEAST_OF_A_KIND:
            continue
        table = table_of(rows, places, index - 1, CACHE, set(), crossed=False)
        fitted = fit_right(table, passed, np.ones(len(places)))
        worth = float(rows.cost[index, places].mean() / rows.cost[-1].mean())
        return [Scout(tier=CACHE, scorer=fitted.scorer, break_even=worth)]
    return []


def fit_scouts(rows: Rows, scores: Floats, threshold: float, policy: Policy) -> list[Scout]:
    """For each source that costs: the chance that its draft would pass, and when asking does not pay.

    ``scores`` are out of fold, (k, n), and ``threshold`` a provisional one found on these same rows:
    the certificate later counts only what the scout lets through, so it stays exact. Asking pays when
    chance x (cost of the last tier) exceeds the tier's own cost.
    """
    import numpy as np

    if not np.isfinite(rows.cost).all():
        return []
    costs = rows.cost.mean(axis=1)
    signals = [question_signals(request) for request in rows.requests]
    kinds = sorted(set(rows.slices))
    names = sorted(signals[0].values)
    features = [*names, *(SLICE_FEATURE + kind for kind in kinds)]
    values = np.array(
        [
            [*(s.values[name] for name in names), *(float(where == kind) for kind in kinds)]
            for s, where in zip(signals, rows.slices, strict=True)
        ]
    )
    varies = values.std(axis=0) > 0
    scouts: list[Scout] = []
    for index, source in enumerate(policy.sources):
        if source.asked and costs[-1] > 0:
            scouts += _check_scout(rows, scores, threshold, index, policy)
        passed = scores[index] >= threshold
        few = min(int(passed.sum()), int((~passed).sum())) < LEAST_OF_A_KIND
        if source.name == CACHE or few or not costs[-1] > 0 or not varies.any():
            continue
        table = Table(
            tier=source.name,
            signal_set="question",
            places=list(range(len(rows))),
            signals=signals,
            slices=rows.slices,
            features=[name for name, keep in zip(features, varies, strict=True) if keep],
            values=values[:, varies],
        )
        fitted = fit_right(table, passed, np.ones(len(rows)))
        scouts.append(Scout(tier=source.name, scorer=fitted.scorer, break_even=float(costs[index] / costs[-1])))
    return scouts


def fit_neighbours(rows: Rows, policy: Policy, embedder: Embedder | None) -> list[Neighbours]:
    """The fit rows as labelled neighbours, a set for each cheap tier, where a declared set reads them."""
    if FAMILY not in policy.families or not len(rows):
        return []
    if embedder is None:
        raise ConfigError("a declared signal set reads neighbours, which needs an embedder")
    vectors = embedder.embed([request.question for request in rows.requests])
    failed = ~right_of(rows.quality)
    packed = [
        pack(source.name, embedder.name, vectors, failed[index])
        for index, source in enumerate(policy.sources)
        if source.name != CACHE
    ]
    return [record for record in packed if record is not None]


def with_neighbours(
    rows: Rows, records: list[Neighbours], policy: Policy, embedder: Embedder | None, *, own: bool
) -> Rows:
    """The rows with the family ``neighbours``; ``own`` rows are in the records and never see themselves."""
    if not records or embedder is None or not len(rows):
        return rows
    vectors = embedder.embed([request.question for request in rows.requests])
    nearby = {record.tier: Nearby(record) for record in records}

    def extended(tier: int, row: int, signals: Signals | None) -> Signals | None:
        near = nearby.get(policy.sources[tier].name)
        if signals is None or near is None:
            return signals
        found = extend(signals, FAMILY, near.measure(vectors[row], leave_out=row if own else None))
        return narrowed(found, policy.sources[tier].sets)

    made = [[extended(tier, i, s) for tier, s in enumerate(signals)] for i, signals in enumerate(rows.signals)]
    return replace(rows, signals=made)
