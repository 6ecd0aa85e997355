"""From recorded and judged prompts to what a person takes away: policy, lock, page and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cascade.batch.recording import RowCost
from cascade.economics import CallCosts
from cascade.errors import ConfigError
from cascade.evidence import Evidence, LeftOut
from cascade.learning.drawn import CERTIFY, FIT, TEST
from cascade.lock import Lock
from cascade.policy import Policy
from cascade.trial.verdict import Conclusion, conclude, unfitted
from cascade.types import Outcome, Record

if TYPE_CHECKING:
    from cascade.embedding import Embedder
    from cascade.learning.rows import Rows

EXAMPLES = 3


class Concluded(Record, frozen=True, kw_only=True):
    """What came out. ``lock`` is None where there were too few rows to fit anything."""

    conclusion: Conclusion
    evidence: Evidence
    lock: Lock | None


def mean_costs(costs: Sequence[RowCost], spent: dict[str, float]) -> CallCosts:
    """Dollars of one call each; all that was spent is in them, failures and abstentions too."""
    n, verdicts = max(len(costs), 1), max(sum(cost.verdicts for cost in costs), 1)
    return CallCosts(
        cheap=spent["cheap"] / n, frontier=spent["frontier"] / n, judge=spent["judge"] / verdicts, extra=0.0
    )


def concluded(
    rows: Sequence[Outcome],
    policy: Policy,
    costs: CallCosts,
    *,
    judge: str,
    allow_conflict: bool = False,
    embedder: Embedder | None = None,
) -> Concluded:
    """Fit, certify, look at the held-out rows, and say whether it pays. Raises what ``learn`` raises."""
    from cascade.learning.account import account
    from cascade.learning.calibrate import learn
    from cascade.learning.rows import read_rows

    usable, left_out = read_rows(rows, policy, embedder)
    counts = {name: usable.splits.count(name) for name in (FIT, CERTIFY, TEST)}
    bad = _bad(usable, policy)
    try:
        learned = learn(rows, policy, judge=judge, allow_conflict=allow_conflict, embedder=embedder)
    except ConfigError as error:  # of rows that could be read: too few of them, or too few bad or good ones
        conclusion = unfitted(len(usable), bad, counts, policy, costs, str(error))
        return Concluded(conclusion=conclusion, evidence=_bare(policy, conclusion, counts, left_out), lock=None)
    evidence = account(learned, policy, embedder=embedder)
    conclusion = conclude(learned.strata, evidence.break_even, learned.rows, policy, costs, judged=len(usable), bad=bad)
    evidence = replace(evidence, headline=conclusion.headline, notes=[conclusion.why, *evidence.notes])
    return Concluded(conclusion=conclusion, evidence=evidence, lock=learned.lock)


def _bad(rows: Rows, policy: Policy) -> int:
    """On how many rows the first tier's answer counts against the target."""
    import numpy as np

    from cascade.learning.path import count

    return count(0.0, np.zeros((1, len(rows))), rows.quality[[0, -1]], policy.target.kind).bad


def with_unasked(evidence: Evidence, failed: dict[str, str], unreached: Sequence[str]) -> Evidence:
    """The evidence with the prompts that took no part, by reason and by name."""
    reasons: dict[str, list[str]] = {}
    for id, why in failed.items():
        reasons.setdefault(f"not recorded: {why}", []).append(id)
    if unreached:
        reasons["not asked: the trial ended before"] = list(unreached)
    more = [LeftOut(reason=why, rows=len(ids), examples=ids[:EXAMPLES]) for why, ids in reasons.items()]
    return replace(evidence, left_out=[*evidence.left_out, *more])


def write(result: Concluded, *, lock: Path, page: Path) -> None:
    """Write the lock, if there is one, and the page. ``ConfigError`` or ``OSError`` where that fails."""
    from cascade.lock import save_lock
    from cascade.report import write as write_page

    if result.lock is not None:
        save_lock(lock, result.lock)
    write_page(page, result.evidence)


def _bare(policy: Policy, conclusion: Conclusion, rows: dict[str, int], left_out: list[LeftOut]) -> Evidence:
    """The evidence of a trial that has too few rows to learn from."""
    import datetime

    target = policy.target
    return Evidence(
        policy=policy.name,
        kind=target.kind,
        level=target.level,
        status="refused",
        statement=f"Nothing was fitted: of {sum(rows.values()):,} judged prompts {rows[FIT]:,} are there to fit and "
        f"{rows[CERTIFY]:,} to certify. Every request goes to the last tier.",
        target=f"max_{target.kind} {target.level:g} with confidence {target.confidence:g}",
        issued_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        judges={},
        rows=rows,
        strata=[],
        contest=[],
        refused_signals=[],
        reliability=[],
        choices=[],
        slices=[],
        savings=[],
        break_even=None,
        confidently_wrong=[],
        next_labels=[],
        left_out=left_out,
        notes=[conclusion.why],
        headline=conclusion.headline,
    )
