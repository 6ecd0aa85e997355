"""``cascade judge``: answers in, labels out."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli import judge_options as options
from cascade.cli.places import AsJson
from cascade.cli.printing import emit, note, tracked
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.judging.case import Case, Judge
    from cascade.judging.drawing import Docket
    from cascade.judging.hearing import Heard
    from cascade.judging.source import Source
    from cascade.policy import Policy
    from cascade.transports import Transports
    from cascade.types import Outcome, Verdict

UNREACHABLE, TOO_DEAR, BAD_ROWS = 3, 4, 2
"""Exit statuses of a run that kept what it could."""


def judge(  # noqa: PLR0913  every parameter is an option of the command line
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Outcomes (.jsonl, .jsonl.gz; rewritten), or a ledger's folder.")
    ],
    *,
    exact: options.Exact = False,
    numeric: options.Numeric = False,
    tolerance: options.Tolerance = 0.0,
    json_equal: options.JsonEqual = False,
    command: options.Command = None,
    model: options.Model = None,
    rubric: options.RubricName = None,
    against: options.Against = False,
    base_url: options.BaseUrl = None,
    api_key_env: options.ApiKeyEnv = None,
    price: options.Priced = None,
    budget: options.Ceiling = None,
    yes: options.Yes = False,
    verdicts: options.Verdicts = None,
    keep_going: options.KeepGoing = False,
    tier: options.Tiers = None,
    slice: options.SliceName = None,
    share: options.Share = None,
    limit: options.Limit = None,
    judge_name: options.JudgeName = "",
    timeout: options.Timeout = 120.0,
    concurrency: options.Concurrency = 4,
    output: options.Output = None,
    policy: options.PolicyFile = None,
    json: AsJson = False,
) -> None:
    """Turn answers into labels: by a rule, a test command, a model, or people's verdicts.

    What this judge has judged before is skipped, so a run that broke off goes on when it is run
    again. Who cannot tell abstains, which is no label. Each verdict says with which probability its
    row was drawn. In a ledger a served answer that fails is also taken out of the cache, with --policy
    together with all that would be served in its place.

    JSON: `source`, `judge`, `judged`, `acceptable`, `abstained`, `skipped` (judged before),
    `undrawn`, `unanswered` (nothing to judge), `failed` (how many, by reason), `left`, `cost`
    (dollars), `stopped` (budget, unreachable, bad rows, or empty), `bad` (of --verdicts, each `row`
    and `reason`).
    """
    wanted = options.Wanted(
        exact, numeric, tolerance, json_equal, command, timeout, model, rubric, against, base_url,
        api_key_env, price, budget, verdicts, keep_going, judge_name,
    )  # fmt: skip
    drawing = options.Drawing(tier or [], slice, share, limit)
    report = judged(source, wanted, drawing, policy, output, yes, concurrency)
    emit(report) if json else tell(report)
    if code := exit_code(report):
        raise typer.Exit(code)


def judged(
    path: Path,
    wanted: options.Wanted,
    drawing: options.Drawing,
    policy: Path | None,
    output: Path | None,
    yes: bool,
    concurrency: int,
) -> dict[str, Any]:
    """Do what the options ask for; the command's JSON object."""
    from cascade.cli.heeded import heeded
    from cascade.judging.source import opened_source

    wanted.check()
    drawing.check(importing=wanted.verdicts is not None)
    loaded = options.policy_meant(policy, wanted)
    only = loaded.name if loaded is not None and policy is not None else None
    with ExitStack() as stack:
        read = stack.enter_context(opened_source(path, output=output, policy=only))
        source = stack.enter_context(heeded(read, path, loaded, policy))
        rows = source.rows()
        drawing.names_hold(rows)
        if wanted.verdicts is not None:
            found = _imported(source, rows, wanted.verdicts, wanted, drawing, loaded)
        else:
            found = _heard(source, rows, wanted, drawing, loaded, yes, concurrency)
    return {"source": str(output or path), **found}


def _imported(
    source: Source,
    rows: list[Outcome],
    file: Path,
    wanted: options.Wanted,
    drawing: options.Drawing,
    loaded: Policy | None,
) -> dict[str, Any]:
    from cascade.judging.hearing import Heard
    from cascade.judging.imports import read_verdicts

    first = loaded.tiers[0].name if loaded is not None else None
    tier = drawing.tiers[0] if drawing.tiers else first
    found = read_verdicts(file, {row.id: row for row in rows}, tier=tier, judge=wanted.name)
    for bad in found.bad:
        note(f"{file}, row {bad.row}: {bad.reason}")
    heard = Heard()
    if found.bad and not wanted.keep_going:
        heard.stopped = "bad rows"
        left = len(found.verdicts)
    else:
        left = 0
        for row, name, verdict in tracked("verdicts")(found.verdicts):
            source.keep(row, name, verdict)
            heard.judged += 1
            heard.acceptable += verdict.acceptable
    return _report(heard, wanted.name, skipped=found.skipped, left=left) | {"bad": found.bad}


def _heard(
    source: Source,
    rows: list[Outcome],
    wanted: options.Wanted,
    drawing: options.Drawing,
    loaded: Policy | None,
    yes: bool,
    concurrency: int,
) -> dict[str, Any]:
    from cascade.judging.drawing import draw
    from cascade.judging.hearing import Heard
    from cascade.judging.llm import ModelJudge
    from cascade.judging.repeated import Remembering
    from cascade.transports import Transports

    transport = Transports()
    judge = wanted.judge(transport)
    against = loaded.last.name if wanted.against and loaded is not None else None
    if against in drawing.tiers:
        raise ConfigError(f"--tier {against} with --against: the last tier is what the others are measured by")
    docket = draw(
        rows,
        judge.name,
        against=against,
        salt=loaded.audit.salt if loaded is not None else "",
        **drawing._asdict(),
    )
    if docket.skipped:
        note(f"{docket.skipped:,} answers have been judged by {judge.name} before and are skipped")
    if isinstance(judge, ModelJudge):
        options.agree(judge, docket, wanted, yes=yes)
    heard = Heard()
    try:
        asyncio.run(_hearing(docket, Remembering(judge, rows), source, heard, transport, wanted.budget, concurrency))
    except KeyboardInterrupt:
        note(f"interrupted: {heard.judged:,} verdicts are kept")
        raise
    done = heard.judged + heard.abstained + sum(heard.failed.values())
    found = _report(heard, judge.name, skipped=docket.skipped, left=len(docket.cases) - done)
    return found | {"undrawn": docket.undrawn, "unanswered": docket.unanswered}


async def _hearing(
    docket: Docket,
    judge: Judge,
    source: Source,
    heard: Heard,
    transport: Transports,
    budget: float | None,
    concurrency: int,
) -> None:
    from cascade.judging.hearing import hear

    def keep(case: Case, verdict: Verdict) -> None:
        source.keep(case.outcome, case.tier, verdict)

    try:
        cases = tracked("answers")(docket.cases)
        await hear(cases, judge, keep, heard, concurrency=concurrency, budget=budget)
    finally:
        await transport.close()


def _report(heard: Heard, judge: str, *, skipped: int, left: int) -> dict[str, Any]:
    return {
        "judge": judge,
        "judged": heard.judged,
        "acceptable": heard.acceptable,
        "abstained": heard.abstained,
        "skipped": skipped,
        "undrawn": 0,
        "unanswered": 0,
        "failed": dict(heard.failed),
        "left": left,
        "cost": heard.cost,
        "stopped": heard.stopped,
        "bad": [],
    }


def exit_code(report: dict[str, Any]) -> int:
    """0, or why not all was judged; also where nobody could be reached for any of a few."""
    codes = {"budget": TOO_DEAR, "unreachable": UNREACHABLE, "bad rows": BAD_ROWS}
    unheard = report["failed"] and not report["judged"] and not report["abstained"]
    return UNREACHABLE if unheard else codes.get(report["stopped"], 0)


def tell(report: dict[str, Any]) -> None:
    """The same for a person: what was judged on stdout, what was not, and why, on stderr."""
    count, fine = report["judged"], report["acceptable"]
    share = f" ({fine / count:.1%})" if count else ""
    print(f"{count:,} answers judged, {fine:,} acceptable{share}; cost {report['cost']:.6f} USD; {report['source']}")
    said = {
        "abstained": "{:,} not judged, since the judge could not tell",
        "undrawn": "{:,} not drawn",
        "unanswered": "{:,} hold nothing to judge",
        "skipped": "{:,} judged before",
    }
    for name, words in said.items():
        if report[name]:
            note(words.format(report[name]))
    for reason, times in report["failed"].items():
        note(f"{times:,} failed: {reason}")
    reasons = {
        "budget": "the next call is expected to pass the budget",
        "unreachable": "the judge cannot be reached",
        "bad rows": "nothing is written while there are bad rows; --keep-going takes the good ones",
    }
    if report["stopped"]:
        note(f"stopped: {reasons[report['stopped']]}; {report['left']:,} left, run it again to go on")
