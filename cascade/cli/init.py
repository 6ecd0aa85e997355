"""``cascade init``: a policy to begin with."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.places import AsJson
from cascade.cli.printing import emit
from cascade.errors import ConfigError


class Template(StrEnum):
    """The shipped templates, by what they are for."""

    support = "support"
    triage = "triage"
    compliance = "compliance"
    coding = "coding"


def init(
    name: Annotated[
        str | None, typer.Argument(help="Name of the policy. Default: the template's.", show_default=False)
    ] = None,
    template: Annotated[Template, typer.Option("--template", help="What to begin with.")] = Template.support,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Write a commented policy, NAME.toml, from a shipped template.

    The templates: *support* (customer questions), *triage* (incidents: to act on or to review),
    *compliance* (assessments), *coding* (your tests are the check).

    JSON: `policy` (the file), `template`, `next` (commands to go on with).
    """
    from cascade.policyfile import parse_policy
    from cascade.shipped import shipped

    file = Path(name or template.value)
    file = file if file.suffix == ".toml" else file.with_name(f"{file.name}.toml")
    text = shipped(f"{template.value}.toml").read_text("utf-8")
    parse_policy(tomllib.loads(text), file=str(file))  # the file's name becomes the policy's
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError(f"{file} is there already: give another name, or --force to overwrite it") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    steps = [f"cascade doctor --policy {file}", f'cascade ask --policy {file} "..."']
    if json:
        emit({"policy": str(file), "template": template.value, "next": steps})
        return
    print(f"{file} is written: read it, it explains itself. Then see what is still missing: {steps[0]}")
    print(f"and send the first request: {steps[1]}")
