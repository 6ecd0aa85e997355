"""What the demo's cascade saves against always-frontier, from the committed recordings: the README's table.

The same code as ``cascade bench``, on this project's own recorded answers of real models, with their further
draws and with what peers from PyPI decided on the same answers (``python -m benchmarks peers --record``).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from benchmarks.peers import recorded
from cascade.bench.bench import Asked, bench
from cascade.bench.document import Bench, SliceTable
from cascade.bench.field import CASCADE
from cascade.compare import Strategy
from cascade.embedding import WordLlamaEmbedder
from cascade.engine import embedder_of
from cascade.intervals import Figure
from cascade.ledger import read_outcomes
from cascade.policyfile import load_policy
from cascade.types import Outcome

ROOT = Path(__file__).parent
RECORDINGS = ROOT / "recordings"
POLICY = ROOT.parent / "policies" / "demo.toml"
RESULTS = ROOT / "results"
README = ROOT.parent / "README.md"
BEGIN, END = "<!-- savings -->", "<!-- /savings -->"
PICTURES = ("cost-quality", "waterfall", "ablation")
COMMAND = "python -m benchmarks savings"
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


def measure(say: Callable[[str], None]) -> Bench:
    """The whole benchmark on the committed recordings. Gold answers judge, at no cost."""
    policy = load_policy(POLICY)
    asked = Asked(
        judge="gold answers, matched by rule",
        judge_cost=0.0,
        recorded=peers(policy.tiers[0].name),
    )
    return bench(rows(), policy, embedder=embedder_of(policy), reader=WordLlamaEmbedder(), asked=asked, told=say)


def peers(tier: str) -> dict[str, frozenset[str]]:
    """What peers decided about this tier's answers, given all that was recorded of them."""
    found: dict[str, set[str]] = {}
    for line in recorded.read():
        if line.tier == tier and line.given == "logprobs":
            found.setdefault(line.peer, set()).update([line.id] if line.accepted else [])
    return {name: frozenset(ids) for name, ids in found.items()}


def rows() -> list[Outcome]:
    """The recorded answers, those of the questions that were drawn again with their further draws."""
    again = {row.id: row for row in _read(RECORDINGS / "draws.jsonl.gz")}
    return [_with_draws(row, again.get(row.id)) for row in read_outcomes(RECORDINGS / "demo.jsonl.gz")]


def _read(file: Path) -> Iterable[Outcome]:
    with gzip.open(file, "rb") as lines:
        yield from (msgspec.json.decode(line, type=Outcome) for line in lines if line.strip())


def _with_draws(row: Outcome, again: Outcome | None) -> Outcome:
    if again is None:
        return row
    drawn = {
        name: replace(model, samples=again.models[name].samples) if name in again.models else model
        for name, model in row.models.items()
    }
    return replace(row, models=drawn)


def markdown(found: Bench) -> str:
    """The page ``savings.md``."""
    return "\n".join(
        [
            "# Savings",
            "",
            f"`{COMMAND}`: the policy `{found.policy}` on this project's recorded answers, {found.measured} held-out "
            "questions, one of each wording. Intervals are 95 %; costs hold every call, audits included; points are of "
            "quality against always-frontier.",
            "",
            f"**{found.verdict.sentence}**",
            "",
            f"{found.statement}",
            "",
            *(f"![{name}](savings-{name}.png)" for name in PICTURES),
            "",
            *_strategies(found),
            *_ablation(found),
            *_money(found),
            *_slices(found.slices),
            *_quality(found),
            *_scenarios(found),
        ]
    )


def short(found: Bench) -> str:
    """The README's table."""
    head = [
        f"**{found.verdict.sentence}**",
        "",
        "| strategy | saved % | points of quality | served cheap % | wrong of these % | p95 s | promise |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    lines = [
        f"| {_name(one)} | {_cell(one.saving)} | {_cell(one.quality_delta)} | {_plain(one.accept_rate, 100, 1)} | "
        f"{_plain(one.accepted_error, 100, 1)} | {_plain(one.latency_p95, 1, 2)} | "
        f"{'yes' if one.name == CASCADE else 'no'} |"
        for one in found.strategies
    ]
    return "\n".join([*head, *lines, "", *found.claims])


def shown(readme: str, found: Bench) -> str:
    """The README with its table between the markers as measured."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{short(found)}\n{END}{rest.partition(END)[2]}"


def _strategies(found: Bench) -> list[str]:
    what = {one.name: one.what for one in found.entrants}
    head = [
        "## Strategies",
        "",
        "| strategy | USD a 1,000 | saved % | points | cheap % | wrong of these % | p50 / p95 / p99 s | promise |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines = [
        f"| {_name(one)} | {_figures(one)} | {'yes' if one.name == 'cascade' else 'no'} |" for one in found.strategies
    ]
    return [*head, *lines, "", *(f"- {name}: {text}." for name, text in what.items()), ""]


def _name(one: Strategy) -> str:
    return f"**{one.name}**" if one.name == CASCADE else one.name


def _figures(one: Strategy) -> str:
    slow = [_plain(figure, 1, 2) for figure in (one.latency_p50, one.latency_p95, one.latency_p99)]
    return " | ".join(
        [
            _plain(one.cost, 1e3, 3),
            _cell(one.saving),
            _cell(one.quality_delta),
            _cell(one.accept_rate),
            _cell(one.accepted_error),
            " / ".join(slow),
        ]
    )


def _ablation(found: Bench) -> list[str]:
    head = [
        "## Which part saves what",
        "",
        "Each variant is calibrated by itself on the same rows and measured on the same held-out ones.",
        "",
        "| variant | promise | USD a 1,000 | saved % | less the cascade's | points | escalated % | p95 s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows_ = [
        f"| {one.name} | {'yes' if one.certified else 'no'} | {_plain(one.strategy.cost, 1e3, 3)} | "
        f"{_cell(one.strategy.saving)} | {_cell(one.saving_gain)} | {_cell(one.strategy.quality_delta)} | "
        f"{_cell(one.strategy.escalation_rate)} | {_cell(one.strategy.latency_p95, 1, 2)} |"
        for one in found.ablation
    ]
    what = [f"- {one.name}: {one.what}." for one in found.ablation]
    return [*head, *rows_, "", *found.claims, "", *what, ""]


def _money(found: Bench) -> list[str]:
    falls, verdict, went = found.waterfall, found.verdict, found.escalations
    parts = {
        "always-frontier": falls.frontier,
        "frontier calls avoided": -falls.avoided,
        "cheap calls served": falls.served,
        "cheap drafts thrown away": falls.wasted,
        "samples, verifiers, checks": falls.extras,
        "embedding": falls.embedding,
        "audits": falls.audits,
        "cascade": falls.cascade,
    }
    lines = ["## Where the money goes", "", "| | USD a 1,000 |", "|---|---:|"]
    lines += [f"| {name} | {value * 1e3:.3f} |" for name, value in parts.items()]
    ratio, least = verdict.price_ratio, verdict.least_price_ratio
    if ratio is not None and least is not None:
        lines += ["", f"A frontier call is {ratio:.1f} times dearer than a cheap one; under {least:.1f} times this "
                  "cascade would stop paying."]  # fmt: skip
    lines += [
        f"Of {went.escalated} drafts thrown away {_cell(went.useful)} % were wrong where the frontier is right, "
        f"{_cell(went.wasted)} % changed nothing, {_cell(went.harmful)} % were right where the frontier is wrong.",
        "",
        *(
            f"- Flattered ({one.trick}): {one.saving * 100:.1f} % saved at {one.quality_delta * 100:+.1f} points, "
            f"instead of {one.honest_saving * 100:.1f} % at {one.honest_quality_delta * 100:+.1f}."
            for one in found.flattered
        ),
        "",
    ]
    return lines


def _slices(tables: list[SliceTable]) -> list[str]:
    head = [
        "## Slices",
        "",
        "| slice | questions | served cheap % | wrong of these % | saved % | points |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines = []
    for table in tables:
        ours = next(one for one in table.strategies if one.name == CASCADE)
        lines.append(
            f"| {table.name} | {table.rows} | {_cell(ours.accept_rate)} | {_cell(ours.accepted_error)} | "
            f"{_cell(ours.saving)} | {_cell(ours.quality_delta)} |"
        )
    return [*head, *lines, ""]


def _quality(found: Bench) -> list[str]:
    lines = [
        "## Confidence, secondary figures, noise",
        "",
        "| source | rows | AUROC | E-AURC | ECE (if perfect) | best raw signal |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for one in found.confidence:
        raw = "-" if one.best_raw_auroc is None else f"{one.best_raw}: {one.best_raw_auroc:.3f}"
        lines.append(
            f"| {one.source} | {one.of.rows} | {_cell(one.of.auroc, 1, 3)} | {_cell(one.of.e_aurc, 1, 3)} | "
            f"{one.of.ece.estimate:.3f} ({one.of.ece_if_perfect:.3f}) | {raw} |"
        )
    curve = found.curve
    if curve is not None:
        said = curve.refused or f"APGR {curve.apgr:.3f}, CPT(50 %) {curve.cpt50:.3f}, CPT(80 %) {curve.cpt80:.3f}"
        lines += ["", f"AIQ {curve.aiq:.3f}; {said}. Neither counts audits."]
    if found.noise is not None:
        lines += ["", found.noise.sentence]
    if found.tails is not None:
        lines += ["", found.tails.sentence]
    return [*lines, ""]


def _scenarios(found: Bench) -> list[str]:
    lines = ["## Drift and outage", "", "Nothing is fitted again.", ""] if found.scenarios else []
    return [*lines, *(f"- {one.name}: {one.sentence}" for one in found.scenarios), ""]


def _cell(figure: Figure | None, scale: float = 100.0, digits: int = 1) -> str:
    if figure is None:
        return "-"
    middle = f"{figure.estimate * scale:.{digits}f}"
    if figure.low is None or figure.high is None:
        return middle
    return f"{middle} ({figure.low * scale:.{digits}f} to {figure.high * scale:.{digits}f})"


def _plain(figure: Figure | None, scale: float, digits: int) -> str:
    return "-" if figure is None else f"{figure.estimate * scale:.{digits}f}"


def differences(committed: str, fresh: str) -> list[str]:
    """Lines that differ by more than one unit of a number's last printed digit.

    The last bits of a fit differ between processors, and a figure may stand at the edge of a rounding.
    """
    old, new = committed.splitlines(), fresh.splitlines()
    if len(old) != len(new):
        return [f"{len(old)} lines are now {len(new)}"]
    return [f"{was!r} is now {now!r}" for was, now in zip(old, new, strict=True) if not _near(was, now)]


def _near(was: str, now: str) -> bool:
    if NUMBER.sub("#", was) != NUMBER.sub("#", now):
        return False
    pairs = zip(NUMBER.findall(was), NUMBER.findall(now), strict=True)
    return all(abs(_value(a) - _value(b)) <= 1.001 * 10.0 ** -_digits(a) for a, b in pairs if a != b)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _digits(number: str) -> int:
    return len(number.partition(".")[2])


def write(found: Bench) -> None:
    """The page, the document and the pictures in ``benchmarks/results/``, and the README's table."""
    from cascade.bench.pictures import pictures

    (RESULTS / "savings.md").write_text(markdown(found))
    README.write_text(shown(README.read_text(), found))
    (RESULTS / "savings.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    drawn = pictures(found)
    for name in PICTURES:
        (RESULTS / f"savings-{name}.png").write_bytes(drawn[name].png())


def declare(commands: Any, say: Callable[[str], None]) -> None:
    """The subcommand."""
    asked = commands.add_parser("savings", help="what the demo's cascade saves, beside what a sceptic would try")
    asked.add_argument("--check", action="store_true", help="write nothing: status 1 where the committed page differs")
    asked.add_argument("--json", action="store_true", help="print savings.json instead of the page")
    asked.set_defaults(run=lambda arguments: run(say, check=arguments.check, json=arguments.json))


def run(say: Callable[[str], None], *, check: bool = False, json: bool = False) -> None:
    """Measure; write or compare; print. ``SystemExit`` 1 where the committed page is not what is measured."""
    found = measure(say)
    page = markdown(found)
    if check:
        wrong = differences((RESULTS / "savings.md").read_text(), page)
        if wrong:
            raise SystemExit("\n".join(wrong))
    else:
        write(found)
    print(msgspec.json.encode(found).decode() if json else page)
