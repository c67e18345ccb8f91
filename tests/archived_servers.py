"""A plain PostgreSQL server whose log and base backups are put into an archive by hand, for the tests of what reads one.

What it does to the archive is the archive's layout word for word, so that nothing but the reading side is tested with it.
"""

from __future__ import annotations

import asyncio
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec

from securecart import settings as settings_table
from securecart.engines import Home
from securecart.engines.postgres import Postgres
from securecart.engines.postgres_files import bundled
from securecart.engines.postgres_roles import DATABASE, SUPERUSER, Roles
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Beat, Site, lsn_of, segment_name
from securecart.stores.archive import open_archive

DEADLINE_S = 30


class ArchivedServer(Postgres):
    """One node that lets base backups be taken at once, and an archive that is filled when a test says so."""

    def __init__(self, home: Home) -> None:
        super().__init__(home, settings_table.load(str(home.path)))
        self.site = Site(home, self.settings, open_archive(str(home.path / "archive")))
        self._piece_from = 0

    async def connect(self, database: str = DATABASE) -> asyncpg.Connection:
        """As the superuser."""
        return await Roles(self.home).connect([self.port], database)

    async def back_up(self, parent: Base | None = None) -> Base:
        """A base backup in the archive, incremental where it has a parent."""
        archive = self.site.archive
        connection = await self.connect()
        began = await connection.fetchval("SELECT clock_timestamp()")
        label = f"{began:%Y%m%dT%H%M%S%f}Z-{'full' if parent is None else 'incr'}"
        command = [str(bundled() / "pg_basebackup"), "-d", self.address, "-D", "-", "-Ft", "-X", "none", "-c", "fast", "-N"]
        if parent is not None:
            before = self.home.run() / "parent-manifest"
            before.write_bytes(archive.read(f"base/{parent.label}/manifest"))
            command += ["-i", str(before)]
        packed = self.home.run() / "base.tar"
        with packed.open("wb") as file:
            done = await asyncio.to_thread(
                subprocess.run, command, stdout=file, stderr=subprocess.PIPE, check=False, timeout=DEADLINE_S
            )
        assert done.returncode == 0, done.stderr
        size = archive.put_file(f"base/{label}/data", packed)
        with tarfile.open(packed) as tar:
            content = tar.extractfile("backup_manifest")
            assert content is not None
            manifest = content.read()
        archive.put(f"base/{label}/manifest", manifest)
        span = msgspec.json.decode(manifest)["WAL-Ranges"][0]
        base = Base(
            label=label,
            kind="full" if parent is None else "incremental",
            parent="" if parent is None else parent.label,
            timeline=span["Timeline"],
            start_lsn=lsn_of(span["Start-LSN"]),
            stop_lsn=lsn_of(span["End-LSN"]),
            started_at=began,
            ended_at=await connection.fetchval("SELECT clock_timestamp()"),
            database_bytes=packed.stat().st_size,
            archive_bytes=size,
            source="postgres",
        )
        archive.put(f"base/{label}/about", msgspec.json.encode(base))
        await connection.close()
        return base

    async def ship(self) -> datetime:
        """Put all of the log there is into the archive, the newest segment as a piece more; then the beat."""
        connection = await self.connect()
        at: datetime = await connection.fetchval("SELECT clock_timestamp()")
        flushed = lsn_of(await connection.fetchval("SELECT pg_current_wal_flush_lsn()::text"))
        timeline = int(await connection.fetchval("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"), 16)
        await connection.close()
        folder = self.home.data(self.name) / "pg_wal"
        kept = {name.rpartition("/")[2] for name, _ in self.site.archive.names(f"wal/{timeline:08X}/")}
        for file in sorted(folder.glob(f"{timeline:08X}????????????????")):
            start = (int(file.name[8:16], 16) * 256 + int(file.name[16:], 16)) * SEGMENT_BYTES
            if start + SEGMENT_BYTES <= flushed and file.name not in kept:
                self.site.archive.put_file(f"wal/{timeline:08X}/{file.name}", file)
                pieces = [f"wal/{timeline:08X}/{name}" for name in kept if name.startswith(f"{file.name}.")]
                self.site.archive.remove(pieces)
        newest = segment_name(timeline, flushed)
        begin = flushed - flushed % SEGMENT_BYTES
        begin = self._piece_from if begin <= self._piece_from < flushed else begin
        if begin < flushed:
            content = (folder / newest).read_bytes()[begin % SEGMENT_BYTES : (flushed - 1) % SEGMENT_BYTES + 1]
            span = f"{begin % SEGMENT_BYTES:07X}-{begin % SEGMENT_BYTES + len(content):07X}"
            self.site.archive.put(f"wal/{timeline:08X}/{newest}.{span}", content)
            self._piece_from = flushed
        for history in folder.glob("*.history"):
            self.site.archive.put(f"wal/{history.name}", history.read_bytes())
        self.site.archive.put("beat", msgspec.json.encode(Beat(at, timeline, flushed)))
        return at

    async def fail_over(self) -> None:
        """Go on with a new timeline, as a standby does that takes over."""
        await self.stop()
        (self.home.data(self.name) / "standby.signal").touch()
        self._piece_from = 0
        await self.start()
        deadline = time.monotonic() + DEADLINE_S
        while await self.look(Roles(self.home).url(SUPERUSER, [self.port], "postgres")) is None:
            assert time.monotonic() < deadline, "the server does not come back"
            await asyncio.sleep(0.05)
        connection = await asyncpg.connect(self.address)
        await connection.fetchval("SELECT pg_promote()")
        await connection.close()

    @property
    def address(self) -> str:
        """As the superuser, for PostgreSQL's programs."""
        return Roles(self.home).url(SUPERUSER, [self.port], "postgres")


@asynccontextmanager
async def archived_server(folder: Path) -> AsyncIterator[ArchivedServer]:
    """A running server with an empty database `securecart`, and an empty archive beside it."""
    home = Home(folder)
    home.prepare()
    server = ArchivedServer(home)
    server.choose_port()
    await server.start()
    try:
        await server.wait_until_ready()
        connection = await server.connect()
        await connection.execute("ALTER SYSTEM SET summarize_wal = on")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        yield server
    finally:
        await server.stop()


async def now_at(server: ArchivedServer) -> datetime:
    """The server's clock."""
    connection = await server.connect()
    try:
        at: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return at
    finally:
        await connection.close()


__all__ = ["ArchivedServer", "archived_server", "now_at"]
