"""Worlds that a calibration was not made for: the held-out rows after one thing in them changed.

Each is a pure function of the rows. What is drawn is drawn by a hash of the row's id, so that it depends
neither on the order of the rows nor on a generator's version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import ceil
from statistics import fmean
from typing import Literal

from msgspec.structs import replace

from cascade.decide import coin
from cascade.learning.lesser import of_tokens
from cascade.policy import Policy
from cascade.replay import request_of
from cascade.types import CACHE, RIGHT, SAME, ModelOutcome, Outcome, Record

SPOILED = 0.3
"""Share of its right answers that a model which got worse has wrong."""

LENIENT = 0.5
"""Share of the wrong answers that a lenient judge lets pass."""

HOURS = 24
"""Requests are spread evenly over a day, and an outage takes one hour of it."""

Kind = Literal["questions", "silent", "visible", "blind", "lenient", "price", "outage"]


class World(Record, frozen=True, kw_only=True):
    """The rows after something happened, and ``what`` that was in words.

    ``outcomes`` are what every model would answer, with labels that are true. Only ``asked``, places among
    them, are asked at all (None: all). In the ``hour``, ids of rows, the tiers that are ``down`` answer
    nothing. ``reported`` are the outcomes with the labels that somebody would have of them, None where those
    are true.
    """

    name: str
    kind: Kind
    what: str
    outcomes: list[Outcome]
    asked: list[int] | None = None
    down: frozenset[str] = frozenset()
    hour: frozenset[str] = frozenset()
    reported: list[Outcome] | None = None


def worlds(outcomes: Sequence[Outcome], slices: Sequence[str], policy: Policy) -> list[World]:
    """All of them, from the same rows; ``slices`` has the slice of each."""
    rows = list(outcomes)
    first, last = policy.tiers[0].name, policy.last.name
    cheap, frontier = same_model(policy, first) - {last}, same_model(policy, last)
    return [
        harder(rows, slices, first),
        worse(rows, cheap, silent=True),
        worse(rows, cheap, silent=False),
        blind(rows, [tier.name for tier in policy.tiers[:-1]]),
        lenient(rows, [source.name for source in policy.sources]),
        repriced(rows, frontier, 1 / 3, policy, f"{last} at a third of its price"),
        repriced(rows, frontier, 3.0, policy, f"{last} at three times its price"),
        repriced(rows, cheap, 2.0, policy, f"{first} at twice its price"),
        outage(rows, frontier, last),
        outage(rows, cheap, first),
    ]


def same_model(policy: Policy, name: str) -> frozenset[str]:
    """The tiers that share this one's model, and what becomes of it."""
    return frozenset(tier.name for tier in policy.tiers if tier.model == policy.tier(name).model)


def unchanged(outcomes: Sequence[Outcome]) -> World:
    """The rows as they are."""
    return World(name="nothing changes", kind="questions", what="the rows as they are", outcomes=list(outcomes))


def harder(outcomes: list[Outcome], slices: Sequence[str], tier: str) -> World:
    """Only the slices that are hardest for a tier are asked, or the longest questions where there is one slice."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for outcome, name in zip(outcomes, slices, strict=True):
        grouped[name].append(quality(outcome, tier))
    if len(grouped) > 1:
        ranked = sorted(grouped, key=lambda name: (fmean(grouped[name]), name))
        chosen = ranked[: max(round(len(ranked) / 3), 1)]
        asked = [i for i, name in enumerate(slices) if name in chosen]
        what = f"only {', '.join(chosen)} are asked, the third of the slices on which {tier} is right least often"
    else:
        longest = sorted(range(len(outcomes)), key=lambda i: (-len(request_of(outcomes[i]).question), outcomes[i].id))
        asked = sorted(longest[: ceil(len(outcomes) / 3)])
        what = "only the longest third of the questions is asked"
    return World(name="harder questions", kind="questions", what=what, outcomes=outcomes, asked=asked)


def worse(outcomes: list[Outcome], tiers: Collection[str], *, silent: bool) -> World:
    """A share of what these tiers had right is wrong: with the same drafts, or with drafts that show it.

    What shows it is the draft of another row, of the same slice where there is one, that the tier had wrong.
    """
    changed = outcomes
    for tier in sorted(tiers):
        broken = drawn([row.id for row in changed if quality(row, tier) >= RIGHT], SPOILED, f"worse {tier}")
        donors = _donors(outcomes, tier) if not silent else {}
        changed = [
            _with(row, tier, relabelled(_donor(row, tier, donors), right=False)) if row.id in broken else row
            for row in changed
        ]
    shown = "with drafts that look as before" if silent else "and such drafts look like others that were wrong before"
    return World(
        name=f"cheap model worse, {'silently' if silent else 'and it shows'}",
        kind="silent" if silent else "visible",
        what=f"{SPOILED:.0%} of what {_listed(tiers)} had right is wrong, {shown}",
        outcomes=changed,
    )


def blind(outcomes: list[Outcome], tiers: Collection[str]) -> World:
    """No log-probabilities come with the drafts of these tiers any more; the answers are the same."""

    def stripped(model: ModelOutcome) -> ModelOutcome:
        return replace(without(model, of_tokens), logprobs=None, top_logprobs=None)

    return World(
        name="no log-probabilities",
        kind="blind",
        what=f"the provider of {_listed(tiers)} drops log-probabilities without a word; answers stay as they were",
        outcomes=[_each(row, tiers, stripped) for row in outcomes],
    )


def lenient(outcomes: list[Outcome], sources: Collection[str]) -> World:
    """A judge lets a share of the wrong answers of these sources pass: true is what it was."""
    seen = outcomes
    for name in sorted(set(sources)):
        wrong = [row.id for row in outcomes if name in row.models and quality(row, name) < RIGHT]
        passed = drawn(wrong, LENIENT, f"lenient {name}")
        seen = [_with(row, name, relabelled(row.models[name], right=True)) if row.id in passed else row for row in seen]
    return World(
        name="lenient judge",
        kind="lenient",
        what=f"the judge lets {LENIENT:.0%} of the wrong answers pass that the last tier did not give",
        outcomes=outcomes,
        reported=seen,
    )


def repriced(outcomes: list[Outcome], tiers: Collection[str], factor: float, policy: Policy, what: str) -> World:
    """These tiers cost ``factor`` times as much; with them the check of a stored answer that one of them makes."""
    same = policy.cache.same
    paid = {*tiers, CACHE} if same is not None and same.tier in tiers else set(tiers)

    def scaled(model: ModelOutcome) -> ModelOutcome:
        return model if model.cost is None else replace(model, cost=model.cost * factor)

    changed = [_each(row, paid, scaled) for row in outcomes]
    return World(name=what, kind="price", what=f"{_listed(tiers)}: {factor:.3g} times the price", outcomes=changed)


def outage(outcomes: list[Outcome], tiers: Collection[str], name: str) -> World:
    """These tiers answer nothing for one hour of a day over which the rows are spread evenly, by lots."""
    hour = drawn([row.id for row in outcomes], 1 / HOURS, "hour")
    return World(
        name=f"{name} down for an hour",
        kind="outage",
        what=f"no answer comes from {_listed(tiers)} in one hour of a day: {len(hour)} of {len(outcomes)} requests",
        outcomes=outcomes,
        down=frozenset(tiers),
        hour=hour,
    )


def heard(world: World, policy: Policy) -> list[Outcome]:
    """The outcomes as the flow finds them: without what is down in its hour, and without what was asked of it."""
    checks = {SAME: policy.cache.same, "second": policy.signals.second, "verifier": policy.signals.verifier}
    silent = {family for family, asked in checks.items() if asked is not None and asked.tier in world.down}

    def cut(row: Outcome) -> Outcome:
        up = {name: without(model, silent.__contains__) for name, model in row.models.items() if name not in world.down}
        return replace(row, models=up)

    return [cut(row) if row.id in world.hour else row for row in world.outcomes]


def drawn(ids: Iterable[str], share: float, purpose: str) -> frozenset[str]:
    """This share of the ids, at least one of them, the same ones for ever for the same purpose."""
    ranked = sorted(ids, key=lambda one: (coin("", purpose, one), one))
    return frozenset(ranked[: max(round(share * len(ranked)), 1)])


def relabelled(model: ModelOutcome, *, right: bool) -> ModelOutcome:
    """The same answer under the other label; verdicts keep the judge's name, and how they were drawn."""
    if model.verdicts:
        said = replace(model.verdicts[-1], acceptable=right, score=None)
        return replace(model, verdicts=[*model.verdicts[:-1], said])
    return replace(model, correct=int(right), score=None)


def without(model: ModelOutcome, gone: Callable[[str], bool]) -> ModelOutcome:
    """The same answer without the recorded signals of these families."""
    signals = {name: value for name, value in model.signals.items() if not gone(name.partition(".")[0])}
    families = None if model.families is None else [family for family in model.families if not gone(family)]
    return replace(model, signals=signals, families=families)


def quality(outcome: Outcome, tier: str) -> float:
    """That of the tier's answer; 0.0 where nobody judged it."""
    return outcome.models[tier].quality or 0.0


def _with(row: Outcome, name: str, model: ModelOutcome) -> Outcome:
    return replace(row, models=row.models | {name: model})


def _each(row: Outcome, names: Collection[str], change: Callable[[ModelOutcome], ModelOutcome]) -> Outcome:
    return replace(row, models={name: change(m) if name in names else m for name, m in row.models.items()})


def _donors(outcomes: Sequence[Outcome], tier: str) -> dict[str, list[ModelOutcome]]:
    """What a tier had wrong, by slice, and all of it under an empty name."""
    found: dict[str, list[ModelOutcome]] = defaultdict(list)
    for row in sorted(outcomes, key=lambda row: row.id):
        if quality(row, tier) < RIGHT:
            for name in {row.slice, ""}:
                found[name].append(row.models[tier])
    return found


def _donor(row: Outcome, tier: str, donors: Mapping[str, list[ModelOutcome]]) -> ModelOutcome:
    """Somebody's wrong draft, labelled as this row's was; its own where there is none."""
    some = donors.get(row.slice) or donors.get("")
    own = row.models[tier]
    if not some:
        return own
    other: ModelOutcome = some[int(coin("", f"donor {tier}", row.id) * len(some))]
    return replace(other, verdicts=own.verdicts, correct=own.correct, score=own.score)


def _listed(tiers: Collection[str]) -> str:
    return " and ".join(sorted(tiers))
