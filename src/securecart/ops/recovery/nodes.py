"""The database's nodes as the archiver sees them: which takes writes, how far its log is, what it keeps for us.

Asked with short time-outs and all at once, so that a node that is frozen holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from msgspec import Struct

from securecart import settings as settings_table
from securecart.engines import Home
from securecart.engines.postgres_roles import ARCHIVER, NOT_READY, REPLICATION, SUPERUSER, Roles
from securecart.errors import StoreAway
from securecart.ops.recovery.model import lsn_of
from securecart.ops.recovery.segments import number_of

__all__ = ["NOT_READY", "Node", "Nodes", "Position", "Slot"]

WITHIN_S = 2.0
MAINTENANCE = "postgres"
POSITION = f"""
    SELECT clock_timestamp(), pg_current_wal_flush_lsn()::text AS lsn, pg_walfile_name(pg_current_wal_flush_lsn()) AS segment,
        (SELECT max(write_lsn)::text FROM pg_stat_replication WHERE application_name = '{ARCHIVER}') AS written
"""  # noqa: S608 - a name of ours
STANDING = """
    SELECT pg_is_in_recovery() AS follows, pg_last_wal_receive_lsn()::text AS received,
        (SELECT status FROM pg_stat_wal_receiver) AS receiving
"""
SLOT = """
    SELECT wal_status, restart_lsn::text, active_pid,
        (SELECT min(substr(name, 9)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$') AS oldest
    FROM (VALUES (1)) AS one LEFT JOIN pg_replication_slots ON slot_name = $1
"""


class Node(Struct, frozen=True):
    """Where a node is reached."""

    host: str
    port: int

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.host}:{self.port}"


class Position(Struct, frozen=True):
    """The writer's word: whatever was committed by `at` (its clock) is in its log up to `lsn` on `timeline`.

    `written` is how far it knows the archiver's stream to have written; None when it does not know.
    """

    at: datetime
    timeline: int
    lsn: int
    written: int | None = None


class Slot(Struct, frozen=True):
    """What the writer keeps for the archiver: from `restart`, where the slot is there and not `lost`.

    `oldest` is the number of the oldest segment that it has at all.
    """

    there: bool
    lost: bool
    restart: int | None
    oldest: int


class Nodes:
    """The nodes of one database, with a connection to the one that takes writes for as long as it does."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.writer: Node | None = None
        self._roles = Roles(home)
        self._connection: asyncpg.Connection | None = None
        self._timeline = 0

    async def ask(self) -> Position:
        """How far the writer's log is at this moment; `StoreAway` when no node takes writes."""
        if self._connection is not None:
            try:
                return await self._ask(self._connection)
            except NOT_READY:
                self.forget()
        connection = await self._find()
        try:
            return await self._ask(connection)
        except NOT_READY as error:
            self.forget()
            raise StoreAway(store="orders database", retry_after=1) from error

    async def _ask(self, connection: asyncpg.Connection) -> Position:
        row = await connection.fetchrow(POSITION, timeout=WITHIN_S)
        assert row is not None
        self._timeline = int(row["segment"][:8], 16)
        written = lsn_of(row["written"]) if row["written"] else None
        return Position(row["clock_timestamp"], self._timeline, lsn_of(row["lsn"]), written)

    def forget(self) -> None:
        """Look anew for the writer the next time somebody asks."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = self.writer = None

    async def standbys(self) -> list[Node]:
        """The nodes that stream from the writer: those of this region first, and of them those that have received most."""
        near = _named(settings_table.load(str(self.home.path)).region_postgres_url)
        found: list[tuple[bool, int, Node]] = []
        for node, connection in await self._connected(SUPERUSER):  # only it may see what a standby receives
            try:
                row = await connection.fetchrow(STANDING, timeout=WITHIN_S)
                if row is not None and row["follows"] and row["receiving"] == "streaming" and row["received"]:
                    found.append((node not in near, -lsn_of(row["received"]), node))
            except NOT_READY:
                continue
            finally:
                connection.terminate()
        return [node for _, _, node in sorted(found, key=lambda one: one[:2])]

    async def slot(self) -> Slot:
        """The archiver's slot at the writer, and the oldest log that is there; raises `NOT_READY`."""
        admin = await self.admin()
        try:
            row = await admin.fetchrow(SLOT, ARCHIVER, timeout=WITHIN_S)
        finally:
            admin.terminate()
        assert row is not None
        restart = lsn_of(row["restart_lsn"]) if row["restart_lsn"] else None
        there = row["wal_status"] is not None or restart is not None
        return Slot(there, row["wal_status"] == "lost", restart, number_of("0" * 8 + row["oldest"]))

    async def history(self, timeline: int) -> str:
        """PostgreSQL's history of the writer's timeline, empty for the first; raises `NOT_READY`."""
        if timeline == 1:
            return ""
        return str(await self._value("SELECT pg_read_file($1)", f"pg_wal/{timeline:08X}.history"))

    async def system(self) -> int:
        """PostgreSQL's number of this database; raises `NOT_READY`."""
        return int(await self._value("SELECT system_identifier FROM pg_control_system()"))

    async def database_bytes(self) -> int:
        """The size of all databases; raises `NOT_READY`."""
        return int(await self._value("SELECT sum(pg_database_size(oid)) FROM pg_database"))

    async def next_xid(self) -> int:
        """The number of the next transaction; raises `NOT_READY`."""
        return int(await self._value("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))

    async def make_slot(self) -> None:
        """Have the writer keep its log for us from now on, in place of a slot that lost some; raises `NOT_READY`."""
        admin = await self.admin()
        try:
            await admin.execute(
                f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{ARCHIVER}'"  # noqa: S608
            )
            await admin.execute(f"SELECT pg_create_physical_replication_slot('{ARCHIVER}', true)")
        finally:
            admin.terminate()

    async def admin(self) -> asyncpg.Connection:
        """A connection to the writer as superuser, for the caller to close; raises `NOT_READY`."""
        if self.writer is None:
            raise StoreAway(store="orders database", retry_after=1)
        return await self._roles.connect([self.writer.port], MAINTENANCE)

    def all(self) -> list[Node]:
        """Every node that the home's settings name."""
        return _named(settings_table.load(str(self.home.path)).postgres_url)

    async def connect_as_superuser(self, node: Node) -> asyncpg.Connection | None:
        """A connection to any node, for the caller to close; None when it does not answer."""
        return await self._connect(node, SUPERUSER)

    def write_passwords(self) -> Path:
        """The file from which PostgreSQL's programs take the password for replication: it stands in no command line."""
        file = self.home.run() / "archiver.pgpass"
        self.home.write_private(file, f"*:*:*:{REPLICATION}:{self._roles.password(REPLICATION)}\n")
        return file

    async def _value(self, statement: str, *arguments: object) -> Any:
        admin = await self.admin()
        try:
            return await admin.fetchval(statement, *arguments, timeout=WITHIN_S)
        finally:
            admin.terminate()

    async def _find(self) -> asyncpg.Connection:
        """Connect to the node that takes writes, and to none that was overtaken; who does not answer is not waited for then."""
        asking = [asyncio.create_task(self._connect_if_writer(node)) for node in self.all()]
        try:
            for answered in asyncio.as_completed(asking):
                found = await answered
                if found is not None:
                    self.writer, self._connection = found
                    return found[1]
        finally:
            for task in asking:
                task.cancel()
            for other in await asyncio.gather(*asking, return_exceptions=True):
                if isinstance(other, tuple) and other[1] is not self._connection:
                    other[1].terminate()
        raise StoreAway(store="orders database", retry_after=1)

    async def _connect_if_writer(self, node: Node) -> tuple[Node, asyncpg.Connection] | None:
        connection = await self._connect(node, REPLICATION)
        if connection is None:
            return None
        try:
            if await self._is_writer(connection):
                return node, connection
        except NOT_READY:
            pass
        except asyncio.CancelledError:
            connection.terminate()
            raise
        connection.terminate()
        return None

    async def _is_writer(self, connection: asyncpg.Connection) -> bool:
        if await connection.fetchval("SELECT pg_is_in_recovery()", timeout=WITHIN_S):
            return False
        segment = await connection.fetchval("SELECT pg_walfile_name(pg_current_wal_flush_lsn())", timeout=WITHIN_S)
        return int(segment[:8], 16) >= self._timeline

    async def _connected(self, role: str) -> Sequence[tuple[Node, asyncpg.Connection]]:
        nodes = self.all()
        found = await asyncio.gather(*(self._connect(node, role) for node in nodes))
        return [(node, connection) for node, connection in zip(nodes, found, strict=True) if connection is not None]

    async def _connect(self, node: Node, role: str) -> asyncpg.Connection | None:
        try:
            return await asyncpg.connect(
                host=node.host,
                port=node.port,
                user=role,
                password=self._roles.password(role),
                database=MAINTENANCE,
                timeout=WITHIN_S,
                server_settings={"application_name": f"{ARCHIVER}_asks"},
            )
        except NOT_READY:
            return None


def _named(url: str) -> list[Node]:
    netloc = urlsplit(url).netloc.rpartition("@")[2]
    return [Node(host, int(port)) for host, _, port in (one.rpartition(":") for one in netloc.split(",")) if host]
