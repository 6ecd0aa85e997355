"""``cascade selftest``: the installed policy and lock under conditions in which a broken engine would show."""

from cascade.selftest.findings import Finding
from cascade.selftest.scenarios import REPETITIONS, Engine, selftest

__all__ = ["REPETITIONS", "Engine", "Finding", "selftest"]
