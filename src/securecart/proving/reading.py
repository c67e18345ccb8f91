"""Read a restored database from end to end, and count what the living one has."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from msgspec import Struct

from securecart.ops.recovery.certificates import Flaw
from securecart.proving.model import Books, Tally
from securecart.stores.postgres import statements_of

__all__ = ["Reading", "books_of", "count_rows", "read_everything"]

SQL = statements_of(__package__)
READERS = 2
CONNECT_S = 10.0
CHECKS_UNIQUE, CHECKS_GIN = 17, 18


class Reading(Struct, frozen=True):
    """What was read, and what was wrong with it."""

    version: str = ""
    tables: int = 0
    indexes: int = 0
    flaws: tuple[Flaw, ...] = ()
    unchecked: tuple[str, ...] = ()


class Relation(Struct, frozen=True):
    """A table or an index; `kind` is heap, btree or gin."""

    oid: int
    name: str
    kind: str


async def books_of(url: str) -> Books:
    """Count the living database: all tables as one moment shows them, the server's own counts from just before.

    On several nodes the one that writes is asked: a standby counts nothing of what it replays.
    """
    connection = await asyncpg.connect(url, timeout=CONNECT_S, target_session_attrs=SessionAttribute.read_write)
    try:
        server = str(await connection.fetchval(SQL["server"]))
        tallies = await connection.fetch(SQL["tallies"])
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = {row["name"]: await _count(connection, row["quoted"]) for row in tallies}
        counted_at = await connection.fetchval(SQL["clock"])
    finally:
        await connection.close()
    tables = {row["name"]: Tally(rows[row["name"]], row["inserted"], row["deleted"], row["file"]) for row in tallies}
    return Books(server, counted_at, tables)


async def count_rows(url: str) -> tuple[dict[str, int], int]:
    """The rows of every table of the shop, and how large the database is in bytes."""
    connection = await asyncpg.connect(url, timeout=CONNECT_S)
    try:
        rows = {row["name"]: await _count(connection, row["quoted"]) for row in await connection.fetch(SQL["tallies"])}
        return rows, int(await connection.fetchval(SQL["database_bytes"]))
    finally:
        await connection.close()


async def read_everything(url: str, tell: Callable[[str], None]) -> Reading:
    """Read every table and index with PostgreSQL's amcheck; the server must take writes, for amcheck is an extension."""
    connection = await asyncpg.connect(url, timeout=CONNECT_S)
    try:
        major = connection.get_server_version().major
        version = connection.get_settings().server_version
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        except asyncpg.PostgresError as error:
            return Reading(version, unchecked=(f"tables and indexes page by page: this PostgreSQL brings no amcheck ({error})",))
        kinds = ["btree", "gin"] if major >= CHECKS_GIN else ["btree"]
        found = [Relation(row["oid"], row["name"], row["kind"]) for row in await connection.fetch(SQL["to_read"], kinds)]
    finally:
        await connection.close()
    left, flaws = deque(found), list[Flaw]()
    tell(f"reading {len(found)} tables and indexes from end to end")
    async with asyncio.TaskGroup() as group:
        for _ in range(READERS):
            group.create_task(_read_on(url, major, left, flaws))
    tables = sum(one.kind == "heap" for one in found)
    return Reading(version, tables, len(found) - tables, tuple(sorted(flaws, key=lambda flaw: flaw.name)))


async def _read_on(url: str, major: int, left: deque[Relation], flaws: list[Flaw]) -> None:
    """Take one after the other until none is left; a session that an index ended is replaced."""
    connection = await asyncpg.connect(url, timeout=CONNECT_S)
    try:
        while left:
            relation = left.popleft()
            try:
                wrong = await _read(connection, major, relation)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                wrong = [str(error) or type(error).__name__]
            flaws += [Flaw("pages", relation.name, sentence) for sentence in wrong]
            if connection.is_closed():
                connection = await asyncpg.connect(url, timeout=CONNECT_S)
    finally:
        await connection.close()


async def _read(connection: asyncpg.Connection, major: int, relation: Relation) -> list[str]:
    if relation.kind == "heap":
        return [row[0] for row in await connection.fetch(SQL["read_heap"], relation.oid)]
    btree = "read_btree" if major >= CHECKS_UNIQUE else "read_btree_16"
    await connection.execute("SET maintenance_work_mem = '128MB'")  # what heapallindexed remembers the rows in
    await connection.fetch(SQL["read_gin" if relation.kind == "gin" else btree], relation.oid)
    return []


async def _count(connection: asyncpg.Connection, quoted: str) -> int:
    """`quoted` is a name as the catalogue itself quotes it."""
    return int(await connection.fetchval(f"SELECT count(*) FROM {quoted}"))  # noqa: S608
