"""What peers make of recorded answers, as a table for people and as JSON for programs. No text goes into either."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import apart, ours
from benchmarks.peers.cases import Case, own_cases, shared_cases
from benchmarks.peers.measured import Word, line
from benchmarks.peers.recorded import GIVEN, Kept, asked, keep, kept
from benchmarks.speed.report import machine

METHOD = """
Each peer runs itself, from PyPI, in an environment of its own, on recorded questions and answers; nothing of it is
rebuilt. cascadeflow's confidence is its `ProductionConfidenceEstimator`'s, given the question, the answer and, where
they are recorded, finish reason, temperature and log-probabilities. Three rules say what it would serve: a confidence
of .5; its default threshold for the question's complexity (`QualityConfig.for_cascade`, `ComplexityDetector`); and its
whole `CascadeAgent`, which checks more than the confidence and sends some questions to the larger model unasked. uqlm's
white-box scorers name no threshold. Of this project stands the demo policy's calibrated confidence, learned on the
other splits, with slices; what certified thresholds serve is told elsewhere. The own signal is named beforehand, the
same for all rows of a source. This project's recording counts its test split, and rewordings of a question as one in
the intervals (95 %: Wilson for shares, bootstrap for AUROC and its difference to the own signal's).

Left out: ZeroEval answers that the collector cut at 1,200 characters (the long ones, likelier wrong); AlpacaEval, whose
verdict is a preference, whose texts are cut at 1,500 and whose licence asks for more care; MMLU-Pro, of which only the
letter is kept; the log-probabilities of the shared data, of which only summaries are kept.
"""
NOT_RUN = {
    "routellm": "its four routers read the question alone and need weights or OpenAI embeddings that PyPI does not "
    "have; their published figures are in routers.md",
    "uqlm's other scorers": "entailment, sampling and judges need models' weights, or further calls to the model",
    "firstpass": "a proxy in Rust before live models, which PyPI only wraps: it gates by further samples, judges and "
    "commands, and scores no recorded answer",
}
RULES = ("half", "complexity", "agent")


def record(say: Callable[[str], None]) -> list[Kept]:
    """Ask cascadeflow about the whole own recording. ``OSError`` or ``RuntimeError`` where it cannot run."""
    cases = own_cases()
    say("cascadeflow on this project's own recording")
    said, versions = apart.cascadeflow(asked(cases))
    return kept(cases, said, f"cascadeflow {versions['cascadeflow']}")


def own_lines(cases: Sequence[Case], lines: Sequence[Kept]) -> list[dict[str, Any]]:
    """The table's lines on the own recording's test split, out of what was recorded."""
    words = {(one.tier, one.given, one.id): one for one in lines}
    found = []
    for case in cases:
        rows = [row for row in case.rows if row.split == "test"]
        for given in GIVEN:
            said = [words[case.model, given, row.id] for row in rows]
            found.append(line(case, said[0].peer, given, rows, [one.word for one in said]))
        mine = ours.confidences(case.model)
        found.append(line(case, ours.NAME, "logprobs", rows, [Word(mine[row.id]) for row in rows]))
    return found


def measure(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Every peer on every case; ``ConfigError`` where the shared data are missing. Rewrites the recorded words."""
    began, own, shared, missing = time.monotonic(), own_cases(), shared_cases(folder, say), {}
    lines: list[dict[str, Any]] = []
    said = apart.tried(apart.cascadeflow, [*asked(own), *(case.rows for case in shared)])
    if isinstance(said, str):
        missing["cascadeflow"] = said
    else:
        words, versions = said
        peer = f"cascadeflow {versions['cascadeflow']}"
        ours = kept(own, words[: len(own) * len(GIVEN)], peer)
        keep(ours)
        lines += own_lines(own, ours)
        for case, one in zip(shared, words[len(own) * len(GIVEN) :], strict=True):
            say(f"{case.source}, {case.model}: {len(case.rows):,} rows")
            lines.append(line(case, peer, "text", case.rows, [Word(**word) for word in one]))
    tests = [[row for row in case.rows if row.split == "test"] for case in own]
    scored = apart.tried(apart.uqlm, tests)
    if isinstance(scored, str):
        missing["uqlm"] = scored
    else:
        lines += _uqlm(own, tests, *scored)
    return document(lines, missing, time.monotonic() - began)


def _uqlm(own: Sequence[Case], tests: Any, said: Any, versions: dict[str, str]) -> list[dict[str, Any]]:
    return [
        line(case, f"uqlm {versions['uqlm']}: {name}", "logprobs", rows, [Word(one[name]) for one in words])
        for case, rows, words in zip(own, tests, said, strict=True)
        for name in words[0]
    ]


def document(lines: Sequence[dict[str, Any]], missing: dict[str, str], seconds: float) -> dict[str, Any]:
    """Everything that was found, for ``peers.json``."""
    return {
        "command": "python -m benchmarks peers DIR",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "seconds": round(seconds),
        "missing": missing,
        "not_run": NOT_RUN,
        "lines": list(lines),
    }


def markdown(made: dict[str, Any]) -> str:
    """The page ``peers.md``."""
    lines = [
        "# Peers on recorded answers",
        "",
        f"`{made['command']}`, {made['date']}, {made['seconds']} s.",
        METHOD,
        *(f"Not measured: {name}: {why}\n" for name, why in made["missing"].items()),
        "Not run: " + "; ".join(f"{name} ({why})" for name, why in made["not_run"].items()) + ".",
        "",
        "## Does its confidence tell right from wrong?",
        "",
        "| answers of | peer | given | rows | right | AUROC | own signal | its AUROC | difference | ECE |",
        "|---|---|---|---:|---:|---:|---|---:|---:|---:|",
        *map(_ranks, made["lines"]),
        "",
        "## What would it serve, and how much of that is wrong?",
        "",
        "| answers of | peer | given | wrong of all | from .5 on: accepts | wrong | by complexity: accepts | wrong "
        "| its agent: accepts | wrong | draft not asked |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(_serves(one) for one in made["lines"] if one["rules"]),
        "",
    ]
    return "\n".join(lines)


def _ranks(one: dict[str, Any]) -> str:
    return (
        f"| {one['source']}: {one['model']} | {one['peer']} | {one['given']} | {one['rows']:,} | "
        f"{one['right']['estimate']:.1%} | {_decimal(one['auroc'])} | {one['own']} | {_decimal(one['own_auroc'])} | "
        f"{_decimal(one['difference'], '+')} | {one['ece']:.3f} |"
    )


def _serves(one: dict[str, Any]) -> str:
    shares = " | ".join(
        f"{one['rules'][rule]['accepted']['estimate']:.1%} | {_share(one['rules'][rule]['wrong'])}" for rule in RULES
    )
    return (
        f"| {one['source']}: {one['model']} | {one['peer']} | {one['given']} | {1 - one['right']['estimate']:.1%} | "
        f"{shares} | {one['rules']['agent']['not_asked']:.1%} |"
    )


def _decimal(figure: dict[str, Any], sign: str = "") -> str:
    return f"{figure['estimate']:{sign}.3f} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"


def _share(figure: dict[str, Any] | None) -> str:
    return "" if figure is None else f"{figure['estimate']:.1%} ({figure['low']:.1%} to {figure['high']:.1%})"
