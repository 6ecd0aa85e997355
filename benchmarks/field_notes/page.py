"""The page ``field_notes.md``."""

from __future__ import annotations

from benchmarks.field_notes.findings import DELTA, Certifiable, Judges, Labelled, Missing, Ratio, Scored
from benchmarks.field_notes.report import Document
from benchmarks.field_notes.routing import Routed
from cascade.intervals import Figure
from cascade.urgency import LITTLE, Hidden

PRICES = """
## How much dearer

Against the cheapest model of each study. The range is what the rounding of the published dollars leaves open.

| study | model | dollars | of | seconds | times | range | published |
|---|---|---:|---|---:|---:|---:|---:|"""
SCORES = """
## Scores

Means out of ten. Student's 95 % interval takes three scores for draws from a bell curve: it goes past 10, and has no
width where all three are the same (none is shown). The bounded one (Hoeffding) holds for every distribution on 0 to 10.
The last column is the difference to the cheapest model of the study, by the same judge (Student).

| study | model | judge | scores | mean | Student | bounded | more than the cheapest |
|---|---|---|---|---:|---:|---:|---:|"""
LABELS = """
## Labels: what the reader acts on

Each model against the dearest of its study; the matrix names the model's label first, then the dearest's. An answer
whose header says Adverse and whose text says qualified is `ambiguous`; it was published as Qualified. (The texts that
are read here are made up to show it.)

| study | label | model | labels | matrix | differs | symmetry | |
|---|---|---|---|---|---:|---|---|"""
MISSES = f"""
## What the scores hide

A critical miss of one side alone where the two scores, of 1 (8 of ten is 0.8), are at most {LITTLE:g} apart. It makes
the answer unacceptable whatever the score.

| study | task | missed by | score | the other | score | judge | what |
|---|---|---|---:|---|---:|---|---|"""


def markdown(made: Document) -> str:
    """The whole page."""
    parts = [
        ["# Field notes, reproduced", "", f"`{made.command}`, from `benchmarks/field_notes/notes.toml`.", ""],
        [f"- {line}" for line in made.caveats],
        [PRICES, *map(_price, made.ratios)],
        [SCORES, *map(_score, made.scores), "", *_dearest(made.scores)],
        _judges(made.judges),
        [LABELS, *map(_label, made.labels)],
        [MISSES, *(_hidden(line, hidden) for line in made.misses for hidden in line.found.hidden)],
        _certifiable(made.certifiable),
        _routing(made.routing),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _price(line: Ratio) -> str:
    seconds = "" if line.seconds is None else "{} to {}".format(*line.seconds)
    word = "" if line.published is None else f"{line.published:g}, {_reproduced(line.reproduced)}"
    return (
        f"| {line.study} | {line.model} | {line.dollars:g} | {line.dollars_of} | {seconds} | "
        f"{line.times.estimate:.1f} | {_range(line.times, '.1f')} | {word} |"
    )


def _score(line: Scored) -> str:
    return (
        f"| {line.study} | {line.model} | {line.judge} | {' '.join(map(str, line.scores))} | "
        f"{line.student.estimate:.2f} | {_range(line.student, '.1f')} | {_range(line.bounded, '.1f')} | "
        f"{_more(line)} |"
    )


def _more(line: Scored) -> str:
    return "" if line.more_than_cheapest is None else _figure(line.more_than_cheapest)


def _dearest(scores: list[Scored]) -> list[str]:
    """What the dearest model of each study is better at than the cheapest."""
    said = []
    for study in dict.fromkeys(line.study for line in scores):
        of_study = [line for line in scores if line.study == study]
        cheapest, dearest = of_study[0].model, of_study[-1].model
        low, high = ([line.scores for line in of_study if line.model == model] for model in (cheapest, dearest))
        if low == high:
            said.append(f"- {study}: {dearest} finds nothing more. It has the very scores of {cheapest}, task by task.")
        else:
            more = [f"{_more(line)} by judge {line.judge}" for line in of_study if line.model == dearest]
            said.append(f"- {study}: {dearest} scores {' and '.join(more)} more than {cheapest}.")
    return said


def _judges(made: Judges) -> list[str]:
    return [
        "",
        "## Where the judges part",
        "",
        f"{made.first}'s score minus {made.second}'s on the same answer. {made.first} is the higher on "
        f"{made.first_higher} answers, {made.second} on {made.second_higher}, {made.equal} are equal; mean",
        f"{_figure(made.overall)}, by a bootstrap over the scenarios, which is too narrow with so few.",
        "",
        "| study | model | differences | mean (Student) |",
        "|---|---|---|---:|",
        *(
            f"| {line.study} | {line.model} | {' '.join(f'{d:+d}' for d in line.differences)} | {_figure(line.mean)} |"
            for line in made.models
        ),
        "",
        f"Largest: {' and '.join(made.largest)}. Between the families: {_figure(made.own_family)}; above 0 each "
        "judge is kinder to its own.",
    ]


def _label(line: Labelled) -> str:
    made = line.comparison
    cells = [
        f"{ours}, {theirs}: {made.matrix[i][j]}"
        for i, ours in enumerate(made.values)
        for j, theirs in enumerate(made.values)
        if made.matrix[i][j]
    ]
    remarks = [f"{made.ambiguous_served} ambiguous"] if made.ambiguous_served else []
    if made.uninformative:
        remarks.append("uninformative: it never varies" + (f" ({line.context})" if line.context else ""))
    return (
        f"| {line.study} | {made.field} | {line.served} | {line.source} | {'; '.join(cells)} | "
        f"{_figure(made.differs)} | {made.symmetry.said} | {'; '.join(remarks)} |"
    )


def _hidden(line: Missing, hidden: Hidden) -> str:
    sides = [(line.served, hidden.served), (line.frontier, hidden.frontier)]
    (who, score), (other, its) = sides if hidden.missed_by == "served" else sides[::-1]
    return (
        f"| {line.study} | {hidden.row} | {who} | {score:.1f} | {other} | {its:.1f} | "
        f"{hidden.judge.removeprefix('llm:')} | {'; '.join(hidden.what)} |"
    )


def _certifiable(made: Certifiable) -> list[str]:
    power = "more than is affordable" if made.with_power is None else made.with_power
    return [
        f"\n## What {made.seen} scenarios certify\n",
        f"Nothing. With {1 - DELTA:.0%} confidence 0 bad of {made.seen} bounds the error at {made.none_bad:.0%}",
        f"and 1 bad of {made.seen} at {made.one_bad:.0%}. To promise at most {made.target:.0%} takes",
        f"{made.without_one_bad} accepted answers without a single bad one, {made.labelled} labelled rows with those",
        f"that fit and test. To succeed four times in five where {made.likely:.0%} are bad in truth takes {power}.",
    ]


def _routing(made: Routed) -> list[str]:
    told = made.told
    cheap, escalated = f"${told.cheap_dollars:g}", f"${told.escalated_dollars:g}"
    whole, (low, high) = f"${told.frontier_dollars:g}", told.price_ratio
    share = 1 - told.cheap_share
    within = "both within" if made.price_ratio_in_range else "not both within"
    return [
        "\n## The routing example\n",
        f"{cheap} + {escalated} instead of {whole}, with {told.cheap_share:.0%} of the traffic cheap, saves",
        f"{made.saving:.1%} and implies more than it says:\n",
        f"- The escalated {share:.0%} would be ${made.escalated_if_mean:.2f} of the {whole} if they were like the",
        f"  others. They cost {escalated}: {made.escalated_times:.1f} times the mean request",
        f"  ({_reproduced(made.reproduced)}), and {made.escalated_share_of_bill:.0%} of the bill. The others cost",
        f"  {made.cheap_times:.2f} of the mean.",
        "- On the requests that stay cheap the frontier is",
        f"  ${made.rest_at_frontier:g} / {cheap} = {made.price_ratio:.1f} times dearer; if every request was drafted",
        f"  cheap first, {whole} / {cheap} = {made.price_ratio_if_all_drafted:.1f} times: {within} the published",
        f"  {low:g} to {high:g}.",
        f"- From {low:g} to {high:g} the saving moves from {made.saving_at_range[0]:.1%} to",
        f"  {made.saving_at_range[1]:.1%}: what is escalated decides, not how cheap the cheap model is.",
        f"- Were the escalated requests mean ones, it would save {made.saving_if_escalated_were_mean:.1%}. A cascade,",
        f"  which also pays the drafts that it throws away, saves {made.saving_if_all_drafted:.1%}.",
        "- How many of the cheap answers were wrong is not part of the example.",
    ]


def _reproduced(yes: bool | None) -> str:
    return "reproduced" if yes else "NOT reproduced"


def _figure(figure: Figure) -> str:
    interval = _range(figure, ".2f")
    return f"{figure.estimate:.2f} ({interval})" if interval else f"{figure.estimate:.2f}"


def _range(figure: Figure, form: str) -> str:
    return "" if figure.low is None or figure.high is None else f"{figure.low:{form}} to {figure.high:{form}}"
