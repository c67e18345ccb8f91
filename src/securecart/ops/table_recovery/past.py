"""A table at an earlier moment, from where it can be had: the archive, or a table into which the moment was restored."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Window
from securecart.ops.table_recovery import holdings
from securecart.ops.table_recovery.fold import as_it_was, one_as_it_was
from securecart.ops.table_recovery.model import Entry, Holdings, Route, gaps, route_to, windows
from securecart.stores.archive import Archive
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Table, bare, key_of
from securecart.stores.dynamodb.wire import Region

__all__ = ["FromArchive", "FromTable", "Past", "from_archive", "from_table"]

PAGE_ITEMS = 500
# The journal is about a second behind; a moment as young as this is waited for.
WAIT_FOR_JOURNAL = timedelta(seconds=15)
ASK_EVERY_S = 0.5


class Past(Protocol):
    """A table as it was: its shape, its items, one of them."""

    table: Table

    @property
    def shape(self) -> dict[str, Any]:
        """What another table needs to be made in this one's image."""

    def pages(self) -> AsyncIterator[list[Entry]]:
        """All items, each once, in no order; may be read again."""

    async def one(self, key: str) -> Entry | None:
        """The item with this key; None when there was none."""


class FromArchive:
    """By a snapshot and the journal since; `snapshot_items` is about how many items there are."""

    def __init__(self, archive: Archive, folder: str, route: Route, table: Table, at: datetime) -> None:
        self.table = table
        self.snapshot_items = route.snapshot.items
        self._archive = archive
        self._folder = folder
        self._route = route
        self._until_us = int(at.timestamp() * 1_000_000)

    @property
    def shape(self) -> dict[str, Any]:
        """The shape the table had when the snapshot was taken."""
        return self._route.snapshot.shape

    async def pages(self) -> AsyncIterator[list[Entry]]:
        """All items, page by page; the archive is read in a thread."""
        route = self._route
        snapshot = holdings.entries(self._archive, self._folder, route.era.name, route.snapshot)
        found = as_it_was(snapshot, holdings.changes_backwards(self._archive, route.pieces), self._until_us)
        while page := await asyncio.to_thread(lambda: list(itertools.islice(found, PAGE_ITEMS))):
            yield page

    async def one(self, key: str) -> Entry | None:
        """The item with this key."""
        return await asyncio.to_thread(self._one, key)

    def _one(self, key: str) -> Entry | None:
        route = self._route
        snapshot = holdings.entries(self._archive, self._folder, route.era.name, route.snapshot)
        return one_as_it_was(key, snapshot, holdings.changes_backwards(self._archive, route.pieces), self._until_us)


class FromTable:
    """By a table that holds it, such as one that AWS has restored."""

    def __init__(self, region: Region, table: Table, source: str, described: dict[str, Any]) -> None:
        self.table = table
        self._region = region
        self._source = source
        self._described = described

    @property
    def shape(self) -> dict[str, Any]:
        """That of the table it is had from."""
        return self._described

    async def pages(self) -> AsyncIterator[list[Entry]]:
        """All items, page by page."""
        async for page in shape.pages(self._region, self._source):
            yield [Entry(key_of(self.table, item).text, msgspec.Raw(msgspec.json.encode(bare(item)))) for item in page]

    async def one(self, key: str) -> Entry | None:
        """The item with this key."""
        item = await self._region.get(self._source, msgspec.json.decode(key))
        return None if item is None else Entry(key, msgspec.Raw(msgspec.json.encode(bare(item))))


async def from_archive(archive: Archive, folder: str, table: Table, at: datetime) -> FromArchive:
    """The table at this moment; `RecoveryRefused` names the moments that can be reached when this one cannot."""
    deadline = time.monotonic() + WAIT_FOR_JOURNAL.total_seconds()
    while True:
        found = await asyncio.to_thread(holdings.survey, archive, folder)
        route = route_to(found, at)
        if route is not None:
            expires = route.snapshot.expires or table.expires
            return FromArchive(archive, folder, route, msgspec.structs.replace(table, expires=expires), at)
        reached = windows(found)
        on_its_way = bool(reached) and timedelta(0) < at - reached[-1].until < WAIT_FOR_JOURNAL
        if not on_its_way or time.monotonic() > deadline:
            raise _refusal(found, table, at)
        await asyncio.sleep(ASK_EVERY_S)


async def from_table(region: Region, table: Table, source: str) -> FromTable:
    """The table as `source` has it; `RecoveryRefused` when that is no table with the same key."""
    described = await shape.described(region, source)
    if described is None:
        raise RecoveryRefused(problem=f"There is no table {source} to take the past from.")
    keys = tuple(key["AttributeName"] for key in sorted(described["KeySchema"], key=lambda one: str(one["KeyType"])))
    if keys != table.keys:
        raise RecoveryRefused(problem=f"The key of {source} is {', '.join(keys)}, that of {table.name} {', '.join(table.keys)}.")
    return FromTable(region, table, source, described)


def _refusal(found: Holdings, table: Table, at: datetime) -> RecoveryRefused:
    reached = windows(found)
    if not reached:
        return RecoveryRefused(
            problem=f"The archive leads to no moment of {table.name} yet. The archiver takes a first snapshot soon after "
            "`securecart up`; from its end on every second can be reached."
        )
    ways = ", ".join(_words(window) for window in reached)
    missed = next((why for gap, why in gaps(found) if gap.since < at < gap.until), None)
    reason = f" In between: {missed}." if missed else ""
    return RecoveryRefused(problem=f"{table.name} cannot be had as of {_time(at)} UTC; it can as of {ways} (UTC).{reason}")


def _words(window: Window) -> str:
    return f"{_time(window.since)} to {_time(window.until)}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
