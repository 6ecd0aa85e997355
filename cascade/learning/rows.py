"""Labelled outcomes as columns: what serving would have seen of each row, beside how it turned out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any

from msgspec.structs import replace

from cascade.checks import built_in
from cascade.decide import UNPLACED, coin, find_slice, otherwise, plan
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.evidence import LeftOut
from cascade.gates import Gates, OpenGate
from cascade.intents import fit_intents
from cascade.learning.drawn import ONE_SIDED, gated, one_sided, propensity, splits_of, thinned, unchecked, unit_of
from cascade.learning.truth import label_of, word_of_people
from cascade.lock import Certificate, Gate
from cascade.policy import Policy, Source
from cascade.replay import draft_of, request_of
from cascade.signals import matched, narrowed, of_draft
from cascade.tables import LABEL_CONSISTENT, Label
from cascade.types import CACHE, SAME, Draft, ModelOutcome, Outcome, Record, Request, Signals

EXAMPLES = 3
TABLES = ("quality", "people", "cost")
LISTS = ("outcomes", "requests", "slices", "splits", "units", "signals", "routed")


class Rows(Record, frozen=True, kw_only=True):
    """``n`` labelled rows of ``k`` sources (``Policy.sources``) and the last tier, as columns.

    ``signals[i][s]`` are those of source s, narrowed to a declared set, or None where serving would not
    serve that draft (a check failed, the source would not be asked, no answer was stored). ``routed[i]``
    is the source that a routed slice goes to, -1 for cascaded rows, -2 where its draft failed a check.
    ``quality`` in [0, 1], what ``people`` say of it, and ``cost`` in dollars have shape (k + 1, n), NaN
    where unknown. Where no answer was stored its quality and cost are 0.0: it is never served.
    """

    outcomes: list[Outcome]
    requests: list[Request]
    slices: list[str]
    splits: list[str]
    units: list[str]
    signals: list[list[Signals | None]]
    routed: list[int]
    quality: Any
    people: Any
    cost: Any
    propensity: Any

    def __len__(self) -> int:
        return len(self.outcomes)

    def take(self, places: Sequence[int]) -> Rows:
        """These rows, in this order."""
        chosen = list(places)
        listed: dict[str, Any] = {name: [getattr(self, name)[i] for i in chosen] for name in LISTS}
        return Rows(
            **listed,
            quality=self.quality[:, chosen],
            people=self.people[:, chosen],
            cost=self.cost[:, chosen],
            propensity=self.propensity[chosen],
        )

    def of(self, split: str) -> Rows:
        """The rows of one split."""
        return self.take([i for i, name in enumerate(self.splits) if name == split])


ANY_GATE = OpenGate(
    gate=Gate(id="any", tier="", routed=True),
    scorer=None,
    certificate=Certificate(
        id="none", gates=[], kind="error", level=0.0, confidence=0.0, delta=0.0, method="", population="",
        judged=0, accepted=0, bad=0, bound=1.0, judge="", issued_at="",
    ),
)  # fmt: skip


class EveryGate(Gates):
    """Open gates everywhere: which requests would be asked of which tier, before anything is certified?"""

    def __init__(self) -> None:
        pass

    def any_open(self, tier: str, slice_name: str) -> bool:
        """Yes."""
        return True

    def hopeless(self, tiers: Collection[str], slice_name: str, request: Request) -> Collection[str]:
        """None."""
        return ()

    def find(self, tier: str, slice_name: str, signal_set: str) -> OpenGate | None:
        """An open one: a routed slice is asked of its tier."""
        return ANY_GATE


def read_rows(
    outcomes: Iterable[Outcome], policy: Policy, embedder: Embedder | None = None
) -> tuple[Rows, list[LeftOut]]:
    """The labelled rows, sorted by id, and what was left out of them, by reason.

    A row needs the label of every cheap tier, and for a regret target that of the last one. Rows that
    no coin drew, or of which a gate let only one side be labelled, are left out by name.
    ``ConfigError`` where slices are told apart by examples and no ``embedder`` is given.
    """
    import numpy as np

    reading = _Reading(policy, embedder)
    left: dict[str, list[str]] = defaultdict(list)
    made: list[dict[str, Any]] = []
    # Sorted, so that neither folds nor digests depend on the order in which rows happen to come.
    ordered = sorted(outcomes, key=lambda row: row.id)
    refusals = [reading.refusal(outcome) for outcome in ordered]
    cheap = [source.name for source in policy.sources]
    ruled_on = [o for o in ordered if gated(o, cheap)]
    refused = {o.id for o, refusal in zip(ordered, refusals, strict=True) if refusal}
    decided = {o.id for o in ruled_on if o.id not in refused}
    biased = one_sided((o for o in ruled_on if o.id in decided), ruled_on, cheap)
    for outcome, split, refusal in zip(ordered, splits_of(ordered), refusals, strict=True):
        reason = ONE_SIDED if biased and outcome.id in decided else refusal
        if reason:
            left[reason].append(outcome.id)
        else:
            made.append(reading.row(outcome, split))
    listed: dict[str, Any] = {name: [row[name] for row in made] for name in LISTS}
    width = len(policy.sources) + 1
    tables: dict[str, Any] = {
        name: np.array([row[name] for row in made], dtype=float).reshape(-1, width).T for name in TABLES
    }
    rows = Rows(**listed, **tables, propensity=np.array([row["propensity"] for row in made]))
    return rows, [
        LeftOut(reason=reason, rows=len(ids), examples=ids[:EXAMPLES]) for reason, ids in sorted(left.items())
    ]


def charged(outcome: Outcome, policy: Policy) -> Outcome:
    """The outcome with each cheap tier's cost raised by what its paid signals cost.

    Of live requests the decision's steps say it; of recorded data ``signals.cost`` in the policy. A stored
    answer's cost is that of its check, which live requests bring with them.
    """
    rates = [rate for name, rate in policy.signals.cost.items() if name in policy.families]
    spent: dict[str, float] = defaultdict(float)
    drafting = ""
    for step in outcome.decision.steps if outcome.decision is not None else []:
        if step.kind == "call":
            drafting = step.tier
        elif step.kind == "signal" and step.detail != SAME:  # its own tier is the one that was asked about the draft
            spent[drafting] += step.cost or 0.0
    models = dict(outcome.models) | _checked(outcome, policy)
    for tier in policy.tiers[:-1]:
        model = models.get(tier.name)
        if model is not None and model.cost is not None:
            models[tier.name] = replace(model, cost=model.cost * (1.0 + sum(rates)) + spent[tier.name])
    return replace(outcome, models=models)


def _checked(outcome: Outcome, policy: Policy) -> dict[str, ModelOutcome]:
    """Of recorded data: the stored answer at the price of its check, where it has one."""
    stored, same = outcome.models.get(CACHE), policy.cache.same
    rate = policy.signals.cost.get(SAME)
    if stored is None or same is None or rate is None or outcome.decision is not None:
        return {}
    asked = outcome.models.get(same.tier)
    if asked is None or asked.cost is None or SAME not in (stored.families or ()):
        return {}
    return {CACHE: replace(stored, cost=asked.cost * rate)}


def independent(rows: Rows, spoken_for: Set[str] = frozenset()) -> tuple[Rows, LeftOut | None]:
    """One row for each independent unit, and none whose unit another part of the work has seen.

    Turns of one conversation and rewordings of one question are not further draws from the traffic.
    """
    best: dict[str, tuple[bool, float, int]] = {}
    for place, (outcome, unit) in enumerate(zip(rows.outcomes, rows.units, strict=True)):
        if unit in spoken_for:
            continue
        # A question that another one rewords came first and found nothing stored, so where stored answers
        # count each of its wordings has the same chance; else the original speaks for them.
        rank = (CACHE not in outcome.models and outcome.id != unit, coin("", "unit", outcome.id), place)
        best[unit] = min(best.get(unit, rank), rank)
    kept = sorted(place for _, _, place in best.values())
    gone = [row.id for place, row in enumerate(rows.outcomes) if place not in set(kept)]
    reason = "another row of the same question or conversation is already counted"
    tied = LeftOut(reason=reason, rows=len(gone), examples=gone[:EXAMPLES]) if gone else None
    return rows.take(kept), tied


def evenly(rows: Rows) -> list[int]:
    """Places of the rows that are left when each is as likely as any other to be here; see ``thinned``."""
    kept = thinned(rows.propensity, (row.id for row in rows.outcomes))
    return [place for place, keep in enumerate(kept) if keep]


def _word_of_people(model: ModelOutcome) -> float | None:
    return 0.0 if model is NOTHING_STORED else word_of_people(model)


def _passed(request: Request, source: str, recorded: ModelOutcome, consistent: Mapping[str, Label]) -> Draft | None:
    """The recorded draft, unless a hard check holds against it; its labels are read as the policy declares them."""
    draft = draft_of(source, recorded, "")
    checks = [*built_in(request, draft, consistent), *(c for c in recorded.checks if c.name != LABEL_CONSISTENT)]
    return None if any(check.outcome == "fail" for check in checks) else draft


class _Reading:
    """One policy's way of reading an outcome."""

    def __init__(self, policy: Policy, embedder: Embedder | None) -> None:
        self._policy = policy
        self._enforced = policy.model_copy(update={"mode": "enforce", "rollout": 100.0})
        self._owners = [*(source.name for source in policy.sources), policy.last.name]
        self._needed = self._owners if policy.target.kind == "regret" else self._owners[:-1]
        self._embedder = embedder
        by_examples = any(declared.examples for declared in policy.slices.values())
        if by_examples and embedder is None:
            raise ConfigError("the policy tells slices apart by examples, which needs an embedder")
        self._intents = fit_intents(policy, embedder) if by_examples and embedder is not None else None

    def refusal(self, outcome: Outcome) -> str:
        """Why a row cannot take part; empty where it can."""
        for name in self._needed:
            model = outcome.models.get(name)
            if model is None and name == CACHE:
                continue
            if model is None:
                return f"no answer of tier {name}"
            if label_of(model) is None:
                return f"no label of {'the stored answer' if name == CACHE else f'tier {name}'}"
        if self._policy.cache.same is not None and unchecked(outcome):
            return "nobody was asked whether its stored question is the same"
        if propensity(outcome, self._needed, self._policy.audit.salt) <= 0.0:
            return "labelled, but no coin drew it, so it stands for no other row (enforced traffic, not audited)"
        return ""

    def row(self, outcome: Outcome, split: str) -> dict[str, Any]:
        """The row's columns, by the names of ``Rows``."""
        outcome = self._without_foreign(outcome)
        priced = charged(outcome, self._policy).models  # for the columns alone: a replay charges for itself
        request = request_of(outcome)
        made = plan(request, self._enforced, EVERY_GATE, self._place(request))
        found = [priced.get(name, NOTHING_STORED if name == CACHE else None) for name in self._owners]
        columns = {
            "quality": [None if model is None else label_of(model) for model in found],
            "people": [None if model is None else _word_of_people(model) for model in found],
            "cost": [None if model is None else model.cost for model in found],
        }
        if self._policy.cache.same is not None:
            columns["cost"][self._owners.index(CACHE)] = 0.0  # the second of the two pays for the check
        signals: list[Signals | None] = []
        routed = self._routed(made.slice)
        asked = {*([CACHE] if made.semantic else []), *(tier.name for tier in made.tiers)}
        for place, source in enumerate(self._policy.sources):
            recorded = outcome.models.get(source.name)
            consistent = self._policy.consistent(source.name, made.slice)
            draft = _passed(request, source.name, recorded, consistent) if recorded is not None else None
            if source.name not in asked:
                draft = None
            if place == routed and draft is None:
                routed = -2
            signals.append(self._signals(request, draft, source) if draft is not None and routed == -1 else None)
        return {
            "outcomes": outcome,
            "requests": request,
            "slices": made.slice,
            "splits": split,
            "units": unit_of(outcome),
            "signals": signals,
            "routed": routed,
            **columns,
            "propensity": propensity(outcome, self._needed, self._policy.audit.salt),
        }

    def _without_foreign(self, outcome: Outcome) -> Outcome:
        """The outcome without a stored answer that this policy would never look for."""
        if CACHE not in outcome.models or CACHE in self._owners:
            return outcome
        return replace(outcome, models={name: model for name, model in outcome.models.items() if name != CACHE})

    def _signals(self, request: Request, draft: Draft, source: Source) -> Signals | None:
        if source.name == CACHE:
            return _of_stored(draft.measured, source)
        return narrowed(of_draft(request, draft, self._policy.families), source.sets)

    def _place(self, request: Request) -> str:
        """The slice that serving would find."""
        name = find_slice(request, self._policy)
        if name != UNPLACED or self._intents is None or self._embedder is None:
            return name
        return self._intents.classify(self._embedder.embed([request.question])[0]) or otherwise(self._policy)

    def _routed(self, slice_name: str) -> int:
        declared = self._policy.slices.get(slice_name)
        if declared is None or declared.route is None or declared.route == self._owners[-1]:
            return -1
        return self._owners.index(declared.route)


def _of_stored(measured: Signals | None, source: Source) -> Signals | None:
    """A stored answer's signals as this source has them: free, or with a tier's word and else not at all."""
    if measured is None or not source.asked:
        return None if measured is None else narrowed(matched(measured), source.sets)
    if SAME not in measured.families:
        return None
    said = {name: value for name, value in measured.values.items() if name.startswith(f"{SAME}.")}
    free = matched(measured)
    return Signals(values=free.values | said, families=tuple(sorted({*free.families, SAME})))


EVERY_GATE = EveryGate()
NOTHING_STORED = ModelOutcome(correct=0, cost=0.0)
