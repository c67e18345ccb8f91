"""The database's log goes into the archive as it is written, base backups with it, and both make the database again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from securecart import settings as settings_table
from securecart.cli.backup_now import base_at_once
from securecart.engines.archiver import Archiver
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.ending import ending_of
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Moment, lsn_of
from securecart.ops.recovery.programs import programs_for, run_program
from securecart.ops.recovery.segments import segment_of
from securecart.ops.recovery.standing import KEY
from tests.archiving import Archived, archived_database


@pytest.fixture(scope="module")
async def archived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Archived]:
    async with archived_database(tmp_path_factory.mktemp("archived")) as running:
        await running.run("CREATE TABLE thing (id int, pad text)")
        yield running


async def backup(archived: Archived, *, full: bool = False) -> tuple[Base, list[str]]:
    said: list[str] = []
    return await base_at_once(settings_table.load(str(archived.home.path)), said.append, full=full), said


async def test_what_is_committed_is_in_the_archive_within_a_second(archived: Archived) -> None:
    await archived.caught_up()
    waited = []
    for number in range(5):
        await archived.run(f"INSERT INTO thing SELECT {number}, repeat('x', 100)")
        began = time.monotonic()
        await archived.caught_up()
        waited.append(time.monotonic() - began)
    assert min(waited) < 1, waited  # each of them, on a machine that does nothing else
    holdings = await archived.holdings()
    assert holdings.gaps == ()
    assert holdings.beat is not None
    assert holdings.pieces[-1].end >= holdings.beat.lsn


async def test_whole_segments_take_the_place_of_their_pieces(archived: Archived) -> None:
    await archived.caught_up()
    before = await archived.as_superuser("SELECT pg_walfile_name(pg_switch_wal())")
    await archived.run("INSERT INTO thing VALUES (100, '')")
    await archived.caught_up()
    await asyncio.sleep(0.5)
    names = [piece.name for piece in (await archived.holdings()).pieces if before in piece.name]
    assert names == [f"wal/00000001/{before}"]
    waiting = list((archived.home.data("archiver") / "receiving").iterdir())
    assert len([file for file in waiting if segment_of(file.name)]) <= 2


async def test_bases_are_taken_at_once_and_lead_back_with_the_log(archived: Archived) -> None:
    await archived.run("TRUNCATE thing", "INSERT INTO thing SELECT id, 'a' FROM generate_series(1, 1000) AS id")
    full, said = await backup(archived, full=True)
    assert full.kind == "full"
    assert any("Verifying" in one for one in said)
    assert 0 < full.archive_bytes < full.database_bytes
    await archived.run("INSERT INTO thing SELECT id, 'b' FROM generate_series(1001, 1010) AS id")
    incremental, said = await backup(archived)
    assert (incremental.kind, incremental.parent) == ("incremental", full.label), said
    assert incremental.archive_bytes < full.archive_bytes / 4
    assert incremental.next_xid > full.next_xid > 0
    await archived.run("INSERT INTO thing VALUES (1011, 'c')")
    beat = await archived.caught_up()
    await archived.run("DELETE FROM thing")
    await archived.caught_up()
    count = "SELECT count(*) FROM thing"
    assert await archived.restored(count, Moment(at=beat.at)) == [1011]
    assert await archived.restored(count) == [0]
    assert not (archived.home.data("archiver") / "staging").exists()


async def test_only_who_knows_the_homes_key_has_a_backup_taken(archived: Archived) -> None:
    loaded = settings_table.load(str(archived.home.path))
    secret = archived.home.settings()["internal_secret"]
    archived.home.remember({"internal_secret": "another"})
    try:
        with pytest.raises(RecoveryRefused, match="key"):
            await base_at_once(loaded, lambda _: None, full=False)
    finally:
        archived.home.remember({"internal_secret": secret})
    assert KEY.startswith("X-")


async def test_what_a_base_left_that_was_never_finished_goes_with_the_next(archived: Archived) -> None:
    archive = archived.site.archive
    await asyncio.to_thread(archive.put, "base/20200101T000000Z-full/data", b"half")
    staging = archived.home.data("archiver") / "staging"
    staging.mkdir(exist_ok=True)
    (staging / "half").write_bytes(b"")
    await backup(archived)
    assert not [name for name, _ in archive.names("base/2020")]
    assert not staging.exists()


async def test_status_and_metrics_tell_how_far_behind_it_is(archived: Archived) -> None:
    url = str(archived.home.settings()["archiver_url"])
    assert await Archiver.look(url) == ""
    assert "s behind" in await Archiver.describe(url)
    standing = await archived.standing()
    assert standing is not None
    assert standing.receives
    assert standing.beat_age_seconds is not None
    assert (standing.gaps, standing.problem) == (0, "")


async def test_no_password_stands_in_a_command_line(archived: Archived) -> None:
    receiver = archived.receiver()
    assert receiver is not None
    secrets = [str(value) for name, value in archived.home.settings().items() if name.endswith(("_password", "_secret"))]
    assert len(secrets) > 3
    assert not any(secret in " ".join(receiver.cmdline()) for secret in secrets)
    assert (archived.home.run() / "archiver.pgpass").stat().st_mode & 0o077 == 0


async def test_the_end_of_log_that_broke_off_is_found_as_postgresql_would(archived: Archived) -> None:
    await archived.run("INSERT INTO thing SELECT id, repeat('y', id) FROM generate_series(1, 1500) AS id", "DELETE FROM thing")
    name, end = (await archived.as_superuser("SELECT (pg_walfile_name(pg_current_wal_lsn()), pg_current_wal_lsn()::text)"))[:2]
    folder = archived.home.data("postgres") / "pg_wal"
    found = segment_of(name)
    assert found is not None
    segment, content = found[0], (folder / name).read_bytes()
    printed = await run_program([programs_for(archived.site) / "pg_waldump", "--path", folder, "--end", end, name], what="a test")
    begins = [lsn_of(line.split("lsn: ")[1].split(",")[0]) - segment.start for line in printed.splitlines() if "lsn: " in line]
    ends = [*begins[1:], lsn_of(end) - segment.start]
    assert ending_of(content, segment.start, 0).offset == ends[-1]
    assert ending_of(content, segment.start, ends[-1]).offset == ends[-1]
    for cut in random.Random(5).sample(range(max(0, ends[-1] - 300_000), ends[-1]), 12):
        known = random.Random(cut).randrange(max(1, cut - 20_000), cut)
        ending = ending_of(content[:cut] + bytes(SEGMENT_BYTES - cut), segment.start, known)
        whole = max((one for one in ends if one <= cut), default=0)
        torn_to_zeros = not any(content[cut : min((one for one in ends if one > cut), default=cut)])
        assert ending.offset == max(known, whole) or torn_to_zeros, (cut, known)


async def test_a_commit_waits_for_the_archiver_where_it_should(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with archived_database(tmp_path_factory.mktemp("waiting"), archive_synchronous=True) as archived:
        await archived.run("CREATE TABLE thing (id int)", "INSERT INTO thing VALUES (1)")
        base, _ = await backup(archived)
        assert base.kind == "full"
        receiver = archived.receiver()
        assert receiver is not None
        receiver.suspend()
        connection = await archived.connect()
        committing = asyncio.create_task(connection.execute("INSERT INTO thing VALUES (2)"))
        await asyncio.sleep(1)
        assert not committing.done()
        receiver.resume()
        await asyncio.wait_for(committing, 10)
        acknowledged = 2
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            acknowledged += 1
            await connection.execute(f"INSERT INTO thing VALUES ({acknowledged})")
        connection.terminate()
        await archived.lose_database()
        await archived.until(lambda standing: not standing.receives and "orders database" in standing.problem, "it is seen")
        assert await archived.restored("SELECT max(id) FROM thing") == [acknowledged]
        archived.home.release("postgres")
