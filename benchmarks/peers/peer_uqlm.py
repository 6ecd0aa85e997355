"""The worker for uqlm's scorers of recorded log-probabilities, in an environment of its own; see ``apart``.

``uqlm/__init__.py`` imports torch and langchain for its other scorers; these need numpy and scipy alone, so their own
files are loaded without it.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.metadata import distribution, version
from types import ModuleType
from typing import Any


def scorers(alternatives: int) -> list[Any]:
    """uqlm's own white-box scorers of one answer, for so many recorded alternatives a token."""
    for name in ("uqlm", "uqlm.white_box"):
        module = ModuleType(name)
        module.__path__ = [str(distribution("uqlm").locate_file(name.replace(".", "/")))]
        sys.modules[name] = module
    single = import_module("uqlm.white_box.single_logprobs").SingleLogprobsScorer()
    return [single, import_module("uqlm.white_box.top_logprobs").TopLogprobsScorer(top_k_logprobs=alternatives)]


def words(rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The score of each row by each scorer, by the scorer's name."""
    tokens = [
        [
            {"logprob": one, "top_logprobs": [{"logprob": other} for other in others]}
            for one, others in zip(row["logprobs"], row["top_logprobs"], strict=True)
        ]
        for row in rows
    ]
    by_name: dict[str, list[float]] = {}
    for scorer in scorers(len(rows[0]["top_logprobs"][0])):
        by_name |= scorer.evaluate(tokens)
    return [{name: float(values[i]) for name, values in by_name.items()} for i in range(len(rows))]


def main() -> None:
    """Read the cases from stdin, write what was said of them to stdout; what the peer prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    said = [words(rows) for rows in json.load(sys.stdin)]
    json.dump({"versions": {"uqlm": version("uqlm")}, "said": said}, answers)
    answers.close()


if __name__ == "__main__":
    main()
