"""``cascade cache recall``: past results with what a cache would have found."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cascade.cli import app
from cascade.ledger import read_outcomes, write_outcomes
from cascade.types import CACHE, ModelOutcome, Outcome

POLICY = """
name = "p"
[target]
max_error = 0.1
[cache]
semantic = {semantic}
[[tiers]]
name = "frontier"
model = "m"
params = {{ temperature = 0 }}
"""


def rows() -> list[Outcome]:
    asked = [
        ("fit", "What is the capital of France?"),
        ("certify", "What is France's capital?"),
        ("certify", "Who sings?"),
    ]
    return [
        Outcome(
            id=f"r{i}", query=query, split=split,
            models={"frontier": ModelOutcome(answer="Paris", finish_reason="stop", correct=int(i < 2), cost=0.01)},
        )
        for i, (split, query) in enumerate(asked)
    ]  # fmt: skip


def run(folder: Path, semantic: str) -> tuple[int, str, Path]:
    (folder / "p.toml").write_text(POLICY.format(semantic=semantic))
    write_outcomes(folder / "in.jsonl", rows())
    words = ["cache", "recall", str(folder / "in.jsonl"), "-o", str(folder / "out.jsonl")]
    done = CliRunner().invoke(app, [*words, "--policy", str(folder / "p.toml"), "--json"])
    return done.exit_code, done.stdout, folder / "out.jsonl"


def test_rows_come_back_with_the_nearest_stored_answer_and_the_labels_that_are_known(tmp_path: Path) -> None:
    code, said, output = run(tmp_path, "true")
    assert code == 0
    assert json.loads(said) == {"file": str(output), "outcomes": 3, "found": 2, "labelled": 2}
    found = {row.id: row.models.get(CACHE) for row in read_outcomes(output)}
    assert found["r0"] is None
    assert found["r1"] is not None
    assert (found["r1"].question, found["r1"].correct) == ("What is the capital of France?", 1)


def test_a_policy_without_a_semantic_cache_is_told_what_to_set(tmp_path: Path) -> None:
    code, _, output = run(tmp_path, "false")
    assert code == 2
    assert not output.exists()
