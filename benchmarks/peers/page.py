"""``routers.md``: the cascade beside the published routers, for people."""

from __future__ import annotations

from typing import Any

METHOD = """
RouteLLM's authors log what Mixtral-8x7B (weak) and gpt-4-1106-preview (strong) answered; their routers see the question
alone. Of those routers stands what they publish (arXiv 2406.18665v4, tables 2, 3 and 7): no scores of single questions
are published, so they are compared at these points. Their rows are the same GSM8K questions, decontaminated by their
own list; of MMLU 105 repeated prompts are missing here. APGR is the mean share of the gap between the models that is
recovered over all strong shares (lots: 0.5; past the gap it may exceed 1), CPT the share of questions that must go to
the strong model for half, or 80 %, of the gap: ten steps, trapezoids, straight lines between, as in their evaluation.
CPT counts calls; the dollars beside it count everything: a cascade pays Mixtral for every question, a router only where
it stays, and the router's own price (table 7) is added to theirs. A published router's calls are priced as the average
question's, which may flatter it: the questions that our cascade escalates cost more than average, since hard ones get
long answers. Costs are the log's, derived from lengths and list prices.

Ours are scored by five folds that do not contain the question, means over repetitions, 95 % bootstrap intervals over
questions. The kinds of score are the engine's: how likely the cheap answer is right, what the dear one would gain, and
that gain a dollar. **They learn from labelled questions of the same benchmark, the published ones from other data**
(Arena votes, a judge's labels, about 1,500 gold labels of MMLU's validation part), so "our query router" shows what
that alone is worth. `text` are the signals that need nothing but question and answer; `worked` are three that a user
would add for such answers (did it finish, did it note its sums, do the noted sums come out), written for this kind of
answer.
"""
KNOWING = "both outcomes"
PROMISES = """
## With a promise

The same cascade with a certified threshold on GSM8K: 40 % fit, 30 % certify, figures of the other 30 %, means over
random splits. Routers promise nothing here. Saving is against always asking gpt-4, every Mixtral call paid. Risk is the
regret against always-gpt-4, or the share wrong among those served; where nothing is certified, everything goes to
gpt-4.

| signals | target | certifies | served | risk | quality | saves |
|---|---|---:|---:|---:|---:|---:|
"""


def markdown(made: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Beside published routers",
        "",
        f"`{made['command']}`, {made['date']}, {made['seconds'] / 60:.0f} minutes. Data: {made['source']}, not part of "
        "this project; only figures are.",
        METHOD,
    ]
    for bench in made["benchmarks"]:
        lines += _bench(bench)
    lines += [PROMISES.rstrip("\n"), *map(_promise, made["certified"]), ""]
    return "\n".join(lines)


def _bench(bench: dict[str, Any]) -> list[str]:
    dear = bench["strong_dollars"]
    return [
        f"## {bench['name']}",
        "",
        f"{bench['questions']:,} questions; Mixtral is right on {bench['weak']:.1%} at "
        f"${bench['weak_dollars'] * 1e3:.3f} a thousand, gpt-4 on {bench['strong']:.1%} at ${dear * 1e3:.3f}.",
        "",
        *(f"{verdict(bench, level)}\n" for level in ("50", "80")),
        "| router | sees | learned from | APGR | CPT(50 %) | CPT(80 %) | half the gap: $ a thousand | of always gpt-4 "
        "| 80 % of it: $ a thousand | of always gpt-4 |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_line(one, dear) for one in bench["lines"]),
        "",
    ]


def verdict(bench: dict[str, Any], level: str) -> str:
    """Which of our lines reach this share of the gap for fewer dollars than the best published router, by interval.

    The best of theirs is taken in hindsight; none of ours is.
    """
    lines = [one for one in bench["lines"] if one["sees"] != KNOWING]
    best = min((one for one in lines if _published(one)), key=lambda one: _dollars(one, level))
    limit = best[f"dollars{level}"]["estimate"]
    told: dict[str, list[str]] = {"cheaper": [], "not told apart": [], "dearer": []}
    for one in lines:
        if not _published(one):
            low, high = (one[f"dollars{level}"][end] for end in ("low", "high"))
            word = "cheaper" if high < limit else "dearer" if low > limit else "not told apart"
            told[word].append(f"{one['name']} (${_dollars(one, level):.2f})")
    said = "; ".join(f"{word}: {', '.join(names)}" for word, names in told.items() if names)
    return (
        f"{level} % of the gap: the best published router needs ${limit * 1e3:.2f} a thousand ({best['name']}, "
        f"{best['learned_from']}). Of ours {said}."
    )


def _published(one: dict[str, Any]) -> bool:
    return str(one["name"]).startswith("RouteLLM")


def _dollars(one: dict[str, Any], level: str) -> float:
    return float(one[f"dollars{level}"]["estimate"]) * 1e3


def _line(one: dict[str, Any], dear: float) -> str:
    costs = " | ".join(
        f"{_span(one[f'dollars{level}'], 1e3, '.2f')} | {one[f'dollars{level}']['estimate'] / dear:.0%}"
        for level in ("50", "80")
    )
    return (
        f"| {one['name']} | {one['sees']} | {one['learned_from']} | {_span(one['apgr'], 1, '.3f')} | "
        f"{_span(one['cpt50'], 100, '.1f')} % | {_span(one['cpt80'], 100, '.1f')} % | {costs} |"
    )


def _span(figure: dict[str, Any], scale: float, form: str) -> str:
    found = f"{figure['estimate'] * scale:{form}}"
    if figure.get("low") is None:
        return found
    return f"{found} ({figure['low'] * scale:{form}} to {figure['high'] * scale:{form}})"


def _promise(one: dict[str, Any]) -> str:
    return (
        f"| {one['signals']} | {one['kind']} {one['level']:g} | {one['certifies']:.2f} | {one['served']:.1%} | "
        f"{one['risk']:.4f} | {one['quality']:.1%} | {one['saving']:.1%} ± {one['saving_error']:.1%} |"
    )
