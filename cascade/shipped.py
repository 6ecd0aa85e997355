"""Data that travels in the wheel: policy templates, rubrics, the demo's recordings.

In a checkout the same files lie in the project's own folders; an installed package has them under
``cascade/shipped``.
"""

from __future__ import annotations

from pathlib import Path

from cascade.errors import ConfigError

_PACKAGE = Path(__file__).parent
_FOLDERS = ("policies", "benchmarks/recordings", "calibration/rubrics")


def shipped(name: str) -> Path:
    """Path of a shipped file: in the installed package, else in the checkout.

    ``ConfigError`` names what was looked for when the installation lacks it.
    """
    places = [_PACKAGE / "shipped", *(_PACKAGE.parent / folder for folder in _FOLDERS)]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise ConfigError(f"{name} is not in this installation; install cascade-gate again, or use a checkout")


def names(suffix: str) -> list[str]:
    """Names of all shipped files with this ending, sorted."""
    places = [_PACKAGE / "shipped", *(_PACKAGE.parent / folder for folder in _FOLDERS)]
    return sorted({file.name for place in places for file in place.glob(f"*{suffix}")})
