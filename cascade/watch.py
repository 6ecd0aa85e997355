"""One certificate, looked at again and again: evidence that may be added to after every look.

An exact test holds its level for one look. Here gamblers bet against the promise and for it; whoever
is wrong gets rich with a chance of at most the level, over all looks together (Ville 1939). An error
promise is bet against by ``RiskMonitor``, which also notices a change that comes late; everything
else, with losses in [-1, 1], by the constant bets of ``paired.log_wealth``. What has been counted is
remembered by digest, so that the same rows add nothing.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from cascade.betting import RiskMonitor, Stakes, divergence
from cascade.lock import digest
from cascade.paired import log_e, log_wealth
from cascade.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Memory(Protocol):
    """Where watches are kept between two checks; a ``Ledger`` is one."""

    def watch(self, key: str) -> str | None:
        """What was kept under the key, or None."""
        ...

    def keep_watch(self, key: str, body: str) -> None:
        """Keep this under the key."""
        ...


class Watch(Record, frozen=True, kw_only=True):
    """What the checks so far have seen of one promise, as plain numbers.

    ``seen`` are digests of the rows that were counted: ``n`` of them, ``bad`` and ``better`` among
    them as in the certificate, ``total`` the sum of their losses. ``stakes`` are the monitor's, for an
    error promise; ``against`` and ``proving`` hold the log-wealth of each bet that it is broken and
    that it holds. ``peak`` is the highest log of the e-value against it: an alarm does not wear off.
    """

    kind: Literal["error", "regret"]
    level: float
    seen: list[str] = []
    n: int = 0
    bad: int = 0
    better: int = 0
    total: float = 0.0
    stakes: Stakes | None = None
    against: list[float] = []
    proving: list[float] = []
    peak: float = 0.0

    @property
    def log_e_broken(self) -> float:
        """Natural log of the highest e-value so far that the risk is above the level."""
        return self.peak

    @property
    def log_e_holds(self) -> float:
        """Natural log of the e-value that the risk is below the level; of all rows, not of the best moment."""
        return log_e(self.proving) if self.proving else 0.0

    def enough(self, times: float, alarm: float, delta: float) -> bool:
        """Would so many times as many rows with the same rates make one of the gamblers rich?"""
        proved = log_e([times * wealth for wealth in self.proving])
        rate = self.bad / self.n
        if self.kind == "regret":
            lost = log_e([times * wealth for wealth in self.against])
        else:  # what no valid alarm can do without, on average
            lost = times * self.n * divergence(rate, self.level) if self.level < rate < 1.0 else 0.0
        return proved >= log(1.0 / delta) or lost >= log(1.0 / alarm)

    def unseen(self, names: list[str]) -> list[int]:
        """Places of the rows that were not counted before."""
        known = set(self.seen)
        return [place for place, name in enumerate(names) if digest(name) not in known]

    def fed(self, names: list[str], losses: Floats) -> Watch:
        """The watch after these new rows: 0/1 for an error promise, in [-1, 1] for a regret."""
        if not names:
            return self
        stakes, against, peak = self.stakes, self.against, self.peak
        if self.kind == "error":
            monitor = RiskMonitor(stakes or Stakes(level=self.level))
            peak = max(peak, *(monitor.update(bool(loss)) for loss in losses))
            stakes = monitor.stakes
        else:
            against = _added(against, log_wealth(-losses, -self.level))
            peak = max(peak, log_e(against))
        return Watch(
            kind=self.kind,
            level=self.level,
            seen=sorted({*self.seen, *map(digest, names)}),
            n=self.n + len(names),
            bad=self.bad + int((losses > 0).sum()),
            better=self.better + int((losses < 0).sum()),
            total=self.total + float(losses.sum()),
            stakes=stakes,
            against=against,
            proving=_added(self.proving, log_wealth(losses, self.level)),
            peak=peak,
        )


def remembered(memory: Memory, key: str, fresh: Watch) -> Watch:
    """The watch under that key, or a fresh one; what cannot be read any more begins anew."""
    body = memory.watch(key)
    if body is None:
        return fresh
    try:
        found = msgspec.json.decode(body, type=Watch)
    except msgspec.MsgspecError:
        return fresh
    return found if (found.kind, found.level) == (fresh.kind, fresh.level) else fresh


def written(watch: Watch) -> str:
    """A watch as JSON."""
    return msgspec.json.encode(watch).decode()


def _added(before: list[float], more: Any) -> list[float]:
    return [float(new) + (before[place] if before else 0.0) for place, new in enumerate(more)]
