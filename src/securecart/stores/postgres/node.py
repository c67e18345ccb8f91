"""One PostgreSQL server: a pool of connections to it, and the means to cut all of them off at once.

Also how a connection is made, and which errors mean that the server is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from weakref import WeakSet

import asyncpg
import msgspec

from securecart.errors import BadInput, StoreAway, StoreBusy
from securecart.patience import POSTGRES, POSTGRES_LOCK
from securecart.stores.postgres.committing import Connection

__all__ = ["AWAY", "CANNOT_TELL", "Held", "Node", "addresses_of", "telling"]

# a row that somebody holds on to must not hold up a whole group of orders for longer than this
LOCK_TIMEOUT = f"{POSTGRES_LOCK.answer_s:g}s"
SERVER_SETTINGS = {"timezone": "UTC", "application_name": "securecart", "lock_timeout": LOCK_TIMEOUT}

# What a lost, refused or restarting server looks like from here; and one that writes no more, or a replica's replay in the way.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver says between a server's last words and the end of the connection
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.SerializationError,
)
BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
# What a node answers that has no such functions (Aurora), or does not let this role call them.
CANNOT_TELL = (
    asyncpg.FeatureNotSupportedError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)
UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


@contextmanager
def telling() -> Iterator[None]:
    """Say what the driver's errors mean: `StoreAway`, `StoreBusy`, or `BadInput` for text that cannot be stored."""
    try:
        yield
    except AWAY as error:
        raise StoreAway(store="orders database", retry_after=2) from error
    except BUSY as error:
        raise StoreBusy(store="orders database", retry_after=1) from error
    except UNSTORABLE as error:
        raise BadInput(problem="The text holds a character that cannot be stored, such as NUL.") from error


def addresses_of(url: str) -> list[str]:
    """The URL of each host that a URL names, as libpq reads it; what is asked of the session is left to us."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    query = urlencode([(name, given) for name, given in parse_qsl(parts.query) if name != "target_session_attrs"])
    if "," not in hosts:
        return [url if query == parts.query else urlunsplit(parts._replace(query=query))]
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}", query=query)) for host in hosts.split(",")]


class Held(NamedTuple):
    """A connection that somebody uses, where it is from, and the pool it goes back to."""

    node: Node
    pool: asyncpg.Pool
    connection: Connection


class Node:
    """One server. `name` is its host and port. A pool is opened with the first connection that somebody wants."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        self.url = url
        self.name = urlsplit(url).netloc.rpartition("@")[2] or "local"
        self.in_use = 0
        self.nudged = asyncio.Event()
        self._pool_size = pool_size
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._waiting: set[asyncio.Timeout] = set()
        self._closed = False
        self._cuts = 0
        self._alone: WeakSet[asyncpg.Connection] = WeakSet()

    async def open(self, *, least: int = 0) -> asyncpg.Pool:
        """The pool, with at least `least` connections open; driver errors when they cannot be made."""
        async with self._opening:
            if self._closed:
                raise asyncpg.InterfaceError("the database was closed")
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self.url,
                    min_size=least,
                    max_size=self._pool_size,
                    timeout=POSTGRES.connect_s,
                    command_timeout=POSTGRES.answer_s,
                    init=_speak_json,
                    reset=_nothing_to_undo,
                    server_settings=SERVER_SETTINGS,
                )
            return self._pool

    async def acquire(self) -> Held:
        """A connection, to be released; driver errors, `TimeoutError` only when none was free or could be made in time."""
        scope, cuts = asyncio.timeout(POSTGRES.connect_s), self._cuts
        self._waiting.add(scope)
        self.in_use += 1  # from here on: else everybody would run to a node that is just back and has nobody yet
        try:
            pool = self._pool or await self.open()
            async with scope:
                connection = await pool.acquire()
        except BaseException as error:
            self.in_use -= 1
            if isinstance(error, TimeoutError) and cuts != self._cuts:
                raise ConnectionAbortedError from None
            raise
        finally:
            self._waiting.discard(scope)
        return Held(self, pool, connection)

    async def release(self, held: Held) -> None:
        """Give a connection back; one whose pool was cut off ends."""
        self.in_use -= 1
        if held.pool is self._pool:
            await held.pool.release(held.connection)
        else:
            with suppress(asyncpg.InterfaceError):
                held.connection.terminate()

    async def connect_alone(self) -> asyncpg.Connection:
        """A connection beside the pool, its caller's to close; driver errors."""
        connection = await asyncpg.connect(
            self.url, timeout=POSTGRES.connect_s, command_timeout=POSTGRES.answer_s, server_settings=SERVER_SETTINGS
        )
        self._alone.add(connection)
        return connection

    def nudge(self) -> None:
        """Something failed here: have the watch look now."""
        self.nudged.set()

    def close(self) -> None:
        """Cut off for good."""
        self._closed = True
        self.cut_off()

    def cut_off(self) -> None:
        """End every connection at once, and whoever waits for one; nothing is sent to the server, no request to cancel either."""
        pool, self._pool = self._pool, None
        self._cuts += 1
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            with suppress(RuntimeError):  # it has just ended by itself
                scope.reschedule(now)
        for connection in list(self._alone):
            connection.terminate()
        if pool is not None:
            pool.terminate()


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
