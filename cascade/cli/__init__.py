"""The command line: ``cascade`` and its commands, one module each.

Exit status of every command: 0 done; 1 the answer is no (nothing certified, a doctor's finding that
would make a request fail); 2 the command or the configuration is wrong; 3 a provider failed; 4 a
ceiling of the user's was reached; 70 a fault of cascade's own; 130 interrupted. Errors are one line
on stderr; with ``CASCADE_DEBUG=1`` the traceback stands above it. With ``--json`` stdout holds one JSON
object, whose fields the command's ``--help`` names, and nothing else.

What a command needs is imported when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cascade.cli.ask import ask
from cascade.cli.bench import bench
from cascade.cli.cache import cache
from cascade.cli.calibrate import calibrate
from cascade.cli.check import check
from cascade.cli.demo import demo
from cascade.cli.diff import diff
from cascade.cli.doctor import doctor
from cascade.cli.explain import explain
from cascade.cli.export import export
from cascade.cli.init import init
from cascade.cli.judge import judge
from cascade.cli.plan import plan
from cascade.cli.printing import failed
from cascade.cli.promote import promote, rollback
from cascade.cli.replay import replay
from cascade.cli.run import run
from cascade.cli.schema import schema
from cascade.cli.selftest import selftest
from cascade.cli.trial import trial


class Commands(TyperGroup):
    """The commands; whatever one of them raises becomes one line and an exit status."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before the command's name; nothing at all is a wish for help."""
        if not args:
            return super().parse_args(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            raise typer.Exit(failed(error)) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            raise typer.Exit(failed(error)) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

PANELS: dict[str, list[Callable[..., None]]] = {
    "Commands": [demo, trial, plan, init, ask, run, judge, calibrate, bench, check, promote, rollback],
    "Looking closer": [replay, explain, diff, export, doctor, selftest, schema],
}
for _panel, _commands in PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(cache, name="cache", rich_help_panel="Looking closer")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cascade-gate {version('cascade-gate')}")
        raise typer.Exit


@app.callback()
def cascade(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A cheap model answers where that is certified to be good enough; the large one answers the rest."""


def main() -> None:
    """Entry point of the ``cascade`` script."""
    try:
        app()
    except KeyboardInterrupt:  # before or after the command itself
        sys.exit(130)


__all__ = ["app", "main"]
