"""`securecart tables`: how the global tables are carried between two regions, and whether both are equal."""

from __future__ import annotations

import asyncio

import typer
from rich.table import Table

from securecart import settings
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import out, show_json
from securecart.errors import OperatorError
from securecart.ops import global_tables
from securecart.ops.global_tables import Difference, Standing, Way
from securecart.replicator import shared_tables
from securecart.settings import Settings

app = typer.Typer(help="See how carts and sessions are carried between two regions, compare both.", no_args_is_help=True)

SHOWN_MAX = 20


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show each direction and table: how far behind, how many changes wait, were carried and met in conflict."""
    standing = asyncio.run(global_tables.ask(_replicated(home).replicator_url))
    if as_json:
        show_json(standing)
        return
    for line in _words(standing):
        out.print(line, soft_wrap=True)
    if not out.is_terminal:
        for way in standing.ways:
            out.print(f"{_name(way)}  {_lag(way)}, {way.waiting:,} wait, {way.applied:,} carried, {way.conflicts:,} conflicts")
        return
    table = Table("Direction", "Behind", "Waiting", "Carried", "Conflicts", "Checkpoint")
    for way in standing.ways:
        row = (_name(way), _lag(way), f"{way.waiting:,}", f"{way.applied:,}", f"{way.conflicts:,}", way.checkpoint)
        table.add_row(*row)
    out.print(table)


@app.command()
def compare(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Read both regions' tables and say which items differ; exit code 1 when some do. Changes on their way are among them."""
    loaded = _replicated(home)
    differences = asyncio.run(_compare(loaded))
    if as_json:
        show_json(differences)
    elif not differences:
        out.print("Both regions hold the same.")
    else:
        for one in differences[:SHOWN_MAX]:
            out.print(f"{one.table}  {one.key}  {f'only in {one.only_in}' if one.only_in else 'differs'}", soft_wrap=True)
        out.print(f"{len(differences):,} items differ.")
    if differences:
        raise typer.Exit(1)


async def _compare(loaded: Settings) -> list[Difference]:
    standing = await global_tables.ask(loaded.replicator_url)
    return await global_tables.compare_urls(standing.urls, shared_tables(loaded.dynamodb_prefix))


def _replicated(home: str | None) -> Settings:
    loaded = settings.load(home)
    if not loaded.replicator_url:
        raise OperatorError(problem="Nothing replicates here: start two regions with `securecart up --profile regions`.")
    return loaded


def _words(standing: Standing) -> list[str]:
    words = [f"Region {name} is away: {reason}" for name, reason in standing.away.items()]
    return words + (["Both regions are being compared as a whole."] if standing.comparing else [])


def _name(way: Way) -> str:
    return f"{way.table} {way.source} → {way.target}"


def _lag(way: Way) -> str:
    return "not known yet" if way.lag_seconds is None else f"{way.lag_seconds:.2f} s behind"
