"""`securecart recover table` and `recover item`: carts, sessions and order history at an earlier moment."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from aiodynamo.utils import dy2py
from msgspec import Struct
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from securecart import settings
from securecart.app import TABLES
from securecart.cli.engines import HomeOption, JsonOption
from securecart.cli.screen import err, out, say, show_json
from securecart.errors import BadInput, NotRunning, RecoveryRefused
from securecart.ops import table_recovery
from securecart.ops.recovery.model import parse_moment
from securecart.ops.recovery.sites import site_of
from securecart.ops.table_recovery import OneItem, Past, Restored
from securecart.patience import TABLE_RECOVERY
from securecart.settings import Settings
from securecart.stores.dynamodb.items import Table
from securecart.stores.dynamodb.wire import Refused, Region, aws_region

__all__ = ["item", "table"]

T = TypeVar("T")
TELL_EVERY_S = 5.0
SHOWN_MAX = 10
NAME = re.compile(r"^[A-Za-z0-9_.-]{3,255}$")
# What is to do once a table of the shop is what it was: other stores have gone on meanwhile.
AFTERWARDS = {
    "carts": "`securecart readers rebuild carts` takes out what was bought since",
    "order-history": "`securecart readers rebuild history` writes the history anew from the orders database",
    "sessions": "who logged out since is logged in again until the session's days are over",
}

NameArgument = Annotated[str, typer.Argument(help="carts, sessions or order-history; with or without the prefix.")]
SortArgument = Annotated[str | None, typer.Argument(help="The second part of its key, where there is one.", show_default=False)]
AtOption = Annotated[
    str | None, typer.Option("--at", help="The moment: '2026-11-30 14:05:00' (UTC), '10 minutes ago'.", show_default=False)
]
FromOption = Annotated[
    str | None, typer.Option("--from", help="Take the past from this table, such as one restored earlier.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", help="Write; without it you see what would be written.")]


class InPlace(Struct, frozen=True):
    """What making a table equal to a moment came to, or would: keys by kind, a few of each, and what was written.

    `left` were changed by somebody since they were compared; `over` would have expired by now.
    """

    table: str
    at: datetime | None
    same: int
    missing: int
    changed: int
    added: int
    over: int
    some_missing: list[str]
    some_changed: list[str]
    some_added: list[str]
    carried_out: bool
    put_back: int = 0
    removed: int = 0
    left: list[str] = []
    seconds: float = 0.0


class ItemReport(Struct, frozen=True):
    """An item then and now, in DynamoDB's JSON, and whether it was put back."""

    table: str
    key: Any
    at: datetime | None
    then: dict[str, Any] | None
    now: dict[str, Any] | None
    same: bool
    put_back: bool


class _Place(Struct, frozen=True):
    """Where the command works: the settings, the table, its engine."""

    loaded: Settings
    table: Table
    region: Region

    @property
    def is_on_aws(self) -> bool:
        """Whether AWS keeps the past of this table."""
        return not self.loaded.dynamodb_url


def table(
    name: NameArgument,
    at: AtOption = None,
    into: Annotated[
        str | None, typer.Option("--into", help="Name of the new table.", show_default="the table's name and the moment")
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Make the live table what it was, instead of a new one.")] = False,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="In place: put back what is gone, and touch nothing that is there.")
    ] = False,
    source: FromOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recover a DynamoDB table to any second of the window: into a new table, or in place.

    A [bold]new table[/bold] is the default, and changes nothing that runs. On AWS it is AWS that restores, for minutes
    to hours; the new table gets the expiry, streams, tags and continuous backups of the old one.

    [bold]--in-place[/bold] compares the live table with that moment and says what differs; [bold]--yes[/bold] then
    puts back what is missing or changed, and removes what came since. The shop may go on meanwhile: an item that
    somebody changes is left, and told. With [bold]--only-missing[/bold] nothing that is there is touched. On AWS
    restore into a new table first, and name it with [bold]--from[/bold].

        securecart recover table carts --at '2026-11-30 14:05:00'
        securecart recover table carts --at '10 minutes ago' --in-place
    """
    if in_place and into:
        raise BadInput(field="into", problem="Give --into or --in-place, not both.")
    if (yes or only_missing) and not in_place:
        raise BadInput(field="in_place", problem="--yes and --only-missing belong to --in-place; a new table needs neither.")
    moment = _moment(at, source, needed=not in_place)
    if in_place:
        report = _run(home, name, lambda place: _in_place(place, moment, source, only_missing=only_missing, yes=yes))
        _print(report, as_json=as_json, show=_show_in_place)
        return
    assert moment is not None
    restored = _run(home, name, lambda place: _restored(place, moment, into))
    _print(restored, as_json=as_json, show=lambda done: _show_restored(done, name, moment))


def item(
    name: NameArgument,
    key: Annotated[str, typer.Argument(help="The item's key.")],
    sort: SortArgument = None,
    at: AtOption = None,
    source: FromOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one item of a DynamoDB table as it was and as it is; with --yes it is put back.

    It is put back only if it is still what was shown. What was not there then is removed. On AWS restore the table into a new
    one first (`securecart recover table`), and name that with [bold]--from[/bold].

        securecart recover item carts 0198c1f2-7d1e --at '10 minutes ago'
    """
    moment = _moment(at, source, needed=False)
    given = [key] if sort is None else [key, sort]
    report = _run(home, name, lambda place: _one(place, moment, source, given, yes=yes))
    _print(report, as_json=as_json, show=_show_item)


async def _restored(place: _Place, at: datetime, into: str | None) -> Restored:
    into = into or f"{place.table.name}-{at:%Y%m%dT%H%M%S}"
    if not NAME.match(into):
        raise BadInput(field="into", problem=f"{into!r} is no name for a table: 3 to 255 letters, digits, and _ . -")
    with _told(place.table.name) as tell:
        if place.is_on_aws:
            return await table_recovery.restore_natively(place.region, place.table.name, at, into, tell)
        return await table_recovery.restore(await _past(place, at, None), place.region, into, tell)


async def _in_place(place: _Place, at: datetime | None, source: str | None, *, only_missing: bool, yes: bool) -> InPlace:
    past = await _past(place, at, source)
    with _told(place.table.name) as tell:
        found = await table_recovery.compare(past, place.region, tell)
        if only_missing:
            found = found.only_missing()
        report = InPlace(
            table=place.table.name,
            at=at,
            same=found.same,
            missing=len(found.missing),
            changed=len(found.changed),
            added=len(found.added),
            over=found.over,
            some_missing=sorted(found.missing)[:SHOWN_MAX],
            some_changed=sorted(found.changed)[:SHOWN_MAX],
            some_added=sorted(found.added)[:SHOWN_MAX],
            carried_out=yes,
        )
        if not yes:
            return report
        done = await table_recovery.carry_out(past, place.region, found, tell)
    return msgspec.structs.replace(report, put_back=done.put_back, removed=done.removed, left=done.left, seconds=done.seconds)


async def _one(place: _Place, at: datetime | None, source: str | None, given: list[str], *, yes: bool) -> ItemReport:
    past = await _past(place, at, source)
    shown: OneItem = await table_recovery.look(past, place.region, table_recovery.key_from(past, given))
    put_back = False
    if yes and not shown.is_same:
        put_back = await table_recovery.put_back(past, place.region, shown)
        if not put_back:
            raise RecoveryRefused(problem="Somebody has changed the item at this moment, so nothing was written. Look again.")
    key = msgspec.json.decode(shown.key)
    return ItemReport(place.table.name, key, at, shown.then, shown.now, shown.is_same, put_back)


async def _past(place: _Place, at: datetime | None, source: str | None) -> Past:
    if source is not None:
        return await table_recovery.from_table(place.region, place.table, source)
    assert at is not None
    if place.is_on_aws:
        raise RecoveryRefused(
            problem="On AWS an earlier moment is restored into a new table first: `securecart recover table` with --at does "
            "so. Then name that table here with --from."
        )
    archive = site_of(place.loaded).archive
    folder = table_recovery.folder_of(place.table.name, place.loaded.region)
    return await table_recovery.from_archive(archive, folder, place.table, at)


def _moment(at: str | None, source: str | None, *, needed: bool) -> datetime | None:
    if source is not None and (at is not None or needed):
        raise BadInput(field="from", problem="--from is for --in-place and `recover item`, and takes the place of --at.")
    if source is not None:
        return None
    if at is None:
        raise BadInput(field="at", problem="Say to which moment: --at '2026-11-30 14:05:00' (UTC), or --at '10 minutes ago'.")
    moment = parse_moment(at)
    if moment is None or moment.at is None:
        raise BadInput(field="at", problem=f"{at!r} is no time; tables go back to a time, such as 2026-11-30 14:05:00 (UTC).")
    return moment.at


def _run(home: str | None, name: str, do: Callable[[_Place], Coroutine[Any, Any, T]]) -> T:
    loaded = settings.load(home)
    if not loaded.postgres_url:
        raise NotRunning(home=str(loaded.home_path))
    wanted = next((spec for spec in TABLES if name in {spec.name, loaded.dynamodb_prefix + spec.name}), None)
    if wanted is None:
        there = ", ".join(spec.name for spec in TABLES)
        raise BadInput(field="name", problem=f"There is no table {name!r} here; there are {there}.")

    async def run() -> T:
        async with _region(loaded) as region:
            try:
                return await do(_Place(loaded, wanted.in_full(loaded.dynamodb_prefix), region))
            except Refused as refused:
                raise RecoveryRefused(problem=f"DynamoDB refuses: {refused}") from refused

    return asyncio.run(run())


@asynccontextmanager
async def _region(loaded: Settings) -> AsyncIterator[Region]:
    if loaded.dynamodb_url:
        region = Region(loaded.region, loaded.dynamodb_url, patience=TABLE_RECOVERY)
    else:
        region = aws_region(loaded.dynamodb_region, patience=TABLE_RECOVERY)
    try:
        yield region
    finally:
        await region.close()


def _print(report: T, *, as_json: bool, show: Callable[[T], None]) -> None:
    if as_json:
        show_json(report)
    else:
        show(report)


def _show_restored(done: Restored, name: str, at: datetime) -> None:
    items = "its items are counted by AWS later" if done.items is None else f"{done.items:,} items"
    _line(f"{name} as of {at:%Y-%m-%d %H:%M:%S} UTC is in the table {done.table}: {items}, {done.seconds:.1f} s.")
    _line("Nothing that runs has changed. To make the live table what it was, and first see what that would change:")
    _line(f"  securecart recover table {name} --from {done.table} --in-place")


def _show_in_place(report: InPlace) -> None:
    if not report.missing + report.changed + report.added:
        _line(f"{report.table} is what it was: {report.same:,} items are the same.")
        return
    kinds = (
        (report.missing, report.some_missing, "are gone", "put back"),
        (report.changed, report.some_changed, "were changed", "put back"),
        (report.added, report.some_added, "came since", "removed"),
    )
    for count, some, what, then in kinds:
        _line(f"{count:>10,} {what}{'' if report.carried_out or not count else f', to be {then}'}")
        for key in [] if report.carried_out else some:
            _line(f"{'':>12}{_key_in_words(msgspec.json.decode(key))}")
    _line(f"{report.same:>10,} are the same")
    if report.over:
        _line(f"{report.over:>10,} are left alone: what was there then would have expired by now")
    if not report.carried_out:
        _line("Nothing was written; --yes does it.")
        return
    _line(f"{report.put_back:,} items put back, {report.removed:,} removed, {report.seconds:.1f} s.")
    if report.left:
        _line(f"{len(report.left):,} were changed by somebody meanwhile and left; run it again to see them.")
    for name, words in AFTERWARDS.items():
        if report.table.endswith(name):
            _line(f"Afterwards: {words}.")


def _show_item(report: ItemReport) -> None:
    _line(f"then  {_item_in_words(report.then)}")
    _line(f"now   {_item_in_words(report.now)}")
    if report.same:
        _line("It is what it was.")
    elif report.put_back:
        _line("It is what it was then again.")
    else:
        _line("Nothing was written; --yes makes it what it was then.")


def _item_in_words(item: dict[str, Any] | None) -> str:
    if item is None:
        return "there is none"
    return ", ".join(f"{name} = {value}" for name, value in sorted(dy2py(item, str).items()))


def _key_in_words(key: dict[str, dict[str, str]]) -> str:
    return ", ".join(f"{name} {next(iter(value.values()))}" for name, value in key.items())


def _line(text: str) -> None:
    out.print(text, soft_wrap=True, markup=False)


@contextmanager
def _told(name: str) -> Iterator[Callable[[str], None]]:
    """How far it is: a line that counts on a terminal, a line every five seconds elsewhere."""
    told_at = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(f"{name}: begins")

        def tell(words: str) -> None:
            nonlocal told_at
            bar.update(task, description=words)
            if not err.is_terminal and time.monotonic() - told_at >= TELL_EVERY_S:
                told_at = time.monotonic()
                say(words)

        yield tell
