"""A connection of its own, beside the pool: it hears that facts were written, and holds turns as long as it lives.

One process at a time runs a reader: the one whose line holds the reader's turn, an advisory lock of its session. A lost
connection is a lost turn, and `lost` says so at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg

from securecart.errors import StoreAway, StoreBusy
from securecart.stores.postgres.database import Database
from securecart.stores.postgres.node import AWAY, BUSY
from securecart.stores.postgres.statements import statements_of

__all__ = ["Line", "open_line"]

SQL = statements_of(__package__)

CHANNEL = "event"


class Line:
    """The open connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.lost = asyncio.Event()
        self._connection = connection
        self._one_at_a_time = asyncio.Lock()
        self._bells: set[asyncio.Event] = set()
        self._ours: set[str] = set()

    @contextmanager
    def bell(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever somebody has published."""
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    async def take_turn(self, name: str) -> bool:
        """Whether the reader is ours to run, from now on or already."""
        if name not in self._ours and await self._ask(SQL["take_turn"], name):
            self._ours.add(name)
        return name in self._ours

    async def wait_for_turn(self, name: str, *, seconds: float) -> None:
        """Wait until the reader is ours to run; `StoreAway` when whoever has it keeps it for so long."""
        until = time.monotonic() + seconds
        while True:
            try:
                await self._ask(SQL["wait_for_turn"], name, seconds=seconds)
            except StoreBusy:  # the server lets nobody wait for a lock for longer than its own limit, and that is shorter
                if time.monotonic() >= until:
                    raise
            else:
                self._ours.add(name)
                return

    async def offer_turn(self, name: str) -> bool:
        """Give the reader to whoever waits for it; True when nobody does and it stays ours."""
        if not await self._ask(SQL["offer_turn"], name):
            self._ours.discard(name)
        return name in self._ours

    def hear(self, *_: object) -> None:
        """Ring every bell."""
        for bell in self._bells:
            bell.set()

    def lose(self, *_: object) -> None:
        """The connection has ended, and with it every turn."""
        self._ours.clear()
        self.lost.set()

    async def _ask(self, statement: str, name: str, *, seconds: float | None = None) -> Any:
        async with self._one_at_a_time:
            try:
                return await self._connection.fetchval(statement, name, timeout=seconds)
            except AWAY as error:
                raise StoreAway(store="orders database", retry_after=2) from error
            except BUSY as error:
                raise StoreBusy(store="orders database", retry_after=1) from error


@asynccontextmanager
async def open_line(database: Database) -> AsyncIterator[Line]:
    """A line for as long as the block runs; `StoreAway` when the database cannot be reached."""
    connection = await database.connect_alone()
    line = Line(connection)
    try:
        connection.add_termination_listener(line.lose)
        await _listen(connection, line.hear)
        yield line
    finally:
        connection.terminate()


async def _listen(connection: asyncpg.Connection, hear: Callable[..., None]) -> None:
    with suppress(asyncpg.InterfaceError):  # it may have been lost already, and then `lost` is set
        await connection.add_listener(CHANNEL, hear)
