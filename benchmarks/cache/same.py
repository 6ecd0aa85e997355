"""What the check of borderline hits buys: how it ranks right above wrong, beside the signals that are free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache.gates import PAIRED, Fits, rows_of
from benchmarks.cache.traffic import FILES, FIT, TEST, Part, Vectors, divided, labelled, read
from benchmarks.speed.report import machine
from cascade.asks import Together
from cascade.confidence import logistic, logit
from cascade.embedding import Embedder
from cascade.gates import Gates
from cascade.ladder import Ladder
from cascade.learning.features import auroc
from cascade.local import held, serve
from cascade.policyfile import parse_policy
from cascade.run import Rules, Run
from cascade.sameness import compared
from cascade.signals import NO_SIGNALS
from cascade.transports import DirectTransport
from cascade.types import Draft, Hit, Request

DATA = "Quora"
BORDER = (0.25, 0.75)
FOLDS, DRAWS = 10, 2000
FREE, CHECK, BOTH = "match and pair", "same", "all three"
Say = Callable[[str], None]
METHOD = f"""
Pairs of Quora whose chance of being right, by match and pair (fitted to other pairs, no question in common), lies
between {BORDER[0]:.0%} and {BORDER[1]:.0%}: there the gate knows least. A random draw of them is put to a local model
by the engine's own call: one token, its log-probability read. AUROC is the chance that a right pair ranks above a wrong
one. "{BOTH}" is a logistic regression on the log-odds of match and pair and the logit of same.p_true, {FOLDS} folds,
each pair scored by those that it is not in. Intervals are 95 % over {DRAWS:,} bootstrap draws of the pairs.

The wording is the better one of two, preferred on other pairs than these after the worse one had been tried on these.
"""


def measure(
    folder: Path, embedders: Sequence[Embedder], rows: int, pairs: int, models: Sequence[Any], weights: Path, say: Say
) -> dict[str, Any]:
    """One border for each embedder, and every model's word on it."""
    began = time.monotonic()
    whole = labelled(read(folder, DATA, rows))
    lines = []
    for embedder in embedders:
        part, logodds = border(whole, Vectors(embedder), pairs)
        for model in models:
            say(f"{embedder.name}: {len(part.right)} pairs to ask {model.name} about, {_since(began)}")
            with serve(held(model, weights)) as served:
                started = served.cpu_seconds()
                said = asyncio.run(ask(part, served.url))
                cpu = (served.cpu_seconds() - started) / len(part.right)
            lines.append(
                {"embedder": embedder.name, "model": model.name, "cpu_seconds": cpu, **ranked(part, logodds, said)}
            )
    return document(lines, rows, pairs, time.monotonic() - began)


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def border(whole: Part, vectors: Vectors, pairs: int) -> tuple[Part, Any]:
    """A random draw of the pairs at the border, and their log-odds by match and pair, (n,)."""
    parts = divided(whole, 0)
    rows = {place: rows_of(parts[place], vectors.similarities(parts[place].pairs), ["pairs"] * len(parts[place].pairs))
            for place in (FIT, TEST)}  # fmt: skip
    scores = Fits(parts[FIT], rows[FIT]).score(PAIRED, parts[TEST], rows[TEST]).scores
    chances = np.array([logistic(score) for score in scores.tolist()])
    near = np.flatnonzero((chances >= BORDER[0]) & (chances <= BORDER[1]))
    drawn = np.random.default_rng(0).permutation(near)[:pairs]
    return parts[TEST].take(drawn.tolist()), scores[drawn]


async def ask(part: Part, url: str) -> list[float | None]:
    """What the model behind ``url`` says of each pair: its probability that they are the same, None where absent."""
    transport = DirectTransport()
    tiers = [{"name": name, "model": name, "base_url": url, "price": {"input": 0.0, "output": 0.0}} for name in "ab"]
    policy = parse_policy(
        {"name": "same", "target": {"max_error": 0.1}, "tiers": tiers, "cache": {"same": {"tier": "a"}}}
    )
    rules = Rules(policy=policy, gates=Gates(policy, None), ladder=Ladder(policy))
    try:
        return [await _one(rules, asked, stored, transport) for asked, stored in part.pairs]
    finally:
        await transport.close()


async def _one(rules: Rules, asked: str, stored: str, transport: DirectTransport) -> float | None:
    run = Run(rules, Request(id="?", messages=[{"role": "user", "content": asked}]), clock=time.monotonic, at=0.0)
    hit = Hit(key="", draft=Draft(tier="b", model="b"), kind="semantic", question=stored)
    same = rules.policy.cache.same
    assert same is not None
    flow = compared(run, hit, same, NO_SIGNALS)
    wanted = next(flow)
    assert isinstance(wanted, Together)
    try:
        flow.send([await transport.complete(wanted.calls[0])])
    except StopIteration as stop:
        value: float | None = stop.value.values.get("same.p_true")
        return value
    raise RuntimeError("the check asked twice")


def ranked(part: Part, logodds: Any, said: Sequence[float | None]) -> dict[str, Any]:
    """AUROC of each score on the pairs that got an answer, and what the check adds."""
    known = np.array([value is not None for value in said])
    right, free = part.right[known], logodds[known]
    check = np.array([logit(value) for value in said if value is not None])
    scores = {FREE: free, CHECK: check, BOTH: _together(np.column_stack([free, check]), right)}
    random = np.random.default_rng(0)
    drawn = [random.integers(0, len(right), len(right)) for _ in range(DRAWS)]
    areas = {
        name: np.array([auroc(one[places], right[places]) for places in drawn], float) for name, one in scores.items()
    }
    return {
        "pairs": len(right),
        "absent": int((~known).sum()),
        "right": float(right.mean()),
        "auroc": {name: auroc(one, right) for name, one in scores.items()},
        "interval": {name: _interval(some) for name, some in areas.items()},
        "added": float((auroc(scores[BOTH], right) or 0.0) - (auroc(free, right) or 0.0)),
        "added_interval": _interval(areas[BOTH] - areas[FREE]),
    }


def _together(values: Any, right: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(model, values, right, cv=folds, method="decision_function")


def _interval(areas: Any) -> list[float]:
    found: list[float] = np.nanquantile(areas, [0.025, 0.975]).tolist()
    return found


def document(lines: Sequence[dict[str, Any]], rows: int, pairs: int, seconds: float) -> dict[str, Any]:
    """Everything that was found, for ``cache_same.json``."""
    return {
        "command": f"python -m benchmarks cache same DIR --rows {rows} --pairs {pairs}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "seconds": round(seconds),
        "source": FILES[DATA][1],
        "lines": list(lines),
    }


def markdown(made: dict[str, Any]) -> str:
    """The page ``cache_same.md``."""
    lines = [
        "# What a check of borderline hits buys",
        "",
        f"`{made['command']}`, {made['date']}, {made['seconds'] / 60:.0f} minutes on one core.",
        METHOD,
        f"{made['source']}. The data are not part of this project; only figures are.",
        "",
        f"| embedder | asked model | pairs | right | AUROC: {FREE} | {CHECK} | {BOTH} | added | CPU seconds a check |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *map(_row, made["lines"]),
        "",
    ]
    return "\n".join(lines)


def _row(line: dict[str, Any]) -> str:
    areas = " | ".join(_told(line["auroc"][name], line["interval"][name]) for name in (FREE, CHECK, BOTH))
    added = _told(line["added"], line["added_interval"])
    model = line["model"].removesuffix(".gguf")
    return (
        f"| {line['embedder']} | {model} | {line['pairs']} | {line['right']:.0%} | {areas} | {added} | "
        f"{line['cpu_seconds']:.2f} |"
    )


def _told(value: float, interval: Sequence[float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
