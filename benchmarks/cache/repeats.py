"""Replayed traffic with repeats: what caches serve of it, and how much of that is wrong."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.cache.gates import COSINE, PAIRED, Fits, rows_of, threshold
from benchmarks.cache.pairs import Say
from benchmarks.cache.rivals import Curves, Near, Rival, Shelf, Tally, Threshold, replay
from benchmarks.cache.streams import Needs, Stream, divided, needs_of, stream
from benchmarks.cache.traffic import Part, Vectors, read
from benchmarks.speed.report import machine
from cascade.embedding import Embedder
from cascade.errors import ConfigError

LEVELS = (0.01, 0.02, 0.05, 0.10, 0.20)
EXPONENTS = (1.0, 0.7)
FITTED = 0.4
"""Share of the needs whose traffic fits the scores; none of them comes back where something is counted."""

FILLED, CERTIFIED = 0.25, 0.5
"""Up to which part of the traffic the store is filled, and up to which the thresholds are certified."""

DISTANCE = 0.8
"""GPTCache's defaults: a score of 4 less the squared distance, served from 0.8 times 4 on."""

ONLY, PEER, EACH, EACH_ALONE = "exact only", "GPTCache's rule", "per entry", "per entry, no identity"
ASIDE = ", held out"
NAMES = {COSINE: "cosine, certified", PAIRED: "ours, certified"}

METHOD = """
Questions of Quora (by way of github.com/zilliztech/GPTCache; not part of this project, only figures are): 2,882 needs
asked in three wordings or more come back by Zipf's law, in 70 % of the requests; the others are asked once, all hard
negatives of the needs among them. A hit is right if the labels connect both questions. Two that nobody has labelled
count as different, and many of those that stand nearest are the same need after all: every share of wrong hits here
is too high, and levels are harder to certify than they should be, for all systems alike.

The first quarter of a stream fills the store, the second certifies, the second half is counted. Scores are fitted to a
stream of other needs (40 % of them). The certification rows are requests, as often as they come, that look into the
store of the first quarter, which stands still: they are independent of each other, given that store. The promise is
about that population, of hits that are not exact. "Held out" goes on from that store; without it the requests that
certified are stored as well, as a service would have it, and what is then still asked anew is another population, to
which the promise does not extend. 95 % confidence for each level by itself.

An exact repetition is served by identity everywhere but in "no identity". "GPTCache's rule" is not its code: the
nearest question is served where 4 less the squared distance is at least 0.8 times 4, its documented defaults, on the
same vectors with exact search. "Per entry" is the idea of vCache (arXiv 2502.03771) in an implementation of our own
(`benchmarks/cache/rivals.py`): it learns on from every miss, also where it is counted, and believes a model of each
entry where the certified ones rely on counts alone. Its "no identity" counts exact repetitions among the near.
Intervals are exact for independent requests; popular needs make them too narrow. "Times cosine" compares near hits with
those of "cosine, certified, held out".
"""

Thresholds = dict[str, dict[float, float | None]]


class Scene(NamedTuple):
    """Traffic, the nearest in it, and up to which request it fills the store and up to which it certifies."""

    traffic: Stream
    near: Near
    filled: int
    counted: int


def scene(needs: Needs, exponent: float, requests: int, seed: int, vectors: Vectors) -> Scene:
    made = stream(needs, exponent, requests, seed)
    return Scene(made, Near(vectors.of(made.texts)), int(FILLED * requests), int(CERTIFIED * requests))


def looked_up(one: Scene) -> list[tuple[int, int]]:
    """What each request of the second part finds near in a store of the first: (asked, found).

    The store stands still, so that the requests are independent of each other, given what it holds.
    A popular question stands there as often as it is asked, and one that is stored already does not.
    """
    shelf = Shelf(len(one.traffic.texts)).fill(one.traffic.asked[: one.filled])
    asked = [int(it) for it in one.traffic.asked[one.filled : one.counted] if not shelf.known[it]]
    found = [(it, one.near.of(it, shelf.held)) for it in asked]
    return [(it, best) for it, best in found if best is not None]


def part_of(one: Scene, places: Sequence[tuple[int, int]]) -> Part:
    texts, needs = one.traffic.texts, one.traffic.needs
    return Part([(texts[a], texts[b]) for a, b in places], np.array([bool(needs[a] == needs[b]) for a, b in places]))


def scores_of(fits: Fits, name: str, one: Scene) -> Callable[[int, int], float]:
    """The score of any pair of the scene, by the same way as that of the certification rows."""

    @cache
    def score(asked: int, found: int) -> float:
        part = part_of(one, [(asked, found)])
        rows = rows_of(part, np.array([one.near.similarity(asked, found)]), ["traffic"])
        return float(fits.score(name, part, rows).scores[0])

    return score


def rows_in(one: Scene, places: Sequence[tuple[int, int]]) -> tuple[Part, Any]:
    part = part_of(one, places)
    similarities = np.array([one.near.similarity(*place) for place in places])
    return part, rows_of(part, similarities, ["traffic"] * len(places))


def certified(before: Scene, now: Scene) -> tuple[Fits, Thresholds]:
    """Scores fitted to other needs' traffic, and their thresholds certified on this one's second part."""
    found = looked_up(before)
    distinct = list(dict.fromkeys(found))
    fits = Fits(*rows_in(before, distinct))
    number = {place: i for i, place in enumerate(distinct)}
    as_asked = [number[place] for place in found]  # popular pairs once to fit, but to lay out as often as they come
    part, rows = rows_in(now, looked_up(now))
    least = {}
    for name in NAMES:
        own, certify = fits.own(name).of(as_asked), fits.score(name, part, rows)
        least[name] = {level: threshold(own, certify, level) for level in LEVELS}
    return fits, least


def rivals(now: Scene, fits: Fits, least: Thresholds) -> list[tuple[str, float, Rival]]:
    """Every system at every level; a level of 0 is none at all."""
    similarity = now.near.similarity
    nothing = Threshold(similarity, None)
    made: list[tuple[str, float, Rival]] = [
        (ONLY, 0.0, nothing),
        (ONLY + ASIDE, 0.0, nothing),
        (PEER, 0.0, Threshold(similarity, 1.0 - DISTANCE / 2)),
    ]
    scores = {name: scores_of(fits, name, now) for name in NAMES}
    for level in LEVELS:
        for key, name in NAMES.items():
            gate = Threshold(scores[key], least[key][level])
            made += [(name + ASIDE, level, gate), (name, level, gate)]
        made += [(name, level, Curves(similarity, level)) for name in (EACH, EACH_ALONE)]
    return made


def run(now: Scene, name: str, rival: Rival) -> Tally:
    """One system through the traffic; those that are certified serve nothing near before the third part."""
    shelf = Shelf(len(now.traffic.texts), identity=name != EACH_ALONE)
    begin = 0
    if name.removesuffix(ASIDE) in (ONLY, *NAMES.values()):
        begin = now.counted
        shelf.fill(now.traffic.asked[: now.filled if name.endswith(ASIDE) else now.counted])
    return replay(now.traffic, now.near, rival, shelf, begin, now.counted)


def measure(folder: Path, embedders: Sequence[Embedder], requests: int, seeds: int, say: Say) -> dict[str, Any]:
    """All systems on all streams; ``ConfigError`` where the folder lacks the questions."""
    began, found = time.monotonic(), []
    needs = needs_of(clusters(folder), read(folder, "Quora"))
    for embedder in embedders:
        vectors = Vectors(embedder)
        for exponent in EXPONENTS:
            for seed in range(seeds):
                found += [
                    {"embedder": embedder.name, **one} for one in round_of(needs, exponent, requests, seed, vectors)
                ]
                say(f"{embedder.name}, {exponent}: stream {seed + 1} of {seeds}, {time.monotonic() - began:.0f} s")
    return {
        "command": f"python -m benchmarks cache traffic DIR --requests {requests} --seeds {seeds}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine(),
        "seconds": round(time.monotonic() - began),
        "lines": summed(found),
    }


def clusters(folder: Path) -> list[dict[str, Any]]:
    file = folder / "qqp_clusters.jsonl.gz"
    if not file.is_file():
        raise ConfigError(f"{file} is missing; name the folder that holds it: python -m benchmarks cache traffic DIR")
    return [msgspec.json.decode(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def round_of(needs: Needs, exponent: float, requests: int, seed: int, vectors: Vectors) -> list[dict[str, Any]]:
    """One stream: what every system does with its last part."""
    first, second = divided(needs, FITTED, seed)
    before, now = (scene(some, exponent, requests, seed, vectors) for some in (first, second))
    fits, least = certified(before, now)
    by = {name: least[key] for key, name in NAMES.items()}
    return [
        {
            "exponent": exponent, "system": name, "level": level, **run(now, name, rival)._asdict(),
            "certified": by.get(name.removesuffix(ASIDE), {}).get(level) is not None,
        }
        for name, level, rival in rivals(now, fits, least)
    ]  # fmt: skip


def summed(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counts of all streams together, with exact 95 % intervals as if requests were independent of each other."""
    keys = ("embedder", "exponent", "system", "level")
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in found:
        line = lines.setdefault(tuple(one[key] for key in keys), {key: one[key] for key in keys})
        for key in (*Tally._fields, "certified"):
            line[key] = line.get(key, 0) + one[key]
    for line in lines.values():
        line["wrong_requests"] = interval(line["wrong"], line["requests"])
        line["wrong_near"] = interval(line["wrong"], line["near"])
        plain = lines.get((*(line[key] for key in keys[:2]), NAMES[COSINE] + ASIDE, line["level"]))
        line["ratio"] = line["near"] / plain["near"] if plain and plain["near"] else None
    return list(lines.values())


def interval(bad: int, rows: int) -> list[float] | None:
    """Share and its exact 95 % limits (Clopper and Pearson); None of no rows."""
    from scipy.stats import binomtest

    if not rows:
        return None
    limits = binomtest(bad, rows).proportion_ci(0.95, method="exact")
    return [bad / rows, float(limits.low), float(limits.high)]


def markdown(made: dict[str, Any]) -> str:
    """The page ``cache_traffic.md``."""
    shown = [line for line in made["lines"] if line["level"] == 0 or line["near"]]
    silent = [line for line in made["lines"] if line not in shown]
    lines = [
        "# Traffic with repeats through caches",
        "",
        f"`{made['command']}`, {made['date']}, {made['seconds'] / 60:.0f} minutes on one core.",
        METHOD,
        "| embedder | Zipf | system | wrong at most | hits | exact | near | near, times cosine "
        "| wrong of all requests | wrong of near hits | certified in |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *map(_row, shown),
        "",
        "Nothing near was served, since nothing was certified or no entry was believed, by:",
        "",
        *_silent(silent),
        "",
    ]
    return "\n".join(lines)


def _row(line: dict[str, Any]) -> str:
    requests, level = line["requests"], line["level"]
    ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}"
    certified = f"{line['certified']}" if line["system"].removesuffix(ASIDE) in NAMES.values() else ""
    return (
        f"| {line['embedder']} | {line['exponent']} | {line['system']} | {f'{level:.0%}' if level else ''} "
        f"| {(line['exact'] + line['near']) / requests:.1%} | {line['exact'] / requests:.1%} "
        f"| {line['near'] / requests:.2%} | {ratio} | {_limits(line['wrong_requests'])} "
        f"| {_limits(line['wrong_near'])} | {certified} |"
    )


def _limits(found: list[float] | None) -> str:
    return "-" if found is None else "{:.2%} ({:.2%} to {:.2%})".format(*found)


def _silent(lines: Sequence[dict[str, Any]]) -> list[str]:
    levels: dict[tuple[Any, ...], list[str]] = {}
    for line in lines:
        levels.setdefault((line["embedder"], line["exponent"], line["system"]), []).append(f"{line['level']:.0%}")
    return [f"- {embedder}, {zipf}, {system}: {', '.join(some)}" for (embedder, zipf, system), some in levels.items()]
