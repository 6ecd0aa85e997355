"""Where do the misses concentrate? Averages hide the rare part of the traffic in which a cascade is unsafe.

Every part that a person could name is compared with the rest of what was served: one-sided Fisher exact
tests. With a hundred parts some look bad by chance, so the smallest p-value of them all is compared with
the smallest ones that the same parts reach when the misses are dealt out by lots: single-step min-P of
Westfall and Young (1993), exact up to the number of lots. Bonferroni's correction lost: the parts overlap
so much that it would pay for the same question many times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade.bench.document import Concentration, Tails
from cascade.bench.field import Measured
from cascade.errors import ConfigError
from cascade.intervals import proportion
from cascade.language import language_of
from cascade.policy import Policy
from cascade.replay import Replayed, request_of
from cascade.types import CACHE, RIGHT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

LEAST = 10
"""Served answers that a part must hold, and leave outside, to be searched."""

LOTS = 2000
"""How often the misses are dealt out by lots."""

FAMILYWISE = 0.05
"""Chance that anything at all is called significant where the misses have no place of their own."""

RARE, POWER = 0.06, 0.8
"""What the search is asked about: a part with this share of the served answers, found this often."""

SHOWN = 5
NEWS = 0.5
"""Share of a part's misses that no stronger part has; one with fewer says the same again."""

_ROUNDING = 1 + 1e-9
_BATCH = 2**25


class Part(NamedTuple):
    """A part of the served answers: its name in words, and which they are, (n,)."""

    name: str
    rows: Any


def tails(measured: Measured, policy: Policy) -> Tails:
    """The search over what the cascade served on these rows without the last tier.

    A miss is a wrong answer; where a regret is promised, one that the last tier has right. Rows count as
    independent, as those of ``Learned.test`` are.
    """
    import numpy as np

    # By id, so that the lots fall alike in whatever order the rows come.
    order = np.argsort([outcome.id for outcome in measured.outcomes], kind="stable")
    served = [int(i) for i in order if measured.cascade.cheap[i] == 1.0]
    missed = measured.cascade.quality[served] < RIGHT
    if policy.target.kind == "regret":
        missed &= measured.frontier.quality[served] >= RIGHT
    return search(parts([measured.rows[i] for i in served], [measured.slices[i] for i in served]), missed)


def search(candidates: Sequence[Part], missed: Mask, *, lots: int = LOTS, seed: int = 0) -> Tails:
    """Which of these parts hold more of the ``missed`` (n,) than chance would give them?

    Over the draws of the ``lots`` the level is exact; for one ``seed`` it is off by what so many lots leave open.
    """
    import numpy as np

    n, misses = len(missed), int(missed.sum())
    if not candidates or not misses:
        return Tails(searched=len(candidates), served=n, misses=misses, found=[], sentence=_nothing(n, misses))
    rows = np.stack([part.rows for part in candidates]).astype(np.float32)
    sizes, kinds = np.unique(rows.sum(axis=1).astype(int), return_inverse=True)
    chance = chances(sizes, n, misses)
    held = (rows @ missed).astype(int)
    p = chance[kinds, held]
    lowest = np.sort(_lowest(rows, missed, chance[kinds], lots, seed))
    adjusted = (1 + np.searchsorted(lowest, p * _ROUNDING, side="right")) / (1 + lots)
    found = [_concentration(candidates[i], missed, float(adjusted[i])) for i in _strongest(candidates, missed, p)]
    # The k-th smallest of the lots is the first p-value that would no longer be significant.
    k = floor(FAMILYWISE * (1 + lots))
    least = detectable(n, misses, float(lowest[k - 1]) if k else 0.0)
    return Tails(
        searched=len(candidates),
        served=n,
        misses=misses,
        found=found,
        detectable=least,
        sentence=_told(found, n, misses, len(candidates), least),
    )


def parts(rows: Sequence[Replayed], slices: Sequence[str]) -> list[Part]:
    """Every part that may be searched: slices, traits, and each slice with each trait; none of them twice.

    Only what is known once the answer is there. A judge's labels lost: they come with its word on the
    answer, so that a part named by them would be made of the misses themselves.
    """
    import numpy as np

    marks = [[*_traits(row), length] for row, length in zip(rows, _lengths(rows), strict=True)]
    places = _masks([[f"slice {name}"] for name in slices])
    traits = _masks(marks)
    pairs = [Part(f"{a.name}, {b.name}", a.rows & b.rows) for a in places for b in traits]
    distinct: dict[bytes, Part] = {}
    for part in (*places, *traits, *pairs):
        if min(part.rows.sum(), (~part.rows).sum()) >= LEAST:
            distinct.setdefault(np.packbits(part.rows).tobytes(), part)
    return list(distinct.values())


def chances(sizes: Any, n: int, misses: int) -> Floats:
    """P(a part holds at least x of the misses) where lots deal them out, (parts, misses + 1), x from 0 on.

    Hypergeometric: ``sizes`` (parts,) of ``n`` rows with ``misses`` among them.
    """
    import numpy as np
    from scipy.stats import hypergeom

    exactly: Floats = np.asarray(hypergeom.pmf(np.arange(misses + 1), n, misses, np.asarray(sizes)[:, None]))
    return np.minimum(np.cumsum(exactly[:, ::-1], axis=1)[:, ::-1], 1.0)


def detectable(n: int, misses: int, limit: float) -> float | None:
    """The smallest rate of misses in a rare part that p-values under ``limit`` find with the stated power.

    Elsewhere the misses are as frequent as they are over all. None where no rate would be found.
    """
    import numpy as np
    from scipy.stats import beta, hypergeom

    size = rare(n)
    elsewhere = round(misses / n * (n - size))
    held = np.arange(size + 1)
    enough = np.flatnonzero(hypergeom.sf(held - 1, n, held + elsewhere, size) * _ROUNDING < limit)
    if not len(enough):
        return None
    # P(Bin(size, rate) >= x) is the distribution function of beta(x, size - x + 1) at the rate.
    least = int(enough[0])
    return float(beta.ppf(POWER, least, size - least + 1)) if least else 0.0


def rare(n: int) -> int:
    """Rows of a rare part."""
    return max(round(RARE * n), 1)


def _lowest(rows: Any, missed: Mask, chance: Floats, lots: int, seed: int) -> Floats:
    """The smallest p-value of all parts, for each deal of the misses, (lots,)."""
    import numpy as np

    random = np.random.default_rng(seed)
    found = []
    step = max(_BATCH // (len(missed) + len(rows)), 1)
    for begin in range(0, lots, step):
        dealt = np.tile(missed.astype(np.float32), (min(step, lots - begin), 1))
        held = random.permuted(dealt, axis=1) @ rows.T
        found.append(chance[np.arange(len(rows)), held.astype(int)].min(axis=1))
    return np.concatenate(found)


def _strongest(candidates: Sequence[Part], missed: Mask, p: Floats) -> list[int]:
    """Places of the strongest few, each with misses that no stronger one has."""
    import numpy as np

    told = np.zeros(len(missed), dtype=bool)
    chosen: list[int] = []
    share = missed.mean()
    for i in np.argsort(p, kind="stable"):
        own = missed & candidates[i].rows
        more = own.sum() > share * candidates[i].rows.sum()
        if more and (own & ~told).sum() >= NEWS * own.sum() and len(chosen) < SHOWN:
            chosen.append(int(i))
            told |= own
    return chosen


def _concentration(part: Part, missed: Mask, p: float) -> Concentration:
    inside, outside = missed[part.rows], missed[~part.rows]
    return Concentration(
        rule=part.name,
        rows=len(inside),
        misses=int(inside.sum()),
        rate=proportion(int(inside.sum()), len(inside)),
        elsewhere=proportion(int(outside.sum()), len(outside)),
        p=p,
        significant=p <= FAMILYWISE,
    )


def _masks(marks: Sequence[Sequence[str]]) -> list[Part]:
    """One part for each mark that enough rows bear, by name."""
    import numpy as np

    having = [set(own) for own in marks]
    borne = Counter(mark for own in having for mark in own)
    frequent = sorted(mark for mark, times in borne.items() if times >= LEAST)
    return [Part(mark, np.array([mark in own for own in having])) for mark in frequent]


def _traits(row: Replayed) -> list[str]:
    """What can be said of one request, and who answered it."""
    request = request_of(row.outcome)
    turns = sum(message.get("role") == "user" for message in request.messages)
    by = row.decision.served_by if row.decision is not None else ""
    found = [f"{key} {value}" for key, value in request.metadata.items()]
    found += [f"stakes {request.stakes}"] if request.stakes else []
    found += [f"tenant {request.tenant}"] if request.tenant else []
    found += [f"language {code}" for code in _language(request.question)]
    found.append("with digits" if any(char.isdigit() for char in request.question) else "without digits")
    found.append("several turns" if turns > 1 else "a single turn")
    found.append("answered from the cache" if by == CACHE else f"answered by {by}")
    return found


def _lengths(rows: Sequence[Replayed]) -> list[str]:
    """The third of all questions that each row's is in by its length."""
    import numpy as np

    lengths = [len(request_of(row.outcome).question) for row in rows]
    low, high = (int(cut) for cut in np.quantile(lengths, [1 / 3, 2 / 3])) if lengths else (0, 0)
    names = (f"at most {low} characters", f"{low + 1} to {high} characters", f"more than {high} characters")
    return [names[int(length > low) + int(length > high)] for length in lengths]


def _language(question: str) -> list[str]:
    try:
        code = language_of(question)
    except ConfigError:  # no detector on this machine: one kind of part fewer
        return []
    return [code] if code else []


def _nothing(n: int, misses: int) -> str:
    if not n:
        return "Nothing was served without the last tier, so there are no misses to look for."
    if not misses:
        most = proportion(0, n).high or 0.0
        return f"Not one miss among {n:,} served answers, so their rate over all is hardly above {most:.1%}."
    return f"{misses:,} misses among {n:,} served answers, and no part of them is large enough to be searched."


def _told(found: list[Concentration], n: int, misses: int, searched: int, least: float | None) -> str:
    sure = [one for one in found if one.significant]
    if sure:
        return "Misses concentrate: " + "; ".join(map(_place, sure)) + f" ({searched:,} parts searched)."
    rare_part = f"a part with {RARE:.0%} of the served answers ({rare(n):,} of these)"
    missing = (
        f"in {rare_part} no rate of misses would have been found with {POWER:.0%} power"
        if least is None
        else f"in {rare_part} misses would have been found with {POWER:.0%} power from a rate of {least:.0%} on"
    )
    return (
        f"No part stands out: {misses:,} misses among {n:,} served answers, {searched:,} parts searched. "
        f"That is no proof of safety: {missing}."
    )


def _place(one: Concentration) -> str:
    return (
        f"{one.rule}: {one.misses:,} of {one.rows:,} served answers ({one.rate.estimate:.0%}), "
        f"elsewhere {one.elsewhere.estimate:.1%} (p {one.p:.2g})"
    )
