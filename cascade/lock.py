"""The machine's file: scorers, gates and the table of certificates, with their provenance.

Calibration writes a lock, a person reads it in a review, and ``decide`` only ever reads it. A
policy without a lock escalates everything that is cascaded.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import msgspec

from cascade.confidence import Scorer, Scout
from cascade.errors import PolicyError
from cascade.neighbours import FAMILY, Neighbours
from cascade.pairing import FAMILY as PAIR
from cascade.pairing import Pairing
from cascade.policy import Policy, Tier
from cascade.tables import LABEL_CONSISTENT
from cascade.types import Record

LOCK_VERSION = 1
ANY_SLICE = "*"
"""A gate of this slice serves every declared slice that has no gate of its own."""


class Gate(Record, frozen=True, kw_only=True):
    """One door: drafts of ``tier`` in ``slice`` with exactly ``signal_set``.

    A draft passes when its score is at least ``threshold``; a None threshold is closed.
    A ``routed`` gate has no scorer and passes everything that the hard checks passed; ``standing``
    is its place on the path of thresholds. ``seen`` are the slices that took part in the certificate
    of a gate for any slice; another slice's drafts do not pass. Without any it is for all.
    """

    id: str
    tier: str
    slice: str = ANY_SLICE
    signal_set: str = ""
    scorer: str | None = None
    threshold: float | None = None
    routed: bool = False
    standing: float | None = None
    seen: list[str] = []


class HeldOut(Record, frozen=True, kw_only=True):
    """What rows that no step had seen say of a promise: ``n`` counted, ``bad`` and ``better`` among
    them (as in the certificate), ``low`` the lower confidence limit of the risk. A limit above the
    promised level contradicts the promise, and no certificate is issued.
    """

    n: int
    bad: int
    better: int = 0
    risk: float
    low: float


class Certificate(Record, frozen=True, kw_only=True):
    """A promise and its evidence. It covers exactly the gates it lists, and only together.

    ``level`` is the promised ``max_error`` or ``max_regret``. ``confidence`` is that of all promises
    made together; ``delta`` is this one's share of the error budget and ``shares`` how it was divided.
    ``judged`` are the rows it was tested on, ``accepted`` how many of them the gates would serve,
    ``bad`` the unacceptable (or regretted) ones among them, ``better`` those on which the cheap answer
    was the better one, ``bound`` the upper confidence limit that the test reached. ``start`` and
    ``chosen`` are places on the path of ``candidates`` thresholds. ``judge`` says whose verdicts they
    are, ``truth`` what is known of that judge, ``conflict`` that it judged its own kin.
    ``identity`` maps each declared part to its digest, and ``seal`` is that of the gates it covers
    with their scorers: a threshold or a weight that was changed afterwards voids it.
    """

    id: str
    gates: list[str]
    kind: Literal["error", "regret"]
    level: float
    confidence: float
    delta: float
    method: str
    population: str
    judged: int
    accepted: int
    bad: int
    better: int = 0
    bound: float
    judge: str
    truth: str = "judge not audited"
    conflict: str = ""
    shares: dict[str, int] = {}
    candidates: int = 0
    start: int = 0
    chosen: int = 0
    held_out: HeldOut | None = None
    issued_at: str
    identity: dict[str, str] = {}
    seal: str = ""


class Lock(Record, frozen=True, kw_only=True):
    """A whole lock. ``outcomes`` is the digest of the labelled rows it was fitted from."""

    policy: str
    scorers: list[Scorer] = []
    scouts: list[Scout] = []
    neighbours: list[Neighbours] = []
    pairing: Pairing | None = None
    gates: list[Gate] = []
    certificates: list[Certificate] = []
    outcomes: str = ""
    notes: list[str] = []
    version: int = LOCK_VERSION


def lock_path(policy_path: Path) -> Path:
    """``support.lock.json`` for ``support.toml``."""
    return policy_path.with_suffix(".lock.json")


def load_lock(path: Path) -> Lock | None:
    """The lock of a policy, or None when there is no file. ``PolicyError`` when it does not hold."""
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=str(path)) from None
    try:
        version = msgspec.json.decode(body, type=_Versioned).version
        if version > LOCK_VERSION:
            raise PolicyError(
                f"was written by a newer release (lock version {version}, this one reads up to "
                f"{LOCK_VERSION}); upgrade cascade-gate or calibrate again",
                file=str(path),
            )
        return msgspec.json.decode(body, type=Lock)
    except msgspec.MsgspecError as error:
        raise PolicyError(f"is not a lock: {error}; calibrate again", file=str(path)) from None


def candidate_path(policy_path: Path) -> Path:
    """``support.candidate.lock.json`` for ``support.toml``: a lock that waits to be promoted."""
    return policy_path.with_suffix(".candidate.lock.json")


def encoded(lock: Lock) -> bytes:
    """A lock as its file has it: indented, for a person reviews it."""
    return msgspec.json.format(msgspec.json.encode(lock), indent=2) + b"\n"


def save_lock(path: Path, lock: Lock) -> None:
    """Write a lock in one step: a reader sees the old file or the new one, never a part."""
    body = encoded(lock)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def seal(gates: list[Gate], scorers: list[Scorer], pairing: Pairing | None) -> str:
    """Digest of these gates, of the scorers that they name, and of the pairing that those read."""
    named = {gate.scorer for gate in gates}
    sealed: list[Any] = [sorted(gates, key=lambda gate: gate.id), [one for one in scorers if one.id in named]]
    if any(PAIR in gate.signal_set.split("+") for gate in gates):
        sealed.append(pairing)
    return digest(sealed)


def identity(policy: Policy, embedder: str | None = None) -> dict[str, str]:
    """What a certificate is bound to: a digest of each *declared* part. A change voids it.

    ``embedder`` is the name of the one that serves; it counts where slices are told apart by examples,
    a signal set reads neighbours, or stored questions are looked for by meaning. Only there does what
    may be stored count too.

    What a provider reports (``system_fingerprint``) is not in here: it takes several values across
    identical calls and is an early warning at most.
    """
    parts = {f"tier:{tier.name}": digest(declared(tier)) for tier in policy.tiers}
    parts["ladder"] = digest([tier.name for tier in policy.tiers])
    shown = policy.model_dump(mode="json", include={"slices", "stakes", "checks", "signals", "preroute"})
    shown["signals"].pop("cost")  # what a signal cost changes no answer
    for check, made in zip(policy.checks, shown["checks"], strict=True):
        if check.name == LABEL_CONSISTENT:
            made["read"] = {name: policy.labels[name].model_dump(mode="json") for name in check.labels or policy.labels}
        else:
            made.pop("labels")  # which it cannot have
    parts["slices"] = digest([shown["slices"], shown["stakes"]])
    parts |= {name: digest(shown[name]) for name in ("checks", "signals", "preroute")}
    by_examples = any(declared.examples for declared in policy.slices.values())
    if FAMILY in policy.families or by_examples or policy.cache.semantic:
        parts["embedder"] = embedder or "none"
    if policy.cache.semantic:
        read = policy.cache.model_dump(mode="json", include=_CACHED)
        parts["cache"] = digest([read, embedder])
        if policy.cache.same is not None:
            parts["same"] = digest(policy.cache.same.tier)
    return parts


_CACHED = {"semantic", "max_temperature", "tools", "time_sensitive"}
"""What of the cache decides which stored answers there are; how long and how many are kept does not."""


def declared(tier: Tier) -> dict[str, Any]:
    """The parts of a tier that make its answers what they are; prices and timeouts do not."""
    return tier.model_dump(mode="json", include={"model", "params", "prompt", "prompts"})


def digest(value: Any) -> str:
    """Sixteen hex digits of a canonical encoding."""
    body = msgspec.json.encode(value, order="deterministic")
    return hashlib.blake2b(body, digest_size=8).hexdigest()


class _Versioned(msgspec.Struct):
    version: int = LOCK_VERSION
