"""Certificates in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cascade.lock import Certificate, Lock


def promise(certificate: Certificate) -> str:
    """What a certificate promises and on what evidence, in one sentence of plain English."""
    sure = f"with {_percent(certificate.confidence)} % confidence (upper limit {_percent(certificate.bound)})"
    judged = (
        f"Of {certificate.judged:,} judged questions {certificate.accepted:,} would be served without the last tier"
    )
    if certificate.kind == "regret":
        gains = f" and on {certificate.better:,} it gains" if certificate.better else ""
        evidence = f"and on {certificate.bad:,} of them that loses against it{gains}"
        one = "point" if certificate.level == 0.01 else "points"
        claim = f"at most {_percent(certificate.level)} {one} of quality are lost over all traffic"
    else:
        evidence = f"{certificate.bad:,} of those unacceptably"
        claim = f"at most {_percent(certificate.level)} % of what is served without the last tier is unacceptable"
    return f"{judged}, {evidence}; so {claim}, {sure}."


def verdict(lock: Lock) -> str:
    """The promises of a lock, or why it makes none."""
    if lock.certificates:
        return " ".join(map(promise, lock.certificates))
    return " ".join(lock.notes) or "Nothing is certified: every gate stays closed."


def _percent(share: float) -> str:
    return f"{share * 100:.3g}"
