"""The archiver under bad luck: killed, cut off from its archive or its database, too late for the log. Nothing is passed over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from securecart.engines.postgres_roles import ARCHIVER
from tests.archiving import Archived, archived_database
from tests.integration.test_backups import backup

TMPFS = "4m"
OLDEST = "SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"


@pytest.fixture(scope="module")
async def archived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Archived]:
    async with archived_database(tmp_path_factory.mktemp("unlucky")) as running:
        await running.run("CREATE TABLE thing (id serial, pad text)")
        await backup(running)
        yield running


class Buying:
    """Rows that are put in one after the other, and when each was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[int, datetime]] = []


@asynccontextmanager
async def buying(archived: Archived) -> AsyncIterator[Buying]:
    """Somebody who puts in rows all the time, as long as the database is there."""
    bought = Buying()

    async def buy() -> None:
        connection = await archived.connect()
        statement = "INSERT INTO thing (pad) VALUES (repeat('x', 200)) RETURNING id, clock_timestamp()"
        try:
            while True:
                row = await connection.fetchrow(statement)
                assert row is not None
                bought.acknowledged.append((row[0], row[1]))
        finally:
            connection.terminate()

    task = asyncio.create_task(buy())
    try:
        yield bought
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def system(*command: str) -> int:
    """Run a program: its exit code."""
    child = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    return await child.wait()


async def test_when_the_database_is_lost_at_most_a_second_is_lost_with_it(archived: Archived) -> None:
    await archived.run("TRUNCATE thing RESTART IDENTITY")
    async with buying(archived) as bought:
        await asyncio.sleep(2.5)
        await archived.lose_database()
        last, at = bought.acknowledged[-1]
    try:
        await archived.until(lambda standing: not standing.receives and "orders database" in standing.problem, "it is seen")
        holdings = await archived.holdings()
        assert holdings.beat is not None
        assert (at - holdings.beat.at).total_seconds() < 1
        found, count = await archived.restored("SELECT coalesce(max(id), 0) FROM thing UNION ALL SELECT count(*) FROM thing")
        newest = dict(bought.acknowledged)[min(found, last)]
        assert (at - newest).total_seconds() < 1
        assert count == found
    finally:
        archived.home.release("postgres")
    await archived.caught_up()
    assert (await archived.holdings()).gaps == ()


async def test_whoever_is_killed_goes_on_where_it_was(archived: Archived) -> None:
    await archived.caught_up()
    async with buying(archived):
        receiver = archived.receiver()
        assert receiver is not None
        receiver.kill()
        await asyncio.sleep(0.5)
        archiver = archived.process("archiver")
        archiver.kill()
        await asyncio.sleep(0.2)
        await archived.until(lambda standing: standing.receives, "it receives again")
        assert archived.process("archiver").pid != archiver.pid
    await archived.caught_up()
    ours = [one for one in psutil.process_iter(["name", "cmdline"]) if one.info["name"] == "pg_receivewal"]
    assert len([one for one in ours if str(archived.home.path) in " ".join(one.info["cmdline"] or [])]) == 1
    assert (await archived.holdings()).gaps == ()


async def test_an_archive_that_is_away_is_waited_for_and_the_shop_is_not(archived: Archived) -> None:
    archive, away = archived.home.path / "archive", archived.home.path / "unmounted"
    archive.rename(away)
    async with buying(archived) as bought:
        await archived.until(lambda standing: "is gone" in standing.problem, "it is said")
        before = len(bought.acknowledged)
        await asyncio.sleep(0.5)
        assert len(bought.acknowledged) > before
        await archived.as_superuser("SELECT pg_switch_wal()")
        await asyncio.sleep(0.5)
        away.rename(archive)
        await archived.until(lambda standing: not standing.problem, "it is back")
    await archived.caught_up()
    assert (await archived.holdings()).gaps == ()


async def test_an_archive_that_should_be_there_and_is_empty_is_not_begun_anew(archived: Archived) -> None:
    archive, away = archived.home.path / "archive", archived.home.path / "unmounted"
    archive.rename(away)
    archived.process("archiver").kill()
    await archived.until(lambda standing: "is its disk mounted?" in standing.problem, "it is said")
    assert await system("rm", "-rf", str(archive)) == 0
    away.rename(archive)
    await archived.until(lambda standing: standing.beat_age_seconds is not None and not standing.problem, "it is back")
    assert (await archived.holdings()).gaps == ()


async def test_log_that_the_server_no_longer_had_is_a_gap_and_a_full_base_follows(archived: Archived) -> None:
    await archived.caught_up()
    bases = len((await archived.holdings()).bases)
    needed = await archived.as_superuser("SELECT pg_walfile_name(pg_current_wal_lsn())")
    archived.home.hold("archiver")
    archived.process("archiver").kill()
    deadline = time.monotonic() + 10
    while await archived.standing() is not None:
        assert time.monotonic() < deadline
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "pg_receivewal" and str(archived.home.path) in " ".join(process.info["cmdline"] or []):
            process.kill()
    dropped = f"SELECT pg_drop_replication_slot('{ARCHIVER}')"
    while True:
        try:
            await archived.as_superuser(dropped)
            break
        except Exception:  # noqa: BLE001 - its stream is just ending
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    await archived.run("INSERT INTO thing (pad) VALUES ('lost for going back')")
    while await archived.as_superuser(OLDEST) <= needed:  # it keeps what it has not summarized yet
        await archived.as_superuser("SELECT pg_switch_wal()")
        await archived.as_superuser("CHECKPOINT")
        await asyncio.sleep(0.2)
    await archived.run("INSERT INTO thing (pad) VALUES ('kept')")
    archived.home.release("archiver")
    await archived.until(lambda standing: standing.gaps == 1 and standing.bases > bases, "a gap, and a base")
    await archived.until(lambda standing: not standing.problem, "the log of the new base is in the archive too")
    await archived.caught_up()
    holdings = await archived.holdings()
    (gap,) = holdings.gaps
    assert gap.end > gap.start
    assert len(holdings.windows) == 2
    assert max(holdings.bases, key=lambda base: base.ended_at).kind == "full"
    assert await archived.restored("SELECT count(*) FROM thing WHERE pad = 'kept'") == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
async def test_a_full_archive_is_said_and_the_shop_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if await system("mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "tmpfs", str(disk)):
        pytest.skip("this system lets nobody mount a small disk")
    try:
        async with archived_database(tmp_path / "home", archive=str(disk / "archive")) as archived:
            await archived.run("CREATE TABLE thing AS SELECT id, md5(id::text) AS pad FROM generate_series(1, 150000) AS id")
            await archived.until(lambda standing: "no room left" in standing.problem, "it is said")
            await archived.run("INSERT INTO thing VALUES (0, 'sold all the same')")
            assert await system("mount", "-o", "remount,size=64m", str(disk)) == 0
            await archived.until(lambda standing: not standing.problem, "it goes on")
            await archived.caught_up()
            assert (await archived.holdings()).gaps == ()
    finally:
        assert await system("umount", "-l", str(disk)) == 0
