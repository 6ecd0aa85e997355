"""A judge behind another one's face."""

from __future__ import annotations

from cascade.judging.case import Case, Judge


class Through:
    """Everything of the ``judge`` but the judging; who puts something before it begins with this."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    @property
    def name(self) -> str:
        """As of the judge behind it."""
        return self._judge.name

    @property
    def family(self) -> str | None:
        """As of the judge behind it."""
        return self._judge.family

    @property
    def spent(self) -> float:
        """As of the judge behind it."""
        return self._judge.spent

    def estimate(self, case: Case) -> float:
        """As of the judge behind it."""
        return self._judge.estimate(case)
