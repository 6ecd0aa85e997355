"""Pages out of templates in which everything that comes from data is escaped, and their way onto the disk."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.errors import ConfigError

if TYPE_CHECKING:
    import jinja2

SHORT = 320
"""Characters of a text beyond which it is folded, and of a first sentence that is set smaller."""


def page(template: str, **values: Any) -> str:
    """A template of the package, as ``report/page.html.j2``, filled. The same values give the same text."""
    return templates().get_template(template).render(**values, short=SHORT)


def put(path: Path, text: str) -> None:
    """Write a page in one step: a reader sees the old file or the new one, never a part.

    Raises ``ConfigError`` when it cannot be written.
    """
    put_bytes(path, text.encode("utf-8", "replace"))  # half a surrogate pair is no character


def put_bytes(path: Path, body: bytes) -> None:
    """The same for any file."""
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        part.write_bytes(body)
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}; name another file") from error
    finally:
        part.unlink(missing_ok=True)


@functools.cache
def templates() -> jinja2.Environment:
    """Every value is escaped, and a name that is missing is an error, not an empty place."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("cascade", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"tied": tied, "minus": minus}
    return made


def tied(text: str) -> str:
    """A figure and its unit stay on one line."""
    return minus(text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" points", "\N{NO-BREAK SPACE}points"))


def minus(text: str) -> str:
    """A number's minus sign rather than a hyphen, which is too short for one."""
    return re.sub(r"(?<![\w-])-(?=[\d$.])", "\N{MINUS SIGN}", text)
