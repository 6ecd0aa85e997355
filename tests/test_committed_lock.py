"""The committed lock is what the committed outcomes give: files cannot drift."""

from __future__ import annotations

import msgspec

from calibration.__main__ import POLICY, differences, refit
from cascade.lock import load_lock, lock_path


def test_a_refit_from_the_committed_outcomes_gives_the_committed_lock() -> None:
    """Counts, gates and identities equal, weights and thresholds within 1e-6."""
    assert differences(load_lock(lock_path(POLICY)), refit()) == []


def test_a_lock_with_one_weight_moved_is_noticed() -> None:
    """The comparison can fail."""
    lock = load_lock(lock_path(POLICY))
    assert lock is not None
    scorer = lock.scorers[0]
    moved = msgspec.structs.replace(scorer, weights=[scorer.weights[0] + 1e-3, *scorer.weights[1:]])
    assert differences(lock, msgspec.structs.replace(lock, scorers=[moved, *lock.scorers[1:]]))
