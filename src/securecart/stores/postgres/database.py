"""The connection pool and the typed way to send a statement."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NewType, TypeVar

import asyncpg
import msgspec

from securecart.errors import BadInput, StoreAway, StoreBusy
from securecart.patience import POSTGRES, POSTGRES_LOCK
from securecart.stores.postgres.statements import Statement

Connection = asyncpg.pool.PoolConnectionProxy
Read = NewType("Read", Connection)
Transaction = NewType("Transaction", Read)

T = TypeVar("T")

# a row that somebody holds on to must not hold up a whole group of orders for longer than this
LOCK_TIMEOUT = f"{POSTGRES_LOCK.answer_s:g}s"
SERVER_SETTINGS = {"timezone": "UTC", "application_name": "securecart", "lock_timeout": LOCK_TIMEOUT}

# What a lost, refused or restarting server looks like from here.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
)

BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


class Database:
    """One PostgreSQL as a room's caller sees it: a place to read, a place to write."""

    def __init__(self, pool: asyncpg.Pool, url: str) -> None:
        self._pool = pool
        self._url = url

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Read]:
        """A connection for queries; each sees the newest committed rows. `StoreAway` when none can be had."""
        async with self._connection() as connection:
            yield Read(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction on the writer, committed when the block ends well. `StoreAway` when the writer is lost.

        When the connection breaks during the commit itself the outcome is unknown to the caller; whatever
        is written must therefore be safe to ask about or to repeat by its key.
        """
        async with self._connection() as connection, connection.transaction():
            yield Transaction(Read(connection))

    async def connect_alone(self) -> asyncpg.Connection:
        """A connection beside the pool, its caller's to close: for what outlives a transaction. `StoreAway`."""
        try:
            return await asyncpg.connect(
                self._url, timeout=POSTGRES.connect_s, command_timeout=POSTGRES.answer_s, server_settings=SERVER_SETTINGS
            )
        except AWAY as error:
            raise StoreAway(store="orders database", retry_after=2) from error

    async def close(self) -> None:
        """Close every connection, waiting a moment for those in use."""
        self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.acquire(timeout=POSTGRES.connect_s) as connection:
                yield connection
        except AWAY as error:
            raise StoreAway(store="orders database", retry_after=2) from error
        except BUSY as error:
            raise StoreBusy(store="orders database", retry_after=1) from error
        except UNSTORABLE as error:
            raise BadInput(problem="The text holds a character that cannot be stored, such as NUL.") from error


async def connect(url: str, *, pool_size: int = 10) -> Database:
    """Open a pool of at most `pool_size` connections. `StoreAway` when the server cannot be reached."""
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=pool_size,
            timeout=POSTGRES.connect_s,
            command_timeout=POSTGRES.answer_s,
            init=_speak_json,
            reset=_nothing_to_undo,
            server_settings=SERVER_SETTINGS,
        )
    except AWAY as error:
        raise StoreAway(store="orders database", retry_after=2) from error
    return Database(pool, url)


async def _speak_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda raw: msgspec.json.decode(raw[1:]),
        format="binary",
    )


async def _nothing_to_undo(_connection: asyncpg.Connection) -> None:
    """Instead of the driver's reset, four statements and a round trip each time a connection is given back.

    Nothing that the shop sends outlives its transaction (no SET, LISTEN, session lock or held cursor), and a
    transaction left open is rolled back by the driver before this is called.
    """


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
