"""A PostgreSQL server aside on restored data: it replays the log up to a moment, waits there, and serves whoever asks.

It is a standby that has nobody to follow. It archives nothing, connects nowhere and is reached only through a Unix socket in
a folder of its own; of the configuration that came with the data it uses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
import psutil
from msgspec import Struct

from securecart.engines.postgres import CONFIGURATION
from securecart.engines.postgres_files import as_ordinary_user, clear_the_way, programs_of
from securecart.engines.postgres_roles import DATABASE, NOT_READY, SUPERUSER
from securecart.engines.process import Engine, living, stop_process
from securecart.engines.ranking import BEHIND, rank_session
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import SEGMENT_BYTES, Moment, Site, lsn_of, segment_name
from securecart.ops.recovery.programs import mortal, run_program
from securecart.ops.recovery.restoring import Restored, Tell, lay_out_more, newest_survey
from securecart.ops.recovery.waldump import Log, Place

__all__ = ["Reached", "ScratchServer", "clear_sockets", "given_of"]

STUCK_AFTER_S, HESITATES_S = 60.0, 1.0
LOOK_EVERY_S = 0.05
TELL_EVERY_S = 0.5
CONNECT_WITHIN_S, LET_IN_WITHIN_S = 5, 30.0
SOCKET_PATH_MAX = 80
PORT = 5432  # names the socket; no network port is opened
MB = 1_000_000

# A standby must allow at least what the writer of its log allowed, or it stops replaying half-way; most take what
# `pg_controldata` says of the moment of the backup, and this leaves room for what was raised since.
AT_LEAST = {
    "max_connections": 400,
    "max_worker_processes": 32,
    "max_wal_senders": 20,
    "max_prepared_xacts": 100,
    "max_locks_per_xact": 128,
}
CALLED = {"max_prepared_xacts": "max_prepared_transactions", "max_locks_per_xact": "max_locks_per_transaction"}

# What is different aside. Nothing that happens here has to outlive a power cut, unless the folder is to become the real one.
ASIDE = {
    "listen_addresses": "",
    "shared_buffers": "128MB",
    "hot_standby": "on",
    "wal_level": "replica",
    "archive_mode": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "max_logical_replication_workers": "0",
    "max_standby_archive_delay": "0",
    "idle_in_transaction_session_timeout": "0",
    "log_min_duration_statement": "-1",
    "wal_retrieve_retry_interval": "100ms",
    "autovacuum": "off",
    "logging_collector": "off",
}

# In place of the files that came with the data. Whoever may enter the folder of the socket is let in.
FILES = {"config.conf": "", "hba.conf": "local all all trust\n", "ident.conf": ""}

HOW_FAR = """
SELECT pg_last_wal_replay_lsn()::text AS lsn,
       pg_last_xact_replay_timestamp() AS at,
       coalesce((SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'), '') AS waits
"""
WAITS_FOR_MORE = "RecoveryRetrieveRetryInterval"
TOO_SMALL = "insufficient parameter settings"


class Reached(Struct, frozen=True):
    """Where a server stands: the place in its log, when the last replayed transaction ended, and whether the log ends here."""

    lsn: int
    at: datetime | None
    at_end: bool


class ScratchServer(Engine):
    """The server on one restored folder. It is given the log exactly as far as the moment, and more of it to go on."""

    name = "aside"
    stop_signal = signal.SIGINT  # "fast": whoever asks it something is not waited for
    stop_within_s = 60

    def __init__(self, site: Site, restored: Restored, *, number: int, durable: bool = False) -> None:
        super().__init__(site.home, site.settings, number=number)
        self.restored = restored
        self._site = site
        self._durable = durable
        self._sockets = Path()
        self._given = given_of(restored.folder)
        self._timeline = restored.timeline

    @property
    def wal(self) -> Log:
        """The log as far as it is here."""
        return Log(self._site, self.restored)

    async def hold_at(self, moment: Moment, tell: Tell, *, since: int = 0) -> Reached:
        """Replay up to the moment and wait there; `RecoveryRefused` when the log from `since` on does not lead to it."""
        if moment.at is not None and moment.at > self.restored.until:
            holdings = await newest_survey(self._site, moment)
            self.restored = await lay_out_more(self._site, holdings, self.restored, moment, tell)
        place = await self.wal.place_of(moment, since=since, tell=tell)
        if place.lsn < self.restored.bases[-1].stop_lsn:
            raise RecoveryRefused(
                problem=f"{moment.in_words} lies before the end of the backup {self.restored.bases[-1].label}, from which on "
                "the database is whole. Give a time before it, so that an older backup is taken."
            )
        timeline = self._timeline_at(place.lsn)
        if self._child is not None and timeline != self._timeline:  # it follows one, and goes on to its children only anew
            await self.stop()
        self._timeline = timeline
        if self._child is None:  # what a killed run left may lead further
            await asyncio.to_thread(shutil.rmtree, self._given, ignore_errors=True)
        await asyncio.to_thread(give, self.restored, self._given, place.lsn, timeline)
        if self._child is None:
            await self.start()
        else:
            await self._told("SELECT pg_wal_replay_resume()")
        reached = await self._reach(place, moment, tell)
        await self._told("SELECT pg_wal_replay_pause()")
        return reached

    async def start(self) -> None:
        """Start the server as it was told to."""
        programs = await asyncio.to_thread(programs_of, self)
        folder = self.restored.folder
        if not self._sockets.name:
            self._sockets = await asyncio.to_thread(_make_sockets, folder)
        files = self._sockets
        configuration = {
            **CONFIGURATION,
            **ASIDE,
            **await _allowed(programs, folder),
            "unix_socket_directories": str(files),
            "restore_command": f"cp {shlex.quote(str(self._given)).replace('%', '%%')}/%f %p 2>/dev/null",
            "recovery_target_timeline": str(self._timeline),
            **({} if self._durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
        }
        for name, content in FILES.items():
            (files / name).write_text(content)
        for left in ("recovery.signal", "postmaster.opts"):
            (folder / left).unlink(missing_ok=True)
        (folder / "standby.signal").touch()
        await clear_the_way(folder, files / f".s.PGSQL.{PORT}.lock")
        # What ALTER SYSTEM once wrote stands in the data folder and wins over a file, not over the command line.
        configuration |= {f"{Path(name).stem}_file": f"{files}/{name}" for name in FILES}
        given = [part for name, value in configuration.items() for part in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(folder), "-p", str(PORT), *given]
        self.spawn(as_ordinary_user(self, mortal(command)))
        if not self._durable and self._child is not None:
            rank_session(BEHIND, self._child.pid)  # shoppers go first; this server is a session of its own

    @staticmethod
    async def look(url: str) -> str | None:
        """The version of the server, or None when it does not answer."""
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_WITHIN_S)
        except NOT_READY:
            return None
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    def url(self, database: str = DATABASE) -> str:
        """Its address as the superuser; the socket's folder is closed to everybody else, so there is no password."""
        where = urlencode({"host": str(self._sockets), "port": PORT})
        return f"postgresql://{SUPERUSER}@/{quote(database)}?{where}"

    async def promote(self) -> int:
        """End recovery here; from now on it takes writes. The timeline that it begins."""
        await self._told("SELECT pg_promote(true, 120)")
        return int(await self._told("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"), 16)

    async def end(self) -> None:
        """Stop it for good; what it had for itself beside the data goes. Without a last checkpoint where nobody needs one."""
        if not self._durable and self._child is not None:
            await stop_process(living(self._child.pid), signal.SIGQUIT, self.stop_within_s)
        await self.stop()
        await asyncio.to_thread(shutil.rmtree, self._given, ignore_errors=True)
        if self._sockets.name:
            await asyncio.to_thread(clear_sockets, self.restored.folder)
            self._sockets = Path()

    def _timeline_at(self, lsn: int) -> int:
        """The timeline that this place lies on: what is begun there is a child of that one, not of a later one."""
        return next(leg.timeline for leg in self.restored.legs if leg.end is None or lsn <= leg.end)

    async def connect(self, database: str, settings: Mapping[str, str] | None = None) -> asyncpg.Connection:
        """A connection, which the caller closes; `RecoveryRefused` when it lets nobody in."""
        try:
            return await asyncpg.connect(self.url(database), timeout=LET_IN_WITHIN_S, server_settings=dict(settings or {}))
        except TimeoutError as late:
            raise RecoveryRefused(
                problem=f"The server aside let nobody in for {LET_IN_WITHIN_S:.0f} s. A transaction that was under way at the "
                "moment it is held at may have a table locked that every connection needs: repeat the command, or name a moment "
                "a second before or after. Nothing was changed."
            ) from late

    async def _told(self, statement: str) -> Any:
        connection = await self.connect("postgres")
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def _reach(self, place: Place, moment: Moment, tell: Tell) -> Reached:
        connection: asyncpg.Connection | None = None
        progress, moved_at, told_at = "", time.monotonic(), 0.0
        try:
            while True:
                if self.died():
                    raise self.failure()
                if connection is None:
                    with contextlib.suppress(*NOT_READY):
                        connection = await asyncpg.connect(self.url("postgres"), timeout=CONNECT_WITHIN_S)
                row = await self._asked(connection)
                if row is None:
                    connection = None
                elif row["waits"] == WAITS_FOR_MORE and lsn_of(row["lsn"]) > place.last:
                    return Reached(lsn_of(row["lsn"]), row["at"], at_end=place.at_end)
                now, seen = time.monotonic(), row["lsn"] if row is not None else self._replays_file()
                if seen != progress:
                    progress, moved_at = seen, now
                self._see_that_it_moves(now - moved_at, progress, moment)
                if now - told_at > TELL_EVERY_S:
                    told_at = now
                    tell(f"Replaying the log: {self._distance(row, place)}")
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            if connection is not None:
                connection.terminate()

    async def _asked(self, connection: asyncpg.Connection | None) -> asyncpg.Record | None:
        """How far it is; None, and no connection any more, while it does not say."""
        if connection is None:
            return None
        try:
            return await connection.fetchrow(HOW_FAR, timeout=CONNECT_WITHIN_S)
        except NOT_READY:
            connection.terminate()
            return None

    def _see_that_it_moves(self, still_s: float, progress: str, moment: Moment) -> None:
        """`RecoveryRefused` for a server that stopped half-way, or has not come further for long."""
        why = self._said(TOO_SMALL) if still_s > HESITATES_S else None
        if why is not None or still_s > STUCK_AFTER_S:
            raise RecoveryRefused(
                problem=f"The server aside does not come further than {progress or 'its start'} on the way to "
                f"{moment.in_words}{f': {why}' if why else ''}. Its log is {self.log}."
            )

    def _said(self, words: str) -> str | None:
        """The last line of its log since this start that has these words in it."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            lines = log.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if words in line), None)

    def _distance(self, row: asyncpg.Record | None, place: Place) -> str:
        first, last = self.restored.start_lsn, place.lsn
        if row is None or row["lsn"] is None:
            return self._replays_file() or "begins"
        at = f", {row['at']:%Y-%m-%d %H:%M:%S} UTC" if row["at"] is not None else ""
        return f"{(lsn_of(row['lsn']) - first) / MB:,.0f} of {(last - first) / MB:,.0f} MB{at}"

    def _replays_file(self) -> str:
        """Which file of the log the server works on, as long as it answers nobody."""
        with contextlib.suppress(psutil.Error):
            assert self._child is not None
            for child in psutil.Process(self._child.pid).children():
                told = re.search(r"(?:recovering|waiting for) ([0-9A-F]{24})", " ".join(child.cmdline()))
                if told is not None:
                    return told[1]
        return ""


def given_of(folder: Path) -> Path:
    """The folder from which the server of this data takes its log."""
    return folder.with_name(f"{folder.name}.given")


def give(restored: Restored, given: Path, until: int, timeline: int) -> None:
    """Give the server the log exactly up to a place: links to whole segments, and a copy of the last one cut off there.

    A segment in which a later timeline begins is kept under that one's name; up to there it is the parent's too, and is given
    under the parent's name to a server that follows `timeline`. A server that has come to its end looks again and again for
    more, so the same segment may be given with more in it.
    """
    given.mkdir(mode=0o700, exist_ok=True)
    for history in restored.log.glob("*.history"):
        if not (given / history.name).exists():
            (given / history.name).symlink_to(history)
    for segment in restored.segments:
        later = int(segment.name[:8], 16) > timeline
        name = segment_name(timeline, segment.start) if later else segment.name
        file, there, beside = restored.log / segment.name, given / name, given / f".{name}"
        if segment.start + SEGMENT_BYTES <= until:
            if not there.is_symlink():
                beside.symlink_to(file)
                beside.replace(there)
        elif segment.start < until:
            with file.open("rb") as whole:
                content = whole.read(until - segment.start)
            beside.write_bytes(content + bytes(SEGMENT_BYTES - len(content)))
            beside.replace(there)


async def _allowed(programs: Path, folder: Path) -> dict[str, str]:
    """What the server must allow at least, to replay what a writer did that allowed as much."""
    told = await run_program([programs / "pg_controldata", folder], what="what the database allowed")
    had = {name: int(value) for name, value in re.findall(r"^(\w+) setting:\s+(\d+)$", told, re.MULTILINE)}
    return {CALLED.get(name, name): str(max(least, had.get(name, 0))) for name, least in AT_LEAST.items()}


def sockets_of(folder: Path) -> Path:
    """Where the folder with the socket of this data's server is, or a link to it."""
    return folder.with_name(f"{folder.name}.run")


def clear_sockets(folder: Path) -> None:
    """Remove it, wherever it is."""
    near = sockets_of(folder)
    if near.is_symlink():
        shutil.rmtree(near.readlink(), ignore_errors=True)
        near.unlink()
    shutil.rmtree(near, ignore_errors=True)


def _make_sockets(folder: Path) -> Path:
    """A folder for the server's socket that nobody else may enter; elsewhere where the path would be too long for one."""
    clear_sockets(folder)
    near = sockets_of(folder)
    if len(str(near)) > SOCKET_PATH_MAX:
        elsewhere = Path(tempfile.mkdtemp(prefix="securecart-aside-", dir="/tmp"))
        near.symlink_to(elsewhere)
        return elsewhere
    near.mkdir(mode=0o700)
    return near
