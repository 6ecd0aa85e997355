"""``cascade trial``: your own prompts, two models and a judge; does a cascade pay?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli import trial_options as options
from cascade.cli.intake import report
from cascade.cli.places import AsJson
from cascade.cli.printing import emit, note, page, show, status
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.trial import Prompts, Setting, Trial
    from cascade.trial.concluding import Concluded
    from cascade.trial.quoting import Quote


def trial(  # noqa: PLR0913  every parameter is an option of the command line
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="Your prompts: .jsonl, .jsonl.gz, or .txt with one a line.")
    ],
    *,
    cheap: options.Cheap = None,
    frontier: options.Frontier = None,
    policy: options.PolicyFile = None,
    base_url: options.BaseUrl = None,
    base_url_cheap: options.CheapUrl = None,
    base_url_frontier: options.FrontierUrl = None,
    api_key_env: options.ApiKeyEnv = None,
    price_cheap: options.CheapPrice = None,
    price_frontier: options.FrontierPrice = None,
    judge: options.JudgeModel = None,
    rubric: options.RubricName = None,
    base_url_judge: options.JudgeUrl = None,
    price_judge: options.JudgePrice = None,
    exact: options.Exact = False,
    numeric: options.Numeric = False,
    tolerance: options.Tolerance = 0.0,
    json_equal: options.JsonEqual = False,
    command: options.Command = None,
    max_error: options.MaxError = None,
    max_regret: options.MaxRegret = None,
    confidence: options.Sure = None,
    allow_conflict: options.AllowConflict = False,
    budget: options.Ceiling = None,
    max_tokens: options.MaxTokens = 2048,
    concurrency: options.Concurrency = 4,
    yes: options.Yes = False,
    name: options.Name = None,
    seed: options.Seed = 0,
    json: AsJson = False,
) -> None:
    """Try a cascade on your own prompts: what it costs first, then whether it pays.

    A few prompts are asked of both models to learn what all will cost, and that is put to you. Then the
    rest is asked and judged, a threshold is fitted, certified, and checked on prompts held out. Writes a
    policy, its lock and a page; NAME.trial keeps all that was asked, so that a trial that broke off goes
    on when it is run again, and pays for nothing twice. A prompt is a JSON line with `query` or
    `messages`, and may have `id`, `system`, `slice`, `reference`, `metadata`, `params`. With --max-error
    the frontier's answers are judged on held-out prompts only. Status 0 if it pays, else 1.

    JSON: `verdict`, `why`, `labels` and `labels_cost` (to tell; null where it is told), `statement`,
    `certified`, `prompts`, `recorded`, `repeated` and `bad` (lines), `failed` (id to reason),
    `unreached` (how many), `stopped` (empty, or budget), `quote` (agreed to: `total`, `low`, `high`,
    `within` the budget, ...; null where all was asked before), `cost` (real dollars: `cheap`,
    `frontier`, `judge`, `unknown`, `total`), `policy`, `lock` (null where nothing was fitted), `page`,
    `outcomes` (files).
    """
    wanted = options.Wanted(
        cheap, frontier, policy, base_url, (base_url_cheap, base_url_frontier, base_url_judge), api_key_env,
        (price_cheap, price_frontier, price_judge), judge, rubric, exact, numeric, tolerance, json_equal, command,
        max_error, max_regret, confidence, name,
    )  # fmt: skip
    limits = {"budget": budget, "max_tokens": max_tokens, "concurrency": concurrency, "seed": seed}
    _run(options.setting_of(wanted, prompts, **limits, allow_conflict=allow_conflict), prompts, yes, json)


def _run(setting: Setting, source: Path, yes: bool, json: bool) -> None:
    from cascade.transports import Transports
    from cascade.trial import Trial, read_prompts

    read = read_prompts(source, seed=setting.seed)
    _told(source, read)
    with Trial(setting, read.prompts, Transports()) as made:
        if made.conflict and not setting.allow_conflict:
            note(f"{made.conflict}; it will not count as a witness: another judge, or --allow-conflict")
        quote = _recorded(made, yes)
        with status("fitting and certifying"):
            found = made.conclude()
        document = _document(made, read, quote, found)
    emit(document) if json else _draw(document, found)
    if found.conclusion.word != "pays":
        raise typer.Exit(1)


def _told(source: Path, read: Prompts) -> None:
    from cascade.intake import Intake

    for line in report(Intake(outcomes=[], problems=read.bad, notes=[], rows=0)):
        note(f"{source}: {line}")
    if read.repeated:
        note(f"{source}: {len(read.repeated):,} ask what an earlier one asks, and are asked once: {read.repeated[0]}")


def _recorded(made: Trial, yes: bool) -> Quote | None:
    """Pilot, quote, agreement, the rest; the quote that was agreed to."""
    if not made.left:
        return None
    try:
        _pilot(made, yes)
        quote = made.quoted
        if made.left and quote is not None and not made.recorder.stopped:
            _quoted(quote, made)
            _agree(yes)
            with status("asking") as shown:
                made.rest(_progress(shown, len(made.prompts)))
    except KeyboardInterrupt:
        note(f"interrupted: {len(made.recorder.costs()):,} prompts are recorded; run it again to go on")
        raise
    _left_over(made)
    return quote


def _pilot(made: Trial, yes: bool) -> None:
    from cascade.trial.quoting import MOST

    known = made.quoted
    if known is not None and known.close:
        return
    answers, verdicts = made.at_most
    budget = made.setting.budget
    judge = f" and about {verdicts:.4f} for the judge" if verdicts else ""
    most = f"at most {answers:.4f} USD if every answer is as long as it may be{judge}, seldom a tenth of that"
    kept = "" if budget is None else f"; never more than the budget of {budget:g}"
    few = min(len(made.prompts), MOST)
    note(f"{len(made.prompts):,} prompts. To see what they cost, up to {few} are asked: {most}{kept}")
    _agree(yes or not answers + verdicts)
    with status("asking the first ones") as shown:
        made.pilot(_progress(shown, few))


def _quoted(quote: Quote, made: Trial) -> None:
    parts = f"cheap {quote.cheap:.4f} + frontier {quote.frontier:.4f} + judge {quote.judge:.4f}"
    note(
        f"All {quote.prompts:,} prompts will cost {quote.total:.4f} USD ({quote.low:.4f} to {quote.high:.4f}): "
        f"{parts}; {made.meter.total:.4f} are spent, the rest takes {_minutes(quote.seconds)}"
    )
    if not made.recorder.all_judged:
        note("the frontier's answers are judged on held-out prompts only: the promise does not need the others")
    if quote.reach < quote.prompts:
        note(f"the budget of {made.setting.budget:g} USD reaches about {quote.reach:,} of them, an even draw")


def _minutes(seconds: float) -> str:
    return "less than a minute" if seconds < 60 else f"about {seconds / 60:.0f} min"


def _agree(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        raise ConfigError("nobody is here to agree to that: pass --yes")
    # typer.confirm would put a space on stdout, even where it is told to ask on stderr.
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def _progress(shown: Any, prompts: int) -> Any:
    return lambda done, spent: shown(f"{done:,} of {prompts:,} prompts, {spent:.4f} USD")


def _left_over(made: Trial) -> None:
    """Name what is not recorded, and why."""
    failed = made.recorder.failed
    for id, why in list(failed.items())[:5]:
        note(f"left out: {id}: {' '.join(why.split())}")
    if len(failed) > 5:
        note(f"left out: {len(failed) - 5:,} more")
    if made.recorder.stopped == "budget":
        note(f"the next prompt could pass the budget of {made.setting.budget:g} USD: {len(made.left):,} are left")


def _document(made: Trial, read: Prompts, quote: Quote | None, found: Concluded) -> dict[str, Any]:
    setting, conclusion, failed = made.setting, found.conclusion, made.recorder.failed
    unknown, spent = made.meter.unknown, made.spent
    return {
        "verdict": conclusion.headline,
        "why": conclusion.why,
        "labels": conclusion.labels,
        "labels_cost": conclusion.cost,
        "statement": found.evidence.statement,
        "certified": found.evidence.status == "certified",
        "prompts": len(made.prompts),
        "recorded": len(made.prompts) - len(made.left),
        "repeated": read.repeated,
        "bad": read.bad,
        "failed": failed,
        "unreached": len([prompt for prompt in made.left if prompt.id not in failed]),
        "stopped": made.recorder.stopped,
        "quote": quote,
        "cost": {**spent, "unknown": unknown, "total": made.meter.total},
        "policy": str(setting.policy_file),
        "lock": str(setting.beside(".lock.json")) if found.lock is not None else None,
        "page": str(setting.beside(".html")),
        "outcomes": str(setting.folder / "outcomes.jsonl.gz"),
    }


def _draw(document: dict[str, Any], found: Concluded) -> None:
    from msgspec.structs import replace

    from cascade.report import tables

    console, evidence = page(), found.evidence
    for line in (document["verdict"], document["why"]):
        console.print(line, markup=False)
    console.print()
    show(tables(replace(evidence, headline="", notes=evidence.notes[1:])))
    quote, cost = document["quote"], document["cost"]
    said = f"; quoted {quote.within:.4f}" if quote is not None else ""
    note(f"cost {cost['total']:.4f} USD{said}; {document['recorded']:,} of {document['prompts']:,} prompts recorded")
    written = [document[name] for name in ("policy", "lock", "page") if document[name]]
    note(f"{', '.join(written)} are written")
