"""The orders database as seen from one node that only goes forward: what is read together fits together.

For who follows the log of a region whose writer is elsewhere: whatever is read after a batch of it is at least as new as the
batch, and never newer than this region's own database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from securecart.errors import StoreAway
from securecart.patience import POSTGRES
from securecart.stores.postgres.choosing import Position
from securecart.stores.postgres.database import Database, Fresh, Read, value
from securecart.stores.postgres.node import AWAY, Node, addresses_of, telling
from securecart.stores.postgres.statements import statements_of
from securecart.stores.postgres.watch import Watch

__all__ = ["Nearby", "OneNode"]

SQL = statements_of(__package__)
LOOK_AGAIN_S = 0.05


class OneNode(Database):
    """Reads go over one connection, one after the other; when it breaks, to another node that is as far. Nobody writes here."""

    def __init__(self, near: Database) -> None:
        super().__init__(())
        self._near = near
        self._turn = asyncio.Lock()
        self._held = AsyncExitStack()
        self._connection: Read | None = None
        self._seen: Position | None = None

    @asynccontextmanager
    async def read(self, after: Position | None = None) -> AsyncIterator[Read]:
        """The connection; `after` may be no later than what was read here before. `StoreAway` when no node is as far."""
        del after
        async with self._turn:
            with telling():
                yield await self._connect()

    @asynccontextmanager
    async def fresh(self, *, within_s: float | None = None) -> AsyncIterator[Fresh]:
        """The same: nothing fresher is wanted here than what this region has."""
        del within_s
        async with self.read() as read:
            yield Fresh(read)

    @property
    def has_replicas(self) -> bool:
        """Whatever is loaded beside it may come from another node, which is not as far."""
        return True

    async def position(self) -> Position:
        """How far this node has replayed by now."""
        async with self.read() as read:
            return Position(await value(read, SQL["replayed"]))

    async def close(self) -> None:
        """Give the connection back."""
        self._connection = None
        with suppress(*AWAY, StoreAway):
            await self._held.aclose()

    async def _connect(self) -> Read:
        if self._connection is not None and self._connection.is_closed():
            await self.close()
        if self._connection is None:
            self._connection = await self._held.enter_async_context(self._near.read(self._seen))
            self._seen = Position(await value(self._connection, SQL["replayed"]))
        return self._connection


class Nearby:
    """The nodes of this region alone, whoever writes; they are watched from the first time on that somebody looks."""

    def __init__(self, url: str, *, pool_size: int, lag_seconds: float) -> None:
        self._url = url
        self._pool_size = pool_size
        self._lag_seconds = lag_seconds
        self._database: Database | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def one_node(self) -> AsyncIterator[OneNode]:
        """One of them, for as long as the block runs."""
        async with self._opening:
            self._database = self._database or await self._open()
        database = OneNode(self._database)
        try:
            yield database
        finally:
            await database.close()

    async def _open(self) -> Database:
        """The database, once one of its nodes has been seen, or when none was in the time that a connection may take."""
        nodes = [Node(one, pool_size=self._pool_size) for one in addresses_of(self._url)]
        if not nodes[1:]:
            return Database(nodes)
        watch = Watch(nodes, limit_s=self._lag_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(POSTGRES.connect_s):
                while not watch.readers(None):  # noqa: ASYNC110 - the watch tells only of a writer
                    await asyncio.sleep(LOOK_AGAIN_S)
        return Database(nodes, watch)

    async def close(self) -> None:
        """End every connection."""
        if self._database is not None:
            await self._database.close()
