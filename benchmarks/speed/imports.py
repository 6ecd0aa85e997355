"""What importing costs: each statement in a process of its own, again and again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

STATEMENTS = ("import pydantic", "from pydantic import BaseModel", "import cascade", "from cascade import Cascade")
"""Both packages resolve their names late, so the first of each pair is not all that a user pays."""

HEAVY = ("sklearn", "scipy", "litellm", "starlette", "fastapi", "uvicorn", "flask", "django", "tornado")
"""What must not come along: fitting, providers' clients, web frameworks."""

_PROGRAM = """
import sys, time
began = time.process_time()
{statement}
spent = time.process_time() - began
names = sorted({{name.partition(".")[0] for name in sys.modules}} & set({heavy}))
count = len(sys.modules)
try:
    with open("/proc/self/status") as lines:
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
except OSError:  # macOS, which counts in bytes
    import resource
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
import json
print(json.dumps([spent * 1e3, kilobytes / 1024, count, names]))
"""


class Import(NamedTuple):
    """CPU milliseconds, resident megabytes of the whole process, modules loaded, heavy ones among them."""

    cpu: float
    rss: float
    modules: int
    heavy: list[str]


def imported(statement: str, env: Mapping[str, str] | None = None) -> Import:
    """Run the statement in a new interpreter."""
    program = _PROGRAM.format(statement=statement, heavy=HEAVY)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)  # noqa: S603  our own program
    return Import(*msgspec.json.decode(done.stdout))
