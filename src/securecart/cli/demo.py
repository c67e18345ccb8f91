"""`securecart demo load` and `securecart demo replay`: real goods in the shop, real baskets through its door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from securecart import demo, settings
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import err, out, say
from securecart.values import Money

__all__ = ["app"]

INTERRUPTED = 130

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich")


@app.command("load")
def load(
    home: HomeOption = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Leave a shop alone that has goods of its own.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Compare every product even when all are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fill the shop with 92,331 real groceries, named, priced and in stock. Safe to repeat and to interrupt."""
    with _bar() as progress:
        report = asyncio.run(
            demo.load_goods(settings.load(home), demo.files(), only_if_empty=if_empty, again=again, progress=progress)
        )
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    elif report.skipped:
        say(report.skipped)
    else:
        say(
            f"demo goods: {report.created:,} new, {report.updated:,} changed, {report.unchanged:,} as they were, "
            f"{report.received:,} units received, {report.seconds:.1f} s"
        )


@app.command("replay")
def replay(
    baskets: Annotated[int, typer.Option(min=1, help="How many of the year's 155,848 baskets.")] = 1000,
    since: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day, from 2017-01-01.")] = None,
    shoppers: Annotated[int, typer.Option(min=1, max=256, help="Households that shop at the same time.")] = 16,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Buy real baskets in time order through the shop's HTTP door, and compare the books to the cent.

    Interrupted, it goes on where it stopped when it is started again with the same options.
    """
    loaded = settings.load(home)
    try:
        with _bar() as progress:
            day = since.date() if since else None
            report = uvloop.run(
                demo.buy_baskets(loaded, demo.files(), limit=baskets, since=day, shoppers=shoppers, progress=progress)
            )
    except KeyboardInterrupt:
        say("interrupted; what was bought stays bought. Run the same command again to go on.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        out.print(_table(report))
    if not report.equal:
        raise typer.Exit(1)


@contextmanager
def _bar() -> Iterator[demo.Progress]:
    """A bar for each stage on a terminal, nothing elsewhere."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        stages = {"": bar.add_task("reading the files", total=None, rate="")}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                bar.update(stages[""], visible=False)
                stages[stage] = bar.add_task(stage, total=total, completed=done, rate="")
            bar.update(stages[stage], completed=done)
            speed = next(task.speed for task in bar.tasks if task.id == stages[stage])
            bar.update(stages[stage], rate=f"{speed:,.0f}/s" if speed else "")

        yield show


def _table(report: demo.Report) -> Table:
    """The report for people."""
    table = Table("Replay", "", title="Books are equal to the cent" if report.equal else "BOOKS DIFFER", show_header=False)
    worth = Money(report.revenue_expected, report.currency)
    checkout, basket = report.latency.checkout, report.latency.basket
    for name, text in (
        ("Baskets of the files", f"{report.baskets:,} ({report.skipped_baskets:,} without anything that counts)"),
        ("Orders", f"{report.orders:,} of {report.orders_expected:,} ({report.already_done:,} were bought before)"),
        ("Order lines", f"{report.lines:,} of {report.lines_expected:,}"),
        ("Revenue in the orders database", str(Money(report.revenue_recorded, report.currency))),
        ("Revenue by the files", str(worth)),
        ("Rate", f"{report.rate:,.1f} baskets/s over {report.seconds:,.1f} s, {report.log_ins:,} log-ins"),
        ("Checkout p50 / p95 / p99", f"{checkout.p50} / {checkout.p95} / {checkout.p99} ms"),
        ("Basket p50 / p95 / p99", f"{basket.p50} / {basket.p95} / {basket.p99} ms"),
    ):
        table.add_row(name, text)
    return table
