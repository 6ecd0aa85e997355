"""The wheel, installed in an empty environment elsewhere, is the whole product."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UV = shutil.which("uv")

pytestmark = pytest.mark.skipif(UV is None, reason="uv is not on the PATH")


def run(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout; its output is shown when it fails."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "UV_PROJECT"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean | env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an environment that holds the wheel and nothing of the checkout."""
    home = tmp_path_factory.mktemp("elsewhere")
    run(UV or "uv", "build", "--wheel", "--out-dir", home / "dist", ROOT, cwd=home)
    wheel = next((home / "dist").glob("*.whl"))
    run(UV or "uv", "venv", "--quiet", home / "env", cwd=home)
    run(UV or "uv", "pip", "install", "--quiet", "--python", home / "env/bin/python", wheel, cwd=home)
    return home


def test_the_installed_package_is_not_the_checkout_and_brings_no_other_top_level_name(installed: Path) -> None:
    """Only ``cascade`` becomes importable: ``policies``, ``calibration`` and ``benchmarks`` stay here."""
    code = "import cascade, importlib.util as u; print(cascade.__file__); print([u.find_spec(n) for n in "
    code += "('policies', 'calibration', 'benchmarks', 'tests')])"
    where, others = run(installed / "env/bin/python", "-c", code, cwd=installed).stdout.splitlines()
    assert str(installed) in where
    assert others == "[None, None, None, None]"


def test_the_replayed_demo_runs_from_the_wheel_and_says_the_same_as_here(installed: Path, tmp_path: Path) -> None:
    """Policy, lock and recordings travel along; every figure is the checkout's."""
    there = json.loads(run(installed / "env/bin/cascade", "demo", "--json", cwd=tmp_path).stdout)
    here = json.loads(run(ROOT / ".venv/bin/cascade", "demo", "--json", cwd=ROOT).stdout)
    assert there == here


def test_init_writes_a_policy_that_loads(installed: Path, tmp_path: Path) -> None:
    """The templates travel along."""
    run(installed / "env/bin/cascade", "init", "support", cwd=tmp_path)
    code = "from cascade.policyfile import load_policy; print(load_policy('support.toml').name)"
    assert run(installed / "env/bin/python", "-c", code, cwd=tmp_path).stdout.strip() == "support"


def test_the_report_finds_its_template_and_style(installed: Path, tmp_path: Path) -> None:
    """What is no Python travels along too."""
    code = "from cascade.report.rendering import templates; t = templates(); t.get_template('report/page.html.j2')"
    code += "; t.get_template('bench/page.html.j2'); print(len(t.get_template('report/page.css').render()))"
    there = run(installed / "env/bin/python", "-c", code, cwd=tmp_path).stdout
    assert int(there) == len((ROOT / "cascade/report/page.css").read_text().removesuffix("\n"))


def test_every_rubric_travels_along(installed: Path, tmp_path: Path) -> None:
    """Beside the policies of the same names."""
    code = "from cascade.judging.rubrics import load_rubric, rubric_names; print(*map(len, "
    code += "[load_rubric(n).text for n in rubric_names()])); print(*rubric_names())"
    sizes, names = run(installed / "env/bin/python", "-c", code, cwd=tmp_path).stdout.splitlines()
    assert names.split() == ["coding", "compliance", "general", "support", "triage"]
    assert all(int(size) > 0 for size in sizes.split())
