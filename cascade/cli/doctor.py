"""``cascade doctor``: what is missing, before a request finds out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import typer

from cascade.cli.places import AsJson, PolicyFile, policy_file
from cascade.cli.printing import emit, page, status
from cascade.errors import CascadeError

if TYPE_CHECKING:
    from cascade.lock import Lock
    from cascade.policy import Model, Policy, Tier

OURS = "cascade-gate"
IN_CODE = "Cascade.load({}=...) must bring it, `cascade ask` cannot"
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """One line: ``fail`` makes requests fail, ``warn`` makes them dearer or less well checked."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    said: str


def doctor(policy: PolicyFile = None, json: AsJson = False) -> None:
    """Look for what would make a request fail: keys, prices, store, lock, checks, packages.

    Names of environment variables are shown, their values never. Exit status 1 when a request
    would fail.

    JSON: `ok`, `findings` (each `level`: ok, warn or fail; `subject`; `said`).
    """
    with status("looking"):
        findings = [*_machine(), *_policy(policy)]
    sound = all(finding.level != "fail" for finding in findings)
    if json:
        emit({"ok": sound, "findings": [finding._asdict() for finding in findings]})
    else:
        _draw(findings)
    if not sound:
        raise typer.Exit(1)


def _draw(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for level, subject, said in findings:
        table.add_row(Text(level, style=COLOURS[level]), Text(subject), Text(said))
    page().print(table)


def _machine() -> Iterator[Finding]:
    """What concerns every policy."""
    yield _litellm()
    yield from foreign(packages_distributions())
    yield _embedder()
    if find_spec("xllamacpp") is None:
        yield Finding("ok", "xllamacpp", 'not here; only the live demo needs it: pip install "cascade-gate[local]"')
    else:
        yield Finding("ok", "xllamacpp", "here, for the live demo")


def _litellm() -> Finding:
    from cascade.transports.hosted import refuse_compromised

    try:
        found = version("litellm")
        refuse_compromised(found)
    except PackageNotFoundError:
        return Finding("fail", "litellm", "is not installed: install cascade-gate again")
    except CascadeError as error:
        return Finding("fail", "litellm", str(error))
    return Finding("ok", "litellm", f"{found}, not one of the compromised releases")


def foreign(installed: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Other distributions that install a package called ``cascade`` and overwrite this one's files.

    ``installed`` maps import names to distributions, as ``importlib.metadata`` has it.
    """
    others = sorted({name for name in installed.get("cascade", []) if _plain(name) != OURS})
    for name in others:
        yield Finding("fail", "import", f"{name} installs `cascade` too: pip uninstall {name}, then {OURS} again")
    if not others:
        yield Finding("ok", "import", f"`cascade` is {OURS} alone")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _embedder() -> Finding:
    from cascade.embedding import WordLlamaEmbedder

    try:
        embedder = WordLlamaEmbedder()
        embedder.embed(["hello"])
    except Exception as error:
        return Finding("warn", "embedder", f"does not load, so there are no semantic hits: {error}")
    return Finding("ok", "embedder", f"{embedder.name} loads")


def _policy(given: Path | None) -> Iterator[Finding]:
    """What concerns the policy that is meant, if there is one."""
    from cascade.lock import load_lock, lock_path
    from cascade.policyfile import load_policy

    try:
        file = policy_file(given)
    except CascadeError as error:
        yield Finding("warn", "policy", str(error))
        return
    try:
        policy = load_policy(file)
        yield Finding("ok", "policy", f"{file}: {len(policy.tiers)} tiers, {policy.mode} mode")
        yield _aside(policy)
        lock = load_lock(lock_path(file))
    except CascadeError as error:
        yield Finding("fail", "policy", str(error))
        return
    for tier in policy.tiers:
        for model in (tier, *tier.fallbacks):
            yield _price(tier, model)
            yield _key(tier, model)
    yield _store(policy, file)
    yield from _checks(policy)
    yield from _semantic(policy)
    yield from _gates(policy, lock, file)


def _aside(policy: Policy) -> Finding:
    """What is asked off the caller's path, how often, and what it may cost."""
    observing = policy.mode == "observe"
    wanted = policy.observe if observing else policy.explore
    ceiling = wanted.ceiling_usd_a_day
    limit = "without a ceiling" if ceiling is None else f"at most {ceiling:g} USD a day"
    what = "requests are also asked of the cheap tiers" if observing else "requests are also asked of closed tiers"
    return Finding("ok", "aside", f"{wanted.rate:.0%} of {what}, off the caller's path, {limit}")


def _price(tier: Tier, model: Model) -> Finding:
    from cascade.prices import price_of

    price = model.price or price_of(model.model)
    subject = f"price {tier.name}"
    if price is None:
        said = f"none is known of {model.model}: add price = {{ input = ..., output = ... }}, dollars a million tokens"
        return Finding("fail", subject, said)
    source = "the policy" if model.price is not None else "litellm's map"
    return Finding("ok", subject, f"{model.model}: {price.input:g} in, {price.output:g} out, by {source}")


def _key(tier: Tier, model: Model) -> Finding:
    subject = f"key {tier.name}"
    if model.api_key_env:
        there = bool(os.environ.get(model.api_key_env, "").strip())
        missing = [] if there else [model.api_key_env]
    elif model.base_url:
        return Finding("ok", subject, f"{model.base_url} is asked without one")
    else:
        try:
            missing = _missing_keys(model.model)
        except CascadeError as error:
            return Finding("fail", subject, str(error))
        # Clouds that sign in by role or file name more than a key; whether they can is theirs to say.
        if any(not name.endswith("_API_KEY") for name in missing):
            said = f"{', '.join(missing)} not set; fine where this machine signs in by other means"
            return Finding("warn", subject, said)
    if missing:
        return Finding("fail", subject, f"{model.model} needs {', '.join(missing)} in the environment")
    return Finding("ok", subject, f"{model.api_key_env or f'the key of {model.model}'} is set")


def _missing_keys(model: str) -> list[str]:
    """Environment variables that litellm would need for this model and does not find."""
    from cascade.transports.hosted import load

    return list(load().validate_environment(model)["missing_keys"])


def _store(policy: Policy, file: Path) -> Finding:
    from cascade.policy import store_folder

    folder = store_folder(policy, file)
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Finding("ok", "store", f"{folder} can be written")
    return Finding("warn", "store", f"{folder} cannot be written: decisions would be kept in memory; set CASCADE_STORE")


def _checks(policy: Policy) -> Iterator[Finding]:
    from cascade.tables import LABEL_CONSISTENT

    for check in policy.checks:
        subject = f"check {check.name}"
        if check.name == LABEL_CONSISTENT:
            yield Finding("ok", subject, f"reads {', '.join(check.labels or policy.labels)}")
        elif check.command is None:
            yield Finding("warn", subject, f"has no command: {IN_CODE.format('checks')}")
        elif not check.command or shutil.which(check.command[0]) is None:
            program = check.command[0] if check.command else "an empty command"
            yield Finding("warn", subject, f"{program} is not on PATH: the check would abstain every time")
        else:
            yield Finding("ok", subject, " ".join(check.command))
    for name in policy.signals.user:
        yield Finding("warn", f"signal {name}", IN_CODE.format("signals"))


def _semantic(policy: Policy) -> Iterator[Finding]:
    """What a semantic cache needs: the policy's embedder, and to tell languages apart."""
    from cascade.engine import embedder_of
    from cascade.language import language_of

    if not policy.cache.semantic:
        return
    try:
        embedder = embedder_of(policy)
        assert embedder is not None  # the policy is semantic
        if not getattr(embedder, "embed_charged", None):  # a hosted one would be paid for a look
            embedder.embed(["hello"])
        language_of("hello")
    except Exception as error:
        yield Finding("warn", "semantic cache", f"finds nothing: {error}")
    else:
        yield Finding("ok", "semantic cache", f"by {embedder.name}")


def _gates(policy: Policy, lock: Lock | None, file: Path) -> Iterator[Finding]:
    from cascade.engine import embedder_of
    from cascade.gates import Gates

    if lock is None:
        said = f"there is none, so everything goes to {policy.last.name}: cascade calibrate FILE --policy {file}"
        yield Finding("warn", "lock", said)
        return
    embedder = embedder_of(policy)
    gates = Gates(policy, lock, embedder=embedder.name if embedder is not None else None)
    for certificate in lock.certificates:
        if certificate.id in gates.reasons:
            yield Finding("warn", "certificate", f"{certificate.id} is void: {gates.reasons[certificate.id]}")
        else:
            yield Finding("ok", "certificate", f"{certificate.id} holds for {len(certificate.gates)} gates")
    for gate in lock.gates:
        reason = gates.reasons.get(gate.id)
        name = f"{gate.id}, slice {gate.slice}"
        yield Finding("warn" if reason else "ok", "gate", f"{name}: {f'closed: {reason}' if reason else 'open'}")
