"""A whole benchmark: calibrate on the rows of two splits, compare everything on the third."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from cascade.bench.ablation import ablation, claims
from cascade.bench.confidences import curve, discriminated
from cascade.bench.document import Bench, Entrant, Flattered, SliceTable
from cascade.bench.field import CASCADE, FRONTIER, LOTS, ORACLE, Field, Measured, Prices, field_of, together
from cascade.bench.money import flattering, judge_cost, label_cost, verdict, waterfall
from cascade.bench.noise import noise
from cascade.bench.scenarios import scenarios
from cascade.bench.tails import tails
from cascade.compare import Table
from cascade.embedding import Embedder
from cascade.errors import ConfigError
from cascade.evidence import Choice, LeftOut
from cascade.learning.account import choices, covered
from cascade.learning.calibrate import Learned, learn
from cascade.learning.reliability import reliability
from cascade.learning.rows import Rows
from cascade.metrics import escalations
from cascade.policy import Policy
from cascade.promise import verdict as promised
from cascade.types import ModelOutcome, Outcome, Record
from cascade.urgency import labels_compared, misses_compared

Progress = Callable[[str], None]


class Asked(Record, frozen=True, kw_only=True):
    """What a benchmark is told besides its rows.

    ``judge`` names who labelled rows whose verdicts do not say it, ``judge_cost`` is the dollars of one
    verdict where they do not say that, ``requests`` over how many requests the labels are spread. ``recorded``:
    see ``Field``. ``ablation`` and ``scenarios`` calibrate and replay more, and may be left out.
    """

    judge: str = ""
    judge_cost: float | None = None
    requests: int | None = None
    recorded: Mapping[str, frozenset[str]] = {}
    allow_conflict: bool = False
    ablation: bool = True
    scenarios: bool = True


def bench(
    outcomes: Iterable[Outcome],
    policy: Policy,
    *,
    embedder: Embedder | None = None,
    reader: Embedder | None = None,
    asked: Asked | None = None,
    told: Progress = lambda _: None,
) -> Bench:
    """Measure on the rows of split ``test`` what is calibrated on the others.

    ``embedder`` is the policy's, where something in it needs vectors; ``reader`` is what routers read questions
    with, which are left out without one.
    Nothing certified is a result: the cascade then sends everything to the frontier and does not pay.
    ``ConfigError`` where the rows cannot carry a calibration, or no row has all that a comparison needs.
    """
    rows, asked = list(outcomes), asked or Asked()
    if len(policy.tiers) < 2:
        raise ConfigError(f"policy {policy.name!r} has one tier: there is nothing to compare the frontier with")
    told("calibrating")
    learned = learn(rows, policy, judge=asked.judge, embedder=embedder, allow_conflict=asked.allow_conflict)
    seen = together(learned.fit, learned.certify)
    known = judge_cost(rows)
    prices = Prices(judge=asked.judge_cost if asked.judge_cost is not None else known, requests=asked.requests)
    told("fitting what it is compared with")
    bare = Field(
        policy=policy,
        lock=learned.lock,
        embedder=embedder,
        reader=reader,
        recorded=dict(asked.recorded),
        prices=prices,
    )
    field = field_of(learned, bare)
    measured = field.measured(learned.test)
    variants = ablation(field, learned, rows, measured, told) if asked.ablation else []
    found = _document(field, learned, measured, seen)
    told("drift and outage")
    worlds = scenarios(field, learned.test.outcomes) if asked.scenarios else []
    return replace(found, ablation=variants, claims=claims(variants), scenarios=worlds)


def _document(field: Field, learned: Learned, measured: Measured, seen: Rows) -> Bench:
    """All that needs no further calibration."""
    policy, ours = field.policy, measured.cascade
    labels = label_cost(seen, field.prices.judge)
    sides, ids = _sides(measured, policy), [outcome.id for outcome in measured.outcomes]
    path = choices(learned, policy)
    return Bench(
        policy=policy.name,
        target=f"max_{policy.target.kind} {policy.target.level:g} with confidence {policy.target.confidence:g}",
        kind=policy.target.kind,
        level=policy.target.level,
        status=learned.status,
        statement=promised(learned.lock),
        judges=learned.judges,
        rows=learned.rows,
        measured=len(measured.rows),
        left_out=[*learned.left_out, *_left_out(measured)],
        verdict=verdict(measured, field, labels),
        strategies=[measured.table.strategy(column) for column in measured.columns.values()],
        entrants=entrants(field, learned, policy.tiers[0].name),
        slices=_slices(measured, learned),
        waterfall=waterfall(measured, field, labels),
        escalations=escalations(measured.cheap.quality, measured.frontier.quality, ours.asked & (ours.cheap == 0.0)),
        confidence=discriminated(field, seen, learned.test),
        reliability=reliability(learned.test, learned.lock.scorers, policy),
        curve=curve(path, measured),
        flattered=_flattered(measured, path, policy),
        noise=noise(measured, policy),
        tails=tails(measured, policy),
        labels=labels_compared(sides, ids, policy),
        misses=misses_compared(sides, ids) if _any_misses(sides) else None,
        notes=_notes(learned, field.prices),
    )


def entrants(field: Field, learned: Learned, cheap: str) -> list[Entrant]:
    """Every strategy in words."""
    last = field.policy.last.name
    known = {
        FRONTIER: f"{last} answers everything",
        CASCADE: "the certified gates, through the same flow as live traffic, audits included",
        LOTS: f"a coin sends each question to {cheap} or {last}, at the cascade's cost",
        ORACLE: "knows every outcome beforehand: one call, to the cheapest model that is as good as the best",
        **{f"always {tier.name}": f"{tier.name} answers everything" for tier in field.policy.tiers[:-1]},
        **{one.name: one.how for one in field.rivals},
        **dict.fromkeys(field.recorded, f"as it decided itself, recorded; between {cheap} and {last}"),
    }
    promise = promised(learned.lock) if learned.status == "certified" else ""
    return [Entrant(name=name, what=what, promise=promise if name == CASCADE else "") for name, what in known.items()]


def at(measured: Measured, places: list[int]) -> Measured:
    """The same measurement, of these rows alone."""
    outcomes = [measured.outcomes[i] for i in places]
    columns = {name: column.take(places) for name, column in measured.columns.items()}
    return Measured(
        rows=[measured.rows[i] for i in places],
        outcomes=outcomes,
        slices=[measured.slices[i] for i in places],
        columns=columns,
        table=Table(outcomes, columns[FRONTIER]),
    )


def _slices(measured: Measured, learned: Learned) -> list[SliceTable]:
    found = []
    for name in sorted(set(measured.slices)):
        here = at(measured, [i for i, where in enumerate(measured.slices) if where == name])
        found.append(
            SliceTable(
                name=name,
                rows=len(here.rows),
                covered=covered(name, learned),
                strategies=[here.table.strategy(column) for column in here.columns.values()],
            )
        )
    return found


def _flattered(measured: Measured, path: list[Choice], policy: Policy) -> list[Flattered]:
    """What the tricks of a flattering report would make of the same rows; none of it is a result."""
    honest = measured.table.strategy(measured.cascade)
    paid = float(measured.frontier.cost.sum())
    free = flattering(measured)
    shown = {
        "audits and drafts that were thrown away not counted": (
            1.0 - float(free.cost.sum()) / paid,
            honest.quality_delta.estimate,
        )
    }
    best = [one for one in path if policy.target.kind == "regret" and one.quality_delta >= -policy.target.level]
    if best:
        chosen = max(best, key=lambda one: one.saving)
        shown["the threshold chosen on the rows that it is reported on, audits not counted"] = (
            chosen.saving,
            chosen.quality_delta,
        )
    return [
        Flattered(
            trick=trick,
            saving=saving,
            quality_delta=delta,
            honest_saving=honest.saving.estimate,
            honest_quality_delta=honest.quality_delta.estimate,
        )
        for trick, (saving, delta) in shown.items()
    ]


def _sides(measured: Measured, policy: Policy) -> list[tuple[ModelOutcome, ModelOutcome]]:
    """What was served on each row, beside the frontier's answer."""
    last = policy.last.name
    served = [row.decision.served_by if row.decision is not None else last for row in measured.rows]
    return [(outcome.models[by], outcome.models[last]) for outcome, by in zip(measured.outcomes, served, strict=True)]


def _any_misses(sides: list[tuple[ModelOutcome, ModelOutcome]]) -> bool:
    return any(verdict.misses for pair in sides for one in pair for verdict in one.verdicts)


def _left_out(measured: Measured) -> list[LeftOut]:
    return [LeftOut(reason=reason, rows=rows, examples=[]) for reason, rows in measured.left_out.items()]


def _notes(learned: Learned, prices: Prices) -> list[str]:
    notes = [*learned.lock.notes, *learned.notes]
    for certificate in learned.lock.certificates[:1]:
        notes += [certificate.truth, certificate.conflict]
    if prices.judge is None:
        notes.append("what a verdict costs is not recorded and not counted: state it with --judge-cost")
    return [note for note in notes if note]
