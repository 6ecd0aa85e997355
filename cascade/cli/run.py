"""``cascade run``: a file of questions through a policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade.cli.intake import report
from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, note, page, status
from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.batch import Batch, Questions, Summary

FAILED, TOO_DEAR = 3, 4
"""Exit statuses of a batch that is not whole."""

SHOWN = 20
"""So many possibly billed calls are named on stderr; the document has all."""


Source = Annotated[
    Path,
    typer.Argument(metavar="QUESTIONS", help=".jsonl, .csv, .tsv or .txt (each also .gz), or .parquet."),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="Answers, a JSON line each.", show_default=False)
]
Concurrency = Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Questions at once.")]
Ceiling = Annotated[
    float | None,
    typer.Option(
        "--budget",
        metavar="USD",
        min=0.0,
        help="No call begins that could pass it, in all runs of this output together.",
        show_default=False,
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", metavar="N", min=1, help="The longest answer, where a question says none.", show_default=False
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Ask again what failed before.")]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Ask the good questions although there are bad rows.")]


def run(
    questions: Source,
    *,
    output: Output,
    policy: PolicyFile = None,
    concurrency: Concurrency = 8,
    budget: Ceiling = None,
    max_tokens: MaxTokens = None,
    retry_failed: RetryFailed = False,
    keep_going: KeepGoing = False,
    json: AsJson = False,
) -> None:
    """Answer a file of questions through a policy, its lock, ledger and cache, as live traffic is answered.

    A question is a JSON line, or a row of a table, with `query` or `messages`, and may have `id`, `system`,
    `slice`, `params`, `metadata`, `tenant`, `stakes`, `reference`. Each gets a line in the output, in the
    order in which answers are had: `id`, `row` of the source, `answer`, `served`, `served_by`, `why`,
    `confidence`, `cost`, `latency`, `flags`, `decision` (for `cascade explain`); where there are any also
    `tool_calls`, `refusal`, `at_frontier`, `error`. The same command run again goes on: what has a line is not
    asked again. FILE.journal holds every call from before it is sent; calls that were under way when a run was
    killed are named as possibly billed. Status 3 if some failed, 4 if the budget was reached.

    JSON: `questions`, of which `answered`, `failed`, `left`; `served` and `served_by` (how many by kind and by
    tier or cache), `escalated` and `errors` (how many by reason), `cost` (dollars of all calls of all runs),
    `unknown` (more at most, of possibly billed calls), `always_frontier` (estimated dollars had the last tier
    answered; null where tokens are not known), `possibly_billed` (each `id`, `tier`, `most` dollars or null),
    `stopped` (budget, unreachable, or empty), `bad` (rows that are no questions), `output`.
    """
    from msgspec.structs import asdict

    from cascade.batch import Batch, read_questions

    read = read_questions(questions)
    _told(questions, read, keep_going)
    _refuse_places(questions, output)
    limits: dict[str, Any] = {"budget": budget, "max_tokens": max_tokens, "concurrency": concurrency}
    with Batch(policy_file(policy), read, output, retry_failed=retry_failed, **limits) as batch:
        found = _served(batch, len(read.questions))
    bad = [one for group in read.bad for one in group.found]
    emit({**asdict(found), "bad": bad, "output": str(output)}) if json else _draw(found, output)
    _unfinished(found, budget)
    if code := TOO_DEAR if found.stopped == "budget" else FAILED if found.failed else 0:
        raise typer.Exit(code)


def _told(source: Path, read: Questions, keep_going: bool) -> None:
    """Name what is wrong with the source. ``ConfigError`` unless the rest shall be asked."""
    from cascade.intake import Intake

    for line in report(Intake(outcomes=[], problems=read.bad, notes=read.notes, rows=0)):
        note(f"{source}: {line}")
    if read.bad and not (keep_going and read.questions):
        count = sum(group.count for group in read.bad)
        rest = "; --keep-going asks the others" if read.questions else ""
        raise ConfigError(f"{source}: {count:,} of its rows are no questions, nothing is asked{rest}")


def _refuse_places(source: Path, output: Path) -> None:
    if output.suffix in (".gz", ".parquet", ".csv"):
        raise typer.BadParameter(f"-o {output}: answers are JSON lines, appended one by one")
    if output.exists() and output.samefile(source):
        raise typer.BadParameter("-o names the questions themselves")


def _served(batch: Batch, questions: int) -> Summary:
    before = len(batch.answers.lines)
    if before:
        note(f"{before:,} of {questions:,} have their line from before; {len(batch.left):,} are asked")
    try:
        with status("asking") as shown:
            return batch.serve(_progress(shown, before, questions))
    except KeyboardInterrupt:
        found = batch.summary()
        note(f"interrupted: {found.answered:,} answers are written; run it again to go on")
        _doubts(found)
        raise


def _progress(shown: Callable[[str], None], before: int, questions: int) -> Callable[[int, float], None]:
    begun = time.monotonic()

    def told(done: int, spent: float) -> None:
        rate = (done - before) / max(time.monotonic() - begun, 1e-9)
        shown(f"{done:,} of {questions:,}, {rate:.1f} a second, {spent:.4f} USD")

    return told


def _draw(found: Summary, output: Path) -> None:
    console = page()
    share = f"{found.answered:,} of {found.questions:,} answered"
    console.print(f"{share}, {found.failed:,} failed, {found.left:,} left; {output}", markup=False)
    for name, counts in (("by", found.served_by), ("escalated", found.escalated), ("failed", found.errors)):
        for word, count in counts.items():
            console.print(f"  {name} {word}: {count:,}", markup=False)
    console.print(f"cost {found.cost:.6f} USD; {_elsewhere(found)}", markup=False)


def _elsewhere(found: Summary) -> str:
    if found.always_frontier is None:
        return "what the last tier alone would have cost is unknown: not every answer's tokens were counted"
    return f"the last tier alone would have cost about {found.always_frontier:.6f} USD for as many tokens"


def _unfinished(found: Summary, budget: float | None) -> None:
    """What is not done, and what nobody knows, on stderr."""
    _doubts(found)
    if found.stopped == "budget":
        note(f"stopped: the next question could pass the budget of {budget:g} USD; {found.left:,} are left")
    if found.stopped == "unreachable":
        note(f"stopped: one question after the other fails; {found.left:,} are left, run it again to go on")
    if found.failed:
        note(f"{found.failed:,} failed: their lines say why, --retry-failed asks them again")


def _doubts(found: Summary) -> None:
    doubts = found.possibly_billed
    for doubt in doubts[:SHOWN]:
        most = "nobody knows how much" if doubt.most is None else f"at most {doubt.most:.6f} USD"
        note(f"possibly billed: {doubt.id} ({doubt.tier}, {most})")
    if len(doubts) > SHOWN:
        note(f"possibly billed: {len(doubts) - SHOWN:,} more")
