"""A judge that does not forget what it could not tell."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from cascade.judging.case import Case, Judge
from cascade.judging.through import Through
from cascade.types import Record, Verdict


class _Abstention(Record, frozen=True, kw_only=True):
    """One line of the abstentions' file: this judge could not tell."""

    id: str
    tier: str
    judge: str


class Remembering(Through):
    """A judge whose abstentions are kept, for the ledger holds verdicts only, and they were paid for too."""

    def __init__(self, judge: Judge, file: Path) -> None:
        super().__init__(judge)
        self._file = file
        self._known = set(_abstentions(file, judge.name))

    async def judge(self, case: Case) -> Verdict | None:
        """The verdict; an abstention is written down before it is handed on."""
        verdict = await self._judge.judge(case)
        if verdict is None:
            self._known.add((case.outcome.id, case.tier))
            line = _Abstention(id=case.outcome.id, tier=case.tier, judge=self.name)
            with self._file.open("ab") as out:
                out.write(msgspec.json.encode(line) + b"\n")
        return verdict

    def abstained(self, id: str, tier: str) -> bool:
        """Whether this answer is one of those."""
        return (id, tier) in self._known


def _abstentions(file: Path, judge: str) -> Iterable[tuple[str, str]]:
    if not file.is_file():
        return
    for line in file.read_bytes().splitlines():
        try:
            found = msgspec.json.decode(line, type=_Abstention)
        except msgspec.DecodeError:
            continue  # cut off by a crash: this one is judged again
        if found.judge == judge:
            yield found.id, found.tier
