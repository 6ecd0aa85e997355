"""What fitting, threshold selection and reading cost, beside scikit-learn's and the standard library's way.

Ratios within one run, medians of several rounds, the two sides of a ratio interleaved: machines differ.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.coverage.report import write
from cascade.confidence import Calibrator
from cascade.intake import columns_of
from cascade.learning import path as paths
from cascade.learning.calibrators import FITS, probabilities
from cascade.policy import Target

ROWS = 1_000_000
TARGET = Target(max_error=0.05)
DELTA = 0.05


def population(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Log-odds of a score and whether the answer is right: AUROC about .84."""
    random = np.random.default_rng(seed)
    z = random.normal(size=rows)
    return 1.4 * z + 1.6, (random.random(rows) < 1 / (1 + np.exp(-(2.1 * z + 2.2)))).astype(float)


def ours(scores: Any, right: Any) -> tuple[float | None, Calibrator]:
    """A threshold by the certified path, and a Platt calibrator: half of the rows lay out, half certify."""
    half = len(scores) // 2
    laid, judged = scores[None, :half], scores[None, half:]
    quality = np.vstack([right, np.ones_like(right)])
    line = paths.candidates(laid, half, TARGET, DELTA)
    start = paths.start_of(paths.sweep(line, laid, quality[:, :half], "error"), half, half, TARGET, DELTA)
    place = paths.walk(paths.sweep(line, judged, quality[:, half:], "error"), start, TARGET, DELTA)
    made = FITS["platt"](scores, right >= 0.5, np.ones(len(scores)))
    return (None if place is None else float(line[place])), made


def theirs(scores: Any, right: Any, method: str) -> Any:
    """scikit-learn's ``CalibratedClassifierCV`` around a logistic regression, as its documentation has it."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    return CalibratedClassifierCV(LogisticRegression(), method=method, cv=5).fit(scores[:, None], right >= 0.5)


def one_request() -> tuple[float, int]:
    """CPU seconds to score one recorded draft under the demo's lock, and how many features that reads."""
    from cascade.demo import recorded, rules
    from cascade.replay import draft_of, request_of
    from cascade.signals import of_draft

    (made, lock), outcome = rules(), recorded()[0]
    scorer, tier = lock.scorers[0], made.policy.tiers[0]
    draft = draft_of(tier.name, outcome.models[tier.name], tier.model)
    signals, turns = of_draft(request_of(outcome), draft, made.policy.families), 20_000
    assert scorer.confidence(signals, outcome.slice) is not None
    started = time.process_time()
    for _ in range(turns):
        scorer.confidence(signals, outcome.slice)
    return (time.process_time() - started) / turns, len(scorer.features)


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of one turn."""
    started = time.process_time()
    work()
    return time.process_time() - started


def files(folder: Path, rows: int) -> tuple[Path, Path]:
    """The same columns as JSON lines and as Parquet."""
    import pyarrow
    import pyarrow.parquet

    scores, right = population(rows)
    lines, table = folder / "rows.jsonl", folder / "rows.parquet"
    with lines.open("wb") as out:
        for i in range(rows):
            model = {"correct": int(right[i]), "signals": {"sure.value": round(float(scores[i]), 6)}, "cost": 1e-5}
            out.write(msgspec.json.encode({"id": f"q{i}", "slice": "a", "models": {"cheap": model}}) + b"\n")
    columns = {"id": [f"q{i}" for i in range(rows)], "cheap.signals.sure.value": scores, "cheap.correct": right}
    pyarrow.parquet.write_table(pyarrow.table(columns), table)
    return lines, table


def plainly(file: Path) -> tuple[Any, Any]:
    """The standard library's way to the same two columns."""
    with file.open("rb") as lines:
        rows = [json.loads(line)["models"]["cheap"] for line in lines]
    return np.array([r["signals"]["sure.value"] for r in rows]), np.array([r["correct"] for r in rows])


def measure(rows: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures, in seconds of CPU (medians)."""
    scores, right = population(rows)
    found: dict[str, list[float]] = {name: [] for name in ("ours", "sigmoid", "isotonic", "json", "plain", "parquet")}
    with tempfile.TemporaryDirectory() as folder:
        say("writing files")
        lines, table = files(Path(folder), rows)
        named = {"score": "signals.sure.value", "label": "correct", "tier": "cheap"}
        for turn in range(rounds):
            say(f"round {turn + 1} of {rounds}")
            found["ours"].append(timed(lambda: ours(scores, right)))
            found["sigmoid"].append(timed(lambda: theirs(scores, right, "sigmoid")))
            found["isotonic"].append(timed(lambda: theirs(scores, right, "isotonic")))
            found["json"].append(timed(lambda: columns_of(lines, **named)))
            found["plain"].append(timed(lambda: plainly(lines)))
            found["parquet"].append(timed(lambda: columns_of(table, **named)))
    medians = {name: statistics.median(values) for name, values in found.items()}
    request, features = one_request()
    threshold, made = ours(scores, right)
    certified = float((scores >= threshold).mean()) if threshold is not None else 0.0
    log_loss = float(-np.log(np.where(right > 0, p := probabilities(made, scores), 1 - p)).mean())
    return {
        "rows": rows, "rounds": rounds, "seconds": medians, "request_us": request * 1e6, "features": features,
        "served": certified, "log_loss": log_loss,
    }  # fmt: skip


def report(rows: int, rounds: int, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    """Measure, and the table."""
    found = measure(rows, rounds, say)
    s, against = found["seconds"], found["seconds"]["plain"]
    lines = [
        (
            "certified threshold and Platt calibrator",
            s["ours"],
            "`CalibratedClassifierCV`, sigmoid, cv 5",
            s["sigmoid"],
        ),
        ("the same", s["ours"], "`CalibratedClassifierCV`, isotonic, cv 5", s["isotonic"]),
        ("two columns of JSON lines", s["json"], "`json.loads` a line", against),
        ("two columns of Parquet", s["parquet"], "`json.loads` a line", against),
    ]
    table = "\n".join(f"| {ours} | {a:.3f} | {theirs} | {b:.3f} | {a / b:.3f} |" for ours, a, theirs, b in lines)
    page = f"""# Fitting and reading

`python -m benchmarks fitting`: {found["rows"]:,} rows with one score, CPU seconds on one core, medians of
{found["rounds"]} interleaved rounds. Compare ratios only.

| what | s | beside | s | ratio |
|---|---:|---|---:|---:|
{table}

Score and confidence of one draft at run time, {found["features"]} features: {found["request_us"]:.1f} microseconds.
The threshold serves {found["served"]:.1%} of these rows.
"""
    write(found, page, "fitting")
    return found, page
