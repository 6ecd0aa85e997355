"""The benchmark on recorded pairs: what it counts on answers whose outcome is known, and what it says without any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.pairs import draws, report, splits
from benchmarks.pairs.fits import Scored
from benchmarks.pairs.pairs import MMLU, Pair, load, rows_of
from cascade.errors import ConfigError
from cascade.ledger import write_outcomes
from cascade.policy import Target
from cascade.types import ModelOutcome, Outcome

PAIR = Pair(MMLU, "small", "large", ("verbal", "size"), (0.1, 0.2))
QUALITY = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
COST = np.array([[1.0] * 4, [10.0] * 4])
FOUR = Scored(np.array([3.0, 2.0, 1.0, -np.inf]), QUALITY, COST)


def recorded(n: int = 900, seed: int = 0) -> list[Outcome]:
    random = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        sure = float(random.random())
        right = [int(random.random() < 0.4 + 0.6 * sure), int(random.random() < 0.95)]
        signals = [{"verbal": sure}, {}] if i % 50 else [{}, {}]
        models = {
            name: ModelOutcome(
                answer="A", correct=right[k], signals=signals[k], cost=(1e-4, 1e-3)[k], completion_tokens=5 + i % 90
            )
            for k, name in enumerate(("small", "large"))
        }
        rows.append(Outcome(id=f"q{i}", slice=f"s{i % 2}", query="x" * (1 + i % 70), models=models, propensity=1.0))
    return rows


def test_saving_pays_for_every_cheap_call_and_regret_counts_gains() -> None:
    assert FOUR.outcome(2.0, "regret") == pytest.approx({"served": 0.5, "risk": 0.25, "saving": (20 - 4) / 40})
    assert FOUR.outcome(1.0, "regret")["risk"] == pytest.approx(0.0)
    assert FOUR.outcome(2.0, "error")["risk"] == pytest.approx(0.5)
    assert FOUR.outcome(None, "regret") == {"served": 0.0, "risk": 0.0, "saving": 0.0}


def test_the_loosest_threshold_keeps_the_target_and_never_serves_a_draft_without_a_score() -> None:
    assert draws._loosest(FOUR, Target(max_regret=0.1)) == 1.0
    assert draws._loosest(FOUR, Target(max_error=0.1)) == 3.0
    nothing = Scored(np.full(4, -np.inf), QUALITY, COST)
    assert draws._loosest(nothing, Target(max_regret=0.1)) is None


def test_both_parts_of_the_benchmark_say_what_was_found() -> None:
    rows = rows_of(PAIR, recorded())
    assert len(rows) == 900
    lines = draws.drawn(PAIR, rows, 3, 0)
    saved = splits.split(PAIR, rows, 2, 0)
    assert {line["level"] for line in lines} >= {0.01, 0.02}
    assert all(sum(line["won"].values()) == 2 for line in saved)
    assert all(line["saving"] <= line["best_in_hindsight"] + 1e-12 for line in saved)
    page = report.markdown(report.document(lines, saved, 2, 3, 1.0))
    assert page.count("small -> large") >= len(lines) + len(saved)


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    write_outcomes(str(tmp_path / "data.jsonl"), recorded(2))
    with pytest.raises(ConfigError, match=r"benchmarks pairs DIR"):
        load(tmp_path, lambda line: None)
