"""May a candidate take the place of the lock in force? Both answer the same held-out rows, and the pairs decide.

Both locks go through the flow that serves, under one policy, on rows that neither was fitted or certified
on. What is required is no better quality but proof that not much is lost: the lower end of the 95 %
interval of the mean paired difference lies above minus the policy's margin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import ceil

from cascade.compare import Strategy, compare, unusable
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.evidence import LeftOut
from cascade.gates import Gates
from cascade.intents import fit_intents
from cascade.intervals import Figure, paired_difference
from cascade.ladder import Ladder
from cascade.learning.drawn import TEST, splits_of
from cascade.learning.rows import EXAMPLES, evenly, independent, read_rows
from cascade.lock import Lock
from cascade.paired import mean_upper
from cascade.policy import Policy, Target
from cascade.replay import Replayed, replay_one
from cascade.run import Rules
from cascade.types import Outcome, Record

CONFIDENCE = 0.95
"""Of the two-sided interval of the difference."""


class Weighed(Record, frozen=True, kw_only=True):
    """A candidate against the lock in force (without one: against always-frontier) on the same rows.

    ``difference`` is the mean quality of the candidate less that of the current one, with its 95 %
    interval; ``current`` and ``candidate`` are cost, served share and quality of each. ``refusals`` say
    why it may not be promoted, and are empty where it may; ``more_rows`` is about how many further rows
    would decide, None where none are needed or no number would do.
    """

    rows: int
    left_out: list[LeftOut]
    margin: float
    difference: Figure
    current: Strategy
    candidate: Strategy
    refusals: list[str]
    more_rows: int | None = None


def weigh(
    outcomes: Iterable[Outcome],
    policy: Policy,
    current: Lock | None,
    candidate: Lock,
    *,
    held_out: bool = False,
    embedder: Embedder | None = None,
) -> Weighed:
    """Replay both on the rows of split ``test``, or on all rows where they are said to be ``held_out``.

    Rows need a label and a cost of every tier; one row counts for each independent question or
    conversation. ``ConfigError`` where not a single row can be compared.
    """
    import numpy as np

    enforced = policy.model_copy(update={"mode": "enforce", "rollout": 100.0})
    rows, left = _rows(outcomes, enforced, held_out, embedder)
    pairs = [_pair(rows, lock, enforced, embedder) for lock in (current, candidate)]
    bad = [unusable(was, policy) or unusable(now, policy) for was, now in zip(*pairs, strict=True)]
    left += _grouped((reason, row.id) for reason, row in zip(bad, rows, strict=True) if reason)
    was, now = ([row for row, reason in zip(side, bad, strict=True) if not reason] for side in pairs)
    if not was:
        raise ConfigError(_nothing(left, held_out))
    ours, theirs = (np.array([row.quality for row in side]) for side in (now, was))
    difference = _difference(ours, theirs)
    refusals, more = _judged(difference, len(was), policy.promotion.margin)
    return Weighed(
        rows=len(was),
        left_out=left,
        margin=policy.promotion.margin,
        difference=difference,
        current=_side(was, policy, "in force" if current is not None else "always-frontier"),
        candidate=_side(now, policy, "candidate"),
        refusals=refusals,
        more_rows=more,
    )


def standing(candidate: Lock, policy: Policy, embedder: str | None = None) -> list[str]:
    """Why a candidate could not serve what it promises: another policy's, uncertified, void. Empty where it could."""
    if candidate.policy != policy.name:
        return [f"it is a lock of policy {candidate.policy!r}, not of {policy.name!r}"]
    if not candidate.certificates:
        return [f"nothing in it is certified: {' '.join(candidate.notes) or 'it holds no certificate'}"]
    reasons = Gates(policy, candidate, embedder=embedder).reasons
    return [
        f"its certificate {one.id} is void: {reasons[one.id]}" for one in candidate.certificates if one.id in reasons
    ]


def _rows(
    outcomes: Iterable[Outcome], policy: Policy, held_out: bool, embedder: Embedder | None
) -> tuple[list[Outcome], list[LeftOut]]:
    """An even draw of independent rows that have a label of every tier."""
    chosen, made_from = [], []
    everything = list(outcomes)
    for outcome, split in zip(everything, splits_of(everything), strict=True):
        if held_out or split == TEST:
            chosen.append(outcome)
        else:
            made_from.append(("of split fit or certify, which the locks were made from", outcome.id))
    # Read as for a regret target, whatever the policy's: both answers to a question are compared.
    regret = Target(max_regret=policy.target.level)
    rows, left = read_rows(chosen, policy.model_copy(update={"target": regret}), embedder)
    rows, tied = independent(rows)
    rows = rows.take(evenly(rows))
    return rows.outcomes, [*_grouped(made_from), *left, *([tied] if tied else [])]


def _pair(rows: Sequence[Outcome], lock: Lock | None, policy: Policy, embedder: Embedder | None) -> list[Replayed]:
    by_examples = any(declared.examples for declared in policy.slices.values())
    rules = Rules(
        policy=policy,
        gates=Gates(policy, lock, embedder=embedder.name if embedder is not None else None),
        ladder=Ladder(policy),
        intents=fit_intents(policy, embedder) if by_examples and embedder is not None else None,
    )
    return [replay_one(row, rules, embedder) for row in rows]


def _difference(ours: object, theirs: object) -> Figure:
    import numpy as np

    mine, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if np.isin([mine, other], (0.0, 1.0)).all():
        return paired_difference(mine, other)
    # Not the bootstrap: without a single difference its interval has no width at all.
    ends = [mean_upper(loss, (1.0 - CONFIDENCE) / 2) for loss in (other - mine, mine - other)]
    return Figure(estimate=float((mine - other).mean()), low=-ends[0], high=ends[1])


def _judged(difference: Figure, rows: int, margin: float) -> tuple[list[str], int | None]:
    """Refusals, and how many more rows would lift them: the interval shrinks with the root of the rows."""
    assert difference.low is not None
    floor = -margin
    if difference.low > floor:
        return [], None
    said = (
        f"it may lose up to {-difference.low:.2%} of quality against what is in force (95 % limit on {rows:,} rows), "
        f"and the policy allows less than {margin:.2%} ([promotion] margin)"
    )
    ahead = difference.estimate - floor
    if ahead <= 0:
        return [f"{said}; at these rates no number of rows would change that"], None
    more = max(ceil(rows * (((difference.estimate - difference.low) / ahead) ** 2)) - rows, 1)
    return [f"{said}; about {more:,} more held-out rows would decide if the rates stay as they are"], more


def _side(replayed: Sequence[Replayed], policy: Policy, name: str) -> Strategy:
    from msgspec.structs import replace

    found = next(one for one in compare(replayed, policy).strategies if one.name == "cascade")
    return replace(found, name=name)


def _grouped(reasons: Iterable[tuple[str, str]]) -> list[LeftOut]:
    found: dict[str, list[str]] = defaultdict(list)
    for reason, id in reasons:
        found[reason].append(id)
    return [LeftOut(reason=why, rows=len(ids), examples=ids[:EXAMPLES]) for why, ids in sorted(found.items())]


def _nothing(left: list[LeftOut], held_out: bool) -> str:
    gone = "; ".join(f"{one.rows} rows: {one.reason} ({', '.join(one.examples)})" for one in left)
    more = "" if held_out else "; rows that no lock has seen can be named with --held-out"
    return f"no row can be compared; left out: {gone or 'there are no rows'}{more}"
