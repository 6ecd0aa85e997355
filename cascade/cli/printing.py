"""What goes to stdout and stderr, and with which exit status a command ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from cascade.errors import BudgetError, CascadeError, UpstreamError

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

UsageError: Any = typer.BadParameter.__bases__[0]
"""Typer's own class of everything wrong with a command line, which it exports only by this child."""

WIDTH = 100
"""Columns of a table where nobody says how wide the page is."""

PIPE_CLOSED = 141
"""What a shell reports of a program whose reader has gone: 128 + SIGPIPE."""


def emit(value: Any) -> None:
    """The command's one JSON object on stdout; NaN is written as null."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def note(text: str) -> None:
    """A line for the person on stderr."""
    print(text, file=sys.stderr)


def page() -> Console:
    """Where tables are drawn: stdout, as wide as its terminal or as ``COLUMNS``, else 100 columns."""
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else WIDTH, highlight=False, soft_wrap=False)


def show(parts: Iterable[Any]) -> None:
    """Tables and texts on the page, an empty line after each."""
    console = page()
    for part in parts:
        console.print(part)
        console.print()


def tracked(label: str) -> Callable[[Iterable[T]], Iterable[T]]:
    """Draws a bar on stderr while what is handed through is consumed; silent off a terminal."""

    def through(items: Iterable[T]) -> Iterable[T]:
        if not sys.stderr.isatty():
            return items
        from rich.console import Console
        from rich.progress import track

        return track(items, label, console=Console(stderr=True), transient=True)

    return through


@contextmanager
def status(label: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr that can be rewritten while work goes on; silent off a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status(label) as shown:
        yield shown.update


def failed(error: Exception) -> int:
    """Say what went wrong, as one line, and return the exit status for it.

    What typer raises to end a command that has said all it has to say is raised again.
    """
    if isinstance(error, typer.Exit | typer.Abort):
        raise error
    if isinstance(error, UsageError):
        command = error.ctx.command_path if error.ctx is not None else "cascade"
        note(f"cascade: {error.format_message()} See {command} --help")
        return int(error.exit_code)
    if _reader_gone(error):
        # Python would flush stdout once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if os.environ.get("CASCADE_DEBUG"):
        import traceback

        traceback.print_exception(error)
    note(f"cascade: {' '.join(_said(error).split())}")
    if isinstance(error, UpstreamError):
        return 3
    if isinstance(error, BudgetError):
        return 4
    return 2 if isinstance(error, CascadeError | OSError) else 70


def _said(error: Exception) -> str:
    if isinstance(error, CascadeError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or type(error).__name__}: {error.strerror or error}"
    return f"{type(error).__name__}: {error} (a fault of cascade's own; CASCADE_DEBUG=1 shows where)"


def _reader_gone(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, BrokenPipeError):
            return True
        error = error.__cause__
    return False
