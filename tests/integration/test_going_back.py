"""A server aside shows the database as it was, and says what is missing before anything else happens."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from securecart.errors import ArchiveDamaged, ArchiveMissing, EngineFailed, RecoveryRefused
from securecart.ops.recovery import scratch
from securecart.ops.recovery.going_back import Held, held_at
from securecart.ops.recovery.happenings import Changes
from securecart.ops.recovery.model import Moment
from securecart.ops.recovery.time_line import time_line
from tests.archived_servers import ArchivedServer, archived_server, now_at
from tests.commands import processes_below

# holds the database at the time that is given, until it is killed
HOLD = """
import asyncio, sys
from datetime import datetime
from securecart import settings
from securecart.ops.recovery import scratch
from securecart.ops.recovery.going_back import held_at
from securecart.ops.recovery.model import Moment
from securecart.ops.recovery.sites import site_of

async def hold():
    async with held_at(site_of(settings.load(sys.argv[1])), Moment(at=datetime.fromisoformat(sys.argv[2]))):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


class Past(Struct):
    """What happened to the table `thing`, and when."""

    server: ArchivedServer
    filled: datetime
    changed: datetime
    deleted: datetime
    delete_xid: int


@pytest.fixture(scope="module")
async def past(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    async with archived_server(tmp_path_factory.mktemp("past") / ("long-" * 10)) as server:
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


def left_by(past: Past) -> list[str]:
    return sorted(path.name for path in aside(past, "").iterdir() if path.suffix != ".lock")


def aside(past: Past, name: str) -> Path:
    return past.server.home.path / "data" / "aside" / name


@contextmanager
def changed_base(past: Past, name: str, change: Callable[[bytes], bytes], *, renamed: str = "") -> Iterator[None]:
    """The full backup with another content or name of one file, for as long as the block lasts."""
    archive = past.server.site.archive
    (base,) = [name for name, _ in archive.names("base/") if name.endswith("-full/data")]
    kept = archive.read(base)
    changed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(kept)) as old, tarfile.open(fileobj=changed, mode="w") as new:
        for member in old:
            file = old.extractfile(member)
            content = file.read() if file is not None else b""
            if member.name == name:
                content, member.name = change(content), renamed or name
            new.addfile(member, io.BytesIO(content))
    archive.put(base, changed.getvalue())
    try:
        yield
    finally:
        archive.put(base, kept)


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
        with pytest.raises(RecoveryRefused, match="neither commits nor aborts"):
            await held.go_on_to(Moment(xid=past.delete_xid + 1_000))
        assert await seen(held) == (10_000, 100)
        await held.go_on_to(Moment(at=past.deleted))
        assert held.reached.at_end
        assert await held.promote() == 2
        connection = await held.connect()
        assert await connection.execute("DELETE FROM thing") == "DELETE 10000"
        await connection.close()
    assert left_by(past) == []


async def test_a_server_goes_on_to_what_came_later_than_itself(past: Past) -> None:
    async with held_at(past.server.site, Moment(at=past.deleted)) as held:
        assert await seen(held) == (10_000, 100)
        connection = await past.server.connect()
        await connection.execute("CREATE TABLE later (number int)")
        for number in range(3):
            await connection.execute("INSERT INTO later VALUES ($1)", number)
            inserted = await past.server.ship()
            await held.go_on_to(Moment(at=inserted))
            aside = await held.connect()
            assert await aside.fetchval("SELECT max(number) FROM later") == number
            await aside.close()
        await connection.execute("DROP TABLE later")
        await connection.close()


async def test_a_server_that_lets_nobody_in_is_told_of(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "LET_IN_WITHIN_S", 1.0)
    async with held_at(past.server.site, Moment(at=past.deleted)) as held:
        locks, writes = await past.server.connect(), await past.server.connect()
        async with locks.transaction():
            await locks.execute("LOCK TABLE pg_db_role_setting IN ACCESS EXCLUSIVE MODE")  # each connection begins with it
            await writes.execute("CREATE TABLE meanwhile ()")
            meanwhile = await writes.fetchval("SELECT clock_timestamp()")
            await asyncio.sleep(0.1)
        await past.server.ship()
        with pytest.raises(RecoveryRefused, match="let nobody in for 1 s"):
            await held.go_on_to(Moment(at=meanwhile))
        await writes.execute("DROP TABLE meanwhile")
        await locks.close()
        await writes.close()


async def test_what_a_killed_run_left_behind_goes(past: Past) -> None:
    given = [str(past.server.home.path), past.deleted.isoformat()]
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, *given, stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert await run.stdout.readline() == b"held\n"
    run.kill()
    await run.wait()
    assert left_by(past) == ["1", "1.given", "1.log", "1.run"]
    assert aside(past, "1.run").is_symlink()  # its own path is too long for a socket
    deadline = time.monotonic() + 20
    while processes_below(aside(past, "1")):
        assert time.monotonic() < deadline, "the server outlives the run that started it"
        await asyncio.sleep(0.05)
    async with held_at(past.server.site, Moment(xid=past.delete_xid)) as held:
        assert await seen(held) == (10_000, 100)
    assert left_by(past) == []


async def test_a_server_that_dies_says_why(past: Past) -> None:
    with changed_base(past, "global/pg_control", lambda content: content[:100] + b"?" + content[101:]):  # noqa: SIM117
        with pytest.raises(EngineFailed, match="incorrect checksum in control file"):
            async with held_at(past.server.site, Moment(xid=past.delete_xid)):
                pass
    assert left_by(past) == []


async def test_no_file_of_a_backup_lands_outside_its_folder(past: Past) -> None:
    with changed_base(past, "PG_VERSION", lambda content: content, renamed="../../outside"):  # noqa: SIM117
        with pytest.raises(ArchiveDamaged, match="outside"):
            async with held_at(past.server.site, Moment(xid=past.delete_xid)):
                pass
    assert left_by(past) == []


async def test_what_is_missing_is_named(past: Past) -> None:
    archive = past.server.site.archive
    (log,) = [name for name, _ in archive.names("wal/") if "." in name][-1:]
    kept = archive.read(log)
    archive.remove([log])
    try:
        with pytest.raises(RecoveryRefused, match="can be recovered from"):
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


async def test_two_servers_aside_at_once_and_what_happened_between_them(past: Past) -> None:
    async with (
        held_at(past.server.site, Moment(at=past.filled)) as held,
        held_at(past.server.site, Moment(xid=past.delete_xid)) as other,
    ):
        assert (await seen(held), await seen(other)) == ((21_000, 0), (10_000, 100))
        line = await time_line(held, Moment(at=past.filled), Moment(at=past.deleted))
        assert [one.tables for one in line] == [{"thing": Changes(updated=100)}, {"thing": Changes(deleted=11_000)}]
        assert line[1].xid == past.delete_xid
        assert past.changed < line[1].at < past.deleted
        assert await time_line(held, Moment(at=past.filled), Moment(xid=past.delete_xid, before=True)) == line[:1]
        assert (await time_line(held, Moment(at=past.changed)))[0] == line[1]
        assert await time_line(held, Moment(at=past.filled), tables={}) == []


async def test_a_branch_that_goes_over_a_failover(tmp_path: Path) -> None:
    async with archived_server(tmp_path) as server:
        connection = await server.connect()
        await connection.execute("CREATE TABLE thing (id int PRIMARY KEY); CREATE TABLE emptied (id int)")
        await connection.execute("INSERT INTO emptied SELECT generate_series(1, 10)")
        await server.back_up()
        await connection.execute("INSERT INTO thing VALUES (1)")
        early = await now_at(server)
        await connection.execute("BEGIN; INSERT INTO thing VALUES (2); SAVEPOINT a; INSERT INTO thing VALUES (3); RELEASE a")
        await connection.execute("SAVEPOINT b; INSERT INTO thing VALUES (4), (5), (6); ROLLBACK TO b; COMMIT")
        await connection.execute("BEGIN; DELETE FROM thing; ROLLBACK")
        began = await server.ship()
        await connection.close()
        await server.fail_over()
        connection = await server.connect()
        await connection.copy_records_to_table("thing", records=[(number,) for number in range(10, 500)])
        await connection.execute("INSERT INTO thing VALUES (1), (7) ON CONFLICT DO NOTHING")
        await connection.execute("TRUNCATE emptied")
        await connection.execute("INSERT INTO emptied VALUES (1)")
        await connection.close()
        ended = await server.ship()
        async with held_at(server.site, Moment(at=began)) as held:
            assert held.restored.timeline == 2
            line = await time_line(held, Moment(at=began - timedelta(minutes=1)))
            assert [one.tables for one in line] == [
                {"thing": Changes(inserted=1)},
                {"thing": Changes(inserted=2)},
                {"thing": Changes(inserted=490)},
                {"thing": Changes(inserted=1)},
                {"emptied": Changes(truncated=True)},
            ]
            await held.go_on_to(Moment(at=ended))
            connection = await held.connect()
            assert await connection.fetchval("SELECT count(*) FROM thing") == 494
            await connection.close()
        # What is begun before the failover is a child of the timeline of that time, or its log would lead two ways.
        async with held_at(server.site, Moment(at=early)) as held:
            assert await held.promote() == 3
            history = (held.folder / "pg_wal" / "00000003.history").read_text()
            assert [line.split()[0] for line in history.splitlines() if line] == ["1"]
