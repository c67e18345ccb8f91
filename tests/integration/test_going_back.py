"""A server aside shows the database as it was, and says what is missing before anything else happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from msgspec import Struct

from securecart.errors import ArchiveMissing, RecoveryRefused
from securecart.ops.recovery.going_back import Held, held_at
from securecart.ops.recovery.model import Moment
from tests.archived_servers import ArchivedServer, archived_server, now_at


class Past(Struct):
    """What happened to the table `thing`, and when."""

    server: ArchivedServer
    filled: datetime
    changed: datetime
    deleted: datetime
    delete_xid: int


@pytest.fixture(scope="module")
async def past(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    async with archived_server(tmp_path_factory.mktemp("past")) as server:
        connection = await server.connect()
        await connection.execute("CREATE TABLE thing (id int PRIMARY KEY, words text NOT NULL)")
        await connection.execute("INSERT INTO thing SELECT id, 'first' FROM generate_series(1, 20000) AS id")
        full = await server.back_up()
        await connection.execute("INSERT INTO thing SELECT id, 'second' FROM generate_series(20001, 21000) AS id")
        await server.back_up(full)
        filled = await now_at(server)
        await asyncio.sleep(0.01)
        await connection.execute("UPDATE thing SET words = 'changed' WHERE id <= 100")
        changed = await server.ship()
        xid = await connection.fetchval(
            "WITH gone AS (DELETE FROM thing WHERE id > 10000 RETURNING id) "
            "SELECT pg_current_xact_id()::text::bigint FROM gone LIMIT 1"
        )
        deleted = await server.ship()
        await connection.close()
        yield Past(server, filled, changed, deleted, xid)


async def seen(held: Held) -> tuple[int, int]:
    """How many things there are, and how many of them were changed."""
    connection = await held.connect()
    try:
        row = await connection.fetchrow("SELECT count(*), count(*) FILTER (WHERE words = 'changed') FROM thing")
        assert row is not None
        return row[0], row[1]
    finally:
        await connection.close()


async def test_a_server_goes_from_moment_to_moment_and_then_takes_writes(past: Past) -> None:
    async with held_at(past.server.site, Moment(at=past.filled)) as held:
        assert await seen(held) == (21_000, 0)
        await held.go_on_to(Moment(at=past.changed))
        assert await seen(held) == (21_000, 100)
        await held.go_on_to(Moment(xid=past.delete_xid, before=True))
        assert await seen(held) == (21_000, 100)
        await held.go_on_to(Moment(xid=past.delete_xid))
        assert await seen(held) == (10_000, 100)
        for earlier in (Moment(at=past.changed), Moment(xid=past.delete_xid), Moment(xid=past.delete_xid, before=True)):
            if earlier != held.moment:
                with pytest.raises(RecoveryRefused, match="only goes on"):
                    await held.go_on_to(earlier)
        await held.go_on_to(Moment(at=past.deleted))
        assert held.reached.at_end
        assert await held.promote() == 2
        connection = await held.connect()
        assert await connection.execute("DELETE FROM thing") == "DELETE 10000"
        await connection.close()
    left = [path.name for path in (past.server.home.path / "data" / "aside").iterdir()]
    assert left == ["1.lock"]


async def test_two_servers_aside_at_once(past: Past) -> None:
    async with (
        held_at(past.server.site, Moment(at=past.filled)) as one,
        held_at(past.server.site, Moment(xid=past.delete_xid)) as other,
    ):
        assert (await seen(one), await seen(other)) == ((21_000, 0), (10_000, 100))


async def test_a_transaction_that_never_was_is_refused(past: Past) -> None:
    with pytest.raises(RecoveryRefused, match="neither commits nor aborts"):
        async with held_at(past.server.site, Moment(xid=past.delete_xid + 1_000)):
            pass


async def test_what_is_missing_is_named(past: Past) -> None:
    archive = past.server.site.archive
    (log,) = [name for name, _ in archive.names("wal/") if "." in name][:1]
    kept = archive.read(log)
    archive.remove([log])
    try:
        with pytest.raises(RecoveryRefused, match="hole in the log"):
            async with held_at(past.server.site, Moment(at=past.deleted)):
                pass
    finally:
        archive.put(log, kept)
    (base,) = [name for name, _ in archive.names("base/") if name.endswith("-full/data")]
    kept = archive.read(base)
    archive.remove([base])
    try:
        with pytest.raises(ArchiveMissing, match="full/data"):
            async with held_at(past.server.site, Moment(at=past.deleted)):
                pass
    finally:
        archive.put(base, kept)
