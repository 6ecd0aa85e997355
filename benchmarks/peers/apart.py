"""Peers in throw-away environments: recorded answers go in, what the peer says of each comes out."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.cases import Row
from benchmarks.speed.rounds import CASCADEFLOW, PYTHON, environment

UQLM = "uqlm==0.6.7"
ALONE = ["uv", "run", "--quiet", "--isolated", "--no-project", "--python", PYTHON]
PATIENCE = 1800.0
"""Seconds for one peer, installation included."""

Said = tuple[list[list[dict[str, Any]]], dict[str, str]]
"""What was said of each row of each case, and the versions of who said it."""


def cascadeflow(cases: Sequence[Sequence[Row]]) -> Said:
    """Of each row its ``confidence``, the ``threshold`` of the question's complexity, and whether its agent ``asked``
    for the draft and ``accepted`` it. ``OSError`` or ``RuntimeError`` where it cannot run."""
    return _run([*ALONE, "--with", CASCADEFLOW, "python", "-m", "benchmarks.peers.peer_cascadeflow"], cases)


def uqlm(cases: Sequence[Sequence[Row]]) -> Said:
    """Of each row its score by each white-box scorer. Its two files need none of the gigabytes it depends on."""
    with tempfile.TemporaryDirectory() as folder:
        _done(["uv", "pip", "install", "--quiet", "--no-deps", "--python", PYTHON, "--target", folder, UQLM], "")
        worker = [*ALONE, "--with", "numpy", "--with", "scipy", "python", "-m", "benchmarks.peers.peer_uqlm"]
        return _run(worker, cases, folder)


def tried(peer: Callable[[Sequence[Sequence[Row]]], Said], cases: Sequence[Sequence[Row]]) -> Said | str:
    """What the peer said, or why it could not be run: the table says so and goes on without it."""
    try:
        return peer(cases)
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)


def _run(command: list[str], cases: Sequence[Sequence[Row]], path: str = "") -> Said:
    asked = [[msgspec.to_builtins(row.shown()) for row in rows] for rows in cases]
    made = msgspec.json.decode(_done(command, msgspec.json.encode(asked).decode(), path))
    return made["said"], made["versions"]


def _done(command: list[str], given: str, path: str = "") -> str:
    root = str(Path(__file__).parent.parent.parent)
    env = environment() | {"PYTHONPATH": f"{root}:{path}" if path else root}
    done = subprocess.run(  # noqa: S603  commands of this folder
        command, input=given, capture_output=True, text=True, env=env, timeout=PATIENCE, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no word"]
        raise RuntimeError(f"{' '.join(command[:2])} ... {command[-1]}: {last[0]}")
    return done.stdout
