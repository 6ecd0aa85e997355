"""The floors of the package: who may import whom, how large a part may grow, what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cascade"
FLOORS = """
    types errors embedding language background local flights shipped
    lexicon matching pairing
    tables labels
    policy policyfile asks signals neighbours confidence lock promise history difference gates checks prices intents
    fresh exact paired betting economics intervals metrics variance evidence simulate
    decide ladder run paid sameness sensing flow recorded traffic tape replay columns compare ledger cache transports
    intake judging urgency learning watch recheck promotion hindsight heeding
    embedders
    shadows parts drivers replies streams callers client wrap plan following report bench engine
    batch trial selftest testing demo
    cli __init__ __main__
"""
"""From low to high. A module imports from lower floors, or from what stands left of it on its own."""

PLACES = {name: (i, j) for i, row in enumerate(FLOORS.split("\n")) for j, name in enumerate(row.split())}
HEAVY = {"sklearn", "scipy", "litellm", "starlette", "fastapi", "flask", "uvicorn", "numpy", "aiohttp"}
HEAVY |= {"matplotlib", "jinja2", "pyarrow", "onnxruntime", "tokenizers", "wordllama", "pycld2"}
"""What importing the package must not bring along; numpy and aiohttp too, which nobody has asked for yet."""


def part(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """Every part of the package that a file names in an import, for the type checker alone or not."""
    tree = ast.parse(file.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            home = f"cascade.{node.module or ''}".rstrip(".") if node.level else node.module
            names += [f"{home}.{alias.name}" for alias in node.names]
    found = {name.split(".")[1] for name in names if name.startswith("cascade.")}
    return {name if name in MODULES else "__init__" for name in found} - {part(file)}


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {part(file) for file in FILES}
FOLDERS = ["batch", "bench", "cache", "embedding", "intake", "judging", "learning", "ledger", "report", "transports"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_from_lower_floors_or_from_its_left(file: Path) -> None:
    assert part(file) in PLACES, f"{part(file)} has no place on a floor"
    wrong = {name for name in imports(file) if not PLACES[name] < PLACES[part(file)]}
    assert not wrong


def test_nothing_stands_on_two_floors() -> None:
    assert len(PLACES) == len(FLOORS.split())


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_import_goes_round_in_a_circle_within_a_folder(folder: str) -> None:
    files = {file.stem: file for file in (PACKAGE / folder).glob("*.py") if file.stem != "__init__"}
    left = {
        name: {f for f in files if f"cascade.{folder}.{f} " in (text := file.read_text()) or f" import {f}\n" in text}
        - {name}
        for name, file in files.items()
    }
    while free := {name for name, needs in left.items() if not needs}:
        left = {name: needs - free for name, needs in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize("statement", ["import cascade", "from cascade import Cascade"])
def test_importing_the_package_brings_nothing_heavy(statement: str) -> None:
    program = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_passes_400_lines_and_no_function_60(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: lines for f in functions if (lines := (f.end_lineno or 0) - f.lineno + 1) > 60}
    assert not long
