"""Which policy a command means, and which store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade.errors import ConfigError

if TYPE_CHECKING:
    from cascade.ledger import Ledger
    from cascade.policy import Policy

PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="Policy file. Default: CASCADE_POLICY, else the only policy in this folder.",
        show_default=False,
    ),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Folder of the ledger, instead of the policy's.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]


def policy_file(given: Path | None) -> Path:
    """The policy meant: as given, ``CASCADE_POLICY``, or the only policy file in this folder.

    ``ConfigError`` when there is none or more than one.
    """
    named = given or os.environ.get("CASCADE_POLICY")
    if named:
        return Path(named)
    files = (file for file in Path().glob("*.toml") if file.is_file())
    found = sorted(file for file in files if "[[tiers]]" in file.read_text("utf-8", "replace"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError("there is no policy in this folder: name one with --policy FILE, or write one: cascade init")
    raise ConfigError(f"which policy? name one with --policy: {', '.join(map(str, found))}")


@contextmanager
def opened(policy: Path | None, store: Path | None) -> Iterator[tuple[Ledger, Policy | None, Path]]:
    """The ledger meant, the policy if one was named or needed to find it, and the policy's path.

    ``ConfigError`` where no ledger is: reading never makes one.
    """
    from cascade.ledger import Ledger
    from cascade.policy import store_folder
    from cascade.policyfile import load_policy

    file = policy if store is not None else policy_file(policy)
    loaded = load_policy(file) if file is not None else None
    folder = store if store is not None or loaded is None else store_folder(loaded, file)
    assert folder is not None  # a policy has been found where no store was given
    if not (folder / "ledger.sqlite").is_file() and not (folder / "spool").is_dir():
        raise ConfigError(f"{folder} holds no ledger: it begins with the first request, or name another with --store")
    with Ledger(folder) as ledger:
        yield ledger, loaded, file or folder
