"""`securecart promises`: are the shop's promises kept? And the table that every command shows of such a check."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from securecart import settings
from securecart.app import open_shop
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import out, show_json
from securecart.errors import NotRunning
from securecart.promises import BROKEN, Report, check
from securecart.settings import Settings

__all__ = ["promises", "verdict"]


def promises(
    home: HomeOption = None,
    projections: Annotated[
        bool,
        typer.Option("--projections/--no-projections", help="Compare what the event log's readers wrote, too."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Hold orders, stock, payments and the gateway's book against each other; exit code 1 when a promise is broken.

    The shop may be selling meanwhile. What shoppers were told only a drill knows, see [bold]securecart drill[/bold].
    """
    report = asyncio.run(_check(settings.load(home), projections=projections))
    if as_json:
        show_json(report)
    else:
        out.print(verdict(report))
    if not report.kept:
        raise typer.Exit(1)


def verdict(report: Report) -> Group:
    """A check for people: each promise with its count, then examples of what is wrong."""
    table = Table("Promise", "What is counted", title=_title(report), title_justify="left")
    table.add_column("Found", justify="right")
    for name, meaning in BROKEN.items():
        count = getattr(report, name)
        table.add_row(name, meaning, Text(f"{count:,}", style="red" if count else "green"))
    for name, count in report.projections.items():
        table.add_row("projections_equal", f"differences in what reader {name} shows", Text(f"{count:,}"))
    notes = [f"not checked: {what}" for what in report.unchecked]
    return Group(table, *(Text(line) for line in (*report.examples, *notes)))


async def _check(loaded: Settings, *, projections: bool) -> Report:
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    async with open_shop(loaded) as shop:
        return await check(shop, projections=projections)


def _title(report: Report) -> str:
    told = f", {report.acknowledged:,} of them told to shoppers" if report.acknowledged else ""
    kept = "Every promise is kept" if report.kept else "A PROMISE IS BROKEN"
    return f"{kept}: {report.orders:,} orders{told}, looked at in {report.seconds:.1f} s"
