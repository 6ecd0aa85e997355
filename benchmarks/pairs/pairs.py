"""The pairs, where their recorded answers come from, and their rows as calibration reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from cascade.errors import ConfigError
from cascade.learning.rows import Rows, read_rows
from cascade.ledger import read_outcomes
from cascade.policy import Policy
from cascade.policyfile import parse_policy


class Source(NamedTuple):
    """A folder of recorded answers: its files and who made them."""

    folder: str
    files: tuple[str, ...]
    origin: str


class Pair(NamedTuple):
    """A cheap model and a frontier, and the signals that the cheap one's answers are scored by.

    ``reference``: what another implementation (logistic regression, power-started test) saves on the
    test part at a regret of 1 and of 2 points, by the same protocol.
    """

    source: Source
    cheap: str
    frontier: str
    signals: tuple[str, ...]
    reference: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        return f"{self.cheap} -> {self.frontier}"

    def policy(self, **target: float) -> Policy:
        """A policy of these two tiers. Pre-routing is off: it is no part of what is compared."""
        price = {"input": 1.0, "output": 2.0}
        tiers = [{"name": name, "model": name, "price": price} for name in (self.cheap, self.frontier)]
        made = {"name": "pair", "target": target, "tiers": tiers, "preroute": {"enabled": False}}
        return parse_policy(made | {"signals": {"sets": [sorted(self.signals)]}})


MMLU = Source(
    "mmlupro_confidence",
    ("data.jsonl.gz",),
    "MMLU-Pro answers of github.com/Linwei94/LLM-Calibration-Study (MIT); costs from list prices",
)
OPENQA = Source(
    "openqa_tokenprobs",
    ("test.jsonl.gz", "train.jsonl.gz"),
    "short answers of github.com/Yuuxii/Influences-on-LLM-Calibration (MIT); judged by a model; costs estimated",
)
STATED = ("verbal", "mean_token_prob", "size")
TOKENS = ("seq_prob", "extracted_seq_prob", "min_token_prob", "mean_logprob_exp", "first_token_prob", "size")
PAIRS = (
    Pair(MMLU, "gpt-4.1-mini", "gpt-4.1", STATED, (0.369, 0.505)),
    Pair(MMLU, "gpt-4.1-nano", "gpt-4.1", STATED, (0.047, 0.139)),
    Pair(MMLU, "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06", STATED, (0.130, 0.227)),
    Pair(MMLU, "claude-3-5-haiku-20241022", "claude-3-7-sonnet-20250219", ("verbal", "size")),
    Pair(OPENQA, "gemma-2b-it", "qwen2-72b-instruct", TOKENS),
    Pair(OPENQA, "gemma-2-9b-it", "llama-3.1-70b-instruct", TOKENS),
    Pair(OPENQA, "phi-3-mini-4k", "llama-3.1-70b-instruct", TOKENS),
)


def load(folder: Path, say: Callable[[str], None]) -> dict[str, list[Any]]:
    """The outcomes of each source; ``ConfigError`` where the folder lacks them."""
    found = {}
    for source in (MMLU, OPENQA):
        files = [folder / source.folder / name for name in source.files]
        missing = [str(file) for file in files if not file.is_file()]
        if missing:
            raise ConfigError(
                f"recorded answers are missing: {', '.join(missing)}; name the folder that holds "
                f"{source.folder}/: python -m benchmarks pairs DIR"
            )
        found[source.folder] = [replace(row, propensity=1.0) for file in files for row in read_outcomes(str(file))]
        say(f"{source.folder}: {len(found[source.folder]):,} rows")
    return found


def rows_of(pair: Pair, outcomes: list[Any]) -> Rows:
    """The pair's labelled rows; a row without its signals stays, and escalates."""
    kept = [
        replace(row, models={name: row.models[name] for name in (pair.cheap, pair.frontier)})
        for row in outcomes
        if pair.cheap in row.models and pair.frontier in row.models
    ]
    return read_rows(kept, pair.policy(max_regret=0.01))[0]
