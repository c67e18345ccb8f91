"""`securecart readers`: how far the event log's readers are, and making their work anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from msgspec import Struct
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from securecart import readers, settings
from securecart.app import open_shop
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import err, out, show_json
from securecart.errors import NotRunning
from securecart.settings import Settings
from securecart.stores.postgres import log

app = typer.Typer(help="See how far the event log's readers are, rebuild their work.", no_args_is_help=True)

TELL_EVERY_S = 5.0


class Row(Struct, frozen=True):
    """A reader and how far it is; `cursor` is the transaction and the number of the last event it passed."""

    name: str
    does: str
    behind_events: int
    behind_seconds: float
    cursor: str
    passed: datetime | None
    moved_at: datetime | None


@app.command("list")
def list_readers(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show each reader: what it does, how many events and seconds it is behind, where it stands, when it last moved."""
    rows = asyncio.run(_rows(_up(home)))
    if as_json:
        show_json(rows)
        return
    if not out.is_terminal:
        for row in rows:
            out.print(f"{row.name}  {row.does}  {_behind(row)}  at {row.cursor}", soft_wrap=True)
        return
    table = Table("Reader", "What it does", "Behind", "Cursor", "Moved")
    for row in rows:
        table.add_row(
            row.name, row.does, _behind(row), row.cursor, f"{row.moved_at:%Y-%m-%d %H:%M:%S}" if row.moved_at else "never"
        )
    out.print(table)


@app.command("rebuild")
def rebuild(
    name: Annotated[str, typer.Argument(help="The reader, as `securecart readers list` calls it.")], home: HomeOption = None
) -> None:
    """Make a reader's work anew from the orders database while the shop sells; safe to repeat.

    The worker pauses this reader meanwhile. history: every order is written again, and what is no order's is removed. carts:
    what an order bought is taken out wherever it is left. cache: everything the shop keeps there is dropped.
    """
    loaded = _up(home)
    began = time.perf_counter()
    with _told(name) as progress:
        done = asyncio.run(_rebuild(loaded, name, progress))
    out.print(f"{name}: {done:,} written anew in {time.perf_counter() - began:.1f} s")


def _up(home: str | None) -> Settings:
    loaded = settings.load(home)
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    return loaded


async def _rows(loaded: Settings) -> list[Row]:
    async with open_shop(loaded) as shop, shop.database.fresh() as fresh:
        found = {one.name: one for one in await log.standings(fresh)}
    does = {reader.name: reader.does for reader in readers.READERS}
    return [
        Row(
            name=name,
            does=does.get(readers.plain_name(name), "not a reader of this version"),
            behind_events=one.behind_events,
            behind_seconds=round(one.behind_seconds, 3),
            cursor=f"{one.place.xid}/{one.place.id}",
            passed=one.passed,
            moved_at=one.moved_at if one.place != log.BEGINNING else None,
        )
        for name, one in found.items()
    ]


async def _rebuild(loaded: Settings, name: str, progress: readers.Progress) -> int:
    async with open_shop(loaded) as shop:
        return await readers.rebuild(shop.stores, name, progress)


def _behind(row: Row) -> str:
    return f"{row.behind_events:,} events, {row.behind_seconds:.1f} s" if row.behind_events else "nothing"


@contextmanager
def _told(name: str) -> Iterator[Callable[[int], None]]:
    """How far the rebuild is: a line that counts on a terminal, a line every five seconds elsewhere."""
    done, told_at = 0, time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(f"{name}: begins")

        def tell(more: int) -> None:
            nonlocal done, told_at
            done += more
            bar.update(task, description=f"{name}: {done:,} so far")
            if not err.is_terminal and time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                err.print(f"{name}: {done:,} so far")

        yield tell
