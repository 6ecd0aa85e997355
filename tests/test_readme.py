"""The README says what the commands say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from cascade.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_demo_block_is_what_the_demo_prints() -> None:
    """The table in the README is the output of its own command, to the letter."""
    block = README.split("<!-- demo -->")[1].split("<!-- /demo -->")[0]
    shown = block.strip().removeprefix("```text").removesuffix("```").strip("\n")
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "cascade", "demo"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    printed = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    assert printed == shown


def test_every_command_that_the_readme_names_exists() -> None:
    """``cascade NAME`` in the README is a command with a help page."""
    named = set(re.findall(r"`cascade ([a-z]+)", README)) | set(re.findall(r"cascade ([a-z]+)(?: --live)?\n", README))
    assert named >= {"demo", "init", "calibrate", "doctor"}
    for name in sorted(named):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0, name


def test_every_file_that_the_readme_links_is_there() -> None:
    """No link into nowhere."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
