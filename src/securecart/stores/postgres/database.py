"""The orders database as a room's caller sees it: where to read, where to write, and the typed way to send a statement."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NewType, Protocol, TypeVar

import asyncpg
import msgspec
from msgspec import Struct

from securecart.errors import StoreAway
from securecart.grouping import Grouped
from securecart.patience import POSTGRES, WEB_READS
from securecart.stores.postgres.choosing import NEWEST, NOWHERE, Position, Seen, View
from securecart.stores.postgres.committing import Connection, commit
from securecart.stores.postgres.node import AWAY, CANNOT_TELL, Held, Node, addresses_of, telling
from securecart.stores.postgres.statements import Statement, statements_of
from securecart.stores.postgres.watch import Watch

__all__ = ["Database", "Fresh", "NodeState", "Read", "Routes", "Transaction", "connect", "one", "rows", "value"]

Read = NewType("Read", Connection)
Fresh = NewType("Fresh", Read)
Transaction = NewType("Transaction", Fresh)

T = TypeVar("T")

SQL = statements_of(__package__)
GROUP_MAX = 1_000
LAG_SECONDS, PATIENCE_S = 2.0, 8.0
AGAIN_S = 0.05


class NodeState(Struct, frozen=True):
    """A node as it was seen last: `role` is writer, replica or away; lags are None where nobody can tell.

    `serves`: the writer writes, a replica is given reads. `replayed_s` is the age of the last commit that a replica replayed.
    """

    name: str
    role: str
    serves: bool
    lag_bytes: int | None
    lag_seconds: float | None
    replayed_s: float | None


class Routes(Protocol):
    """Who writes and who may read, for a database of several nodes; a `Watch`, but for tests."""

    nodes: Sequence[Node]
    view: View

    @property
    def seen(self) -> Sequence[Seen | None]:
        """What each node said of itself last."""

    async def writer(self, *, within_s: float) -> Node:
        """The node that writes, waited for at most so long; `StoreAway`."""

    def readers(self, after: Position | None) -> list[Node]:
        """The replicas that will do for a read, the best first."""

    def close(self) -> None:
        """Stop looking."""


class Database:
    """One PostgreSQL of one node or several. With one there is nothing to choose, and nothing is watched."""

    def __init__(self, nodes: Sequence[Node], routes: Routes | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self._nodes = nodes
        self._routes = routes
        self._patience_s = patience_s
        self._position: Grouped[None, Position] = Grouped(self._ask_position, most=GROUP_MAX)

    @property
    def has_replicas(self) -> bool:
        """Whether there is more than one node, so that a read may see less than was written."""
        return self._routes is not None

    @asynccontextmanager
    async def read(self, after: Position | None = None) -> AsyncIterator[Read]:
        """A connection for queries, on a replica where one will do: it has seen all up to `after`, and is not far behind.

        Nothing read here may decide a write. `StoreAway` when no node will do within a second.
        """
        with telling():
            held = await self._take_reader(after)
            try:
                yield Read(held.connection)
            finally:
                await held.node.release(held)

    @asynccontextmanager
    async def fresh(self, *, within_s: float | None = None) -> AsyncIterator[Fresh]:
        """A connection to the writer for queries that see everything committed, such as those that decide a write.

        A writer is waited for as in `transaction`, or for `within_s`; then `StoreAway`.
        """
        with telling():
            held = await self._take_writer(self._patience_s if within_s is None else within_s)
            try:
                yield Fresh(Read(held.connection))
            finally:
                await held.node.release(held)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction on the writer, committed when the block ends well; the commit is never cancelled.

        After a failover a writer is waited for, up to the setting's patience; then `StoreAway`, as when it is lost on the
        way. When the connection breaks during the commit itself the outcome is unknown to the caller; whatever is written
        must therefore be safe to ask about or to repeat by its key.
        """
        with telling():
            held = await self._take_writer(self._patience_s, begin=True)
            try:
                try:
                    yield Transaction(Fresh(Read(held.connection)))
                except BaseException:
                    with suppress(*AWAY):
                        await held.connection.execute("ROLLBACK")
                    raise
                await commit(held.connection, within_s=POSTGRES.answer_s)
            finally:
                await held.node.release(held)

    async def position(self) -> Position:
        """How far the writer has written: everything committed until now is before it. `StoreAway`.

        Who asks at the same time shares a round trip; with one node there is none, as nobody can be behind.
        """
        return NOWHERE if self._routes is None else await self._position(None)

    def nodes(self) -> list[NodeState]:
        """What was seen of each node; nothing with a single one, which nobody watches."""
        if self._routes is None:
            return []
        view, states = self._routes.view, list[NodeState]()
        for i, (node, seen) in enumerate(zip(self._routes.nodes, self._routes.seen, strict=True)):
            lag = view.lags[i]
            role = (
                "away" if seen is None else "replica" if seen.in_recovery else "writer" if i == view.writer else "outdated writer"
            )
            states.append(
                NodeState(
                    name=node.name,
                    role=role,
                    serves=i == view.writer or i in view.readers,
                    lag_bytes=lag.bytes if lag else None,
                    lag_seconds=lag.seconds if lag else None,
                    replayed_s=seen.replayed_s if seen else None,
                )
            )
        return states

    async def connect_alone(self) -> asyncpg.Connection:
        """A connection to the writer beside the pool, its caller's to close: for what outlives a transaction. `StoreAway`."""
        with telling():
            node = self._nodes[0] if self._routes is None else await self._routes.writer(within_s=self._patience_s)
            return await node.connect_alone()

    async def close(self) -> None:
        """End every connection."""
        if self._routes is not None:
            self._routes.close()
        for node in self._nodes:
            node.close()

    async def _take_reader(self, after: Position | None) -> Held:
        if self._routes is None:
            return await self._nodes[0].acquire()
        for node in self._routes.readers(after):
            try:
                return await node.acquire()
            except AWAY:
                node.nudge()
        return await self._take_writer(WEB_READS.retry_for_s)

    async def _take_writer(self, within_s: float, *, begin: bool = False) -> Held:
        """A connection to the writer; after a failure another is tried as long as there is time, as nothing was said yet."""
        if self._routes is None:
            return await _take(self._nodes[0], begin=begin)
        until = time.monotonic() + within_s
        while True:
            node = await self._routes.writer(within_s=max(until - time.monotonic(), 0))
            try:
                return await _take(node, begin=begin)
            except AWAY as error:
                node.nudge()
                # one that is there and has no connection free is busy: to wait on would only make the queue longer
                if isinstance(error, TimeoutError) or time.monotonic() >= until:
                    raise
            await asyncio.sleep(AGAIN_S * (1 + random.random()))  # noqa: S311 - a jitter

    async def _ask_position(self, asking: Sequence[None]) -> list[Position]:
        async with self.fresh(within_s=0) as fresh:
            try:
                found = await value(fresh, SQL["position"])
            except CANNOT_TELL:
                found = None
        return [NEWEST if found is None else Position(found)] * len(asking)


async def connect(
    url: str,
    *,
    pool_size: int = 10,
    lag_seconds: float = LAG_SECONDS,
    patience_s: float = PATIENCE_S,
    confirmed: bool = False,
) -> Database:
    """Open the database that a URL names, on one host or several; at most `pool_size` connections to each.

    A replica more than `lag_seconds` behind serves nobody; a writer is waited for `patience_s`. With `confirmed` a second
    node confirms each commit before it is acknowledged. `StoreAway` when no node can be reached; others, and the writer
    among them, may come later.
    """
    nodes = [Node(one, pool_size=pool_size) for one in addresses_of(url)]
    if len(nodes) == 1:
        with telling():
            await nodes[0].open(least=1)
        return Database(nodes)
    watch = Watch(nodes, limit_s=lag_seconds, confirmed=confirmed)
    database = Database(nodes, watch, patience_s=patience_s)
    try:
        async with database.fresh():
            return database
    except StoreAway:
        if any(watch.seen):  # a process that is started while nobody writes is there when somebody does
            return database
        await database.close()
        raise
    except BaseException:
        await database.close()
        raise


async def _take(node: Node, *, begin: bool) -> Held:
    held = await node.acquire()
    if begin:
        try:
            await held.connection.execute("BEGIN")
        except BaseException:
            await node.release(held)
            raise
    return held


async def rows(read: Read, statement: Statement, kind: type[T], *arguments: Any) -> list[T]:
    """Every row of the statement as a `kind`, its columns named after the struct's fields."""
    return [msgspec.convert(dict(record), kind) for record in await read.fetch(statement, *arguments)]


async def one(read: Read, statement: Statement, kind: type[T], *arguments: Any) -> T | None:
    """The first row as a `kind`, or None."""
    record = await read.fetchrow(statement, *arguments)
    return None if record is None else msgspec.convert(dict(record), kind)


async def value(read: Read, statement: Statement, *arguments: Any) -> Any:
    """The first column of the first row, or None."""
    return await read.fetchval(statement, *arguments)
