"""A PostgreSQL server aside on restored data: it replays the log up to a moment, waits there, and serves whoever asks.

It is a standby that has nobody to follow. It archives nothing, connects nowhere and is reached only through a Unix socket in
a folder of its own; of the configuration that came with the data it uses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import tempfile
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import asyncpg
import psutil
from msgspec import Struct

from securecart.engines import Home
from securecart.engines.postgres import CONFIGURATION
from securecart.engines.postgres_files import as_ordinary_user, clear_the_way, programs_of
from securecart.engines.postgres_roles import DATABASE, NOT_READY, SUPERUSER
from securecart.engines.process import Engine, stop_process
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import SEGMENT_BYTES, Moment, lsn_in_words, lsn_of
from securecart.ops.recovery.programs import mortal, run_program
from securecart.ops.recovery.restoring import Restored, Tell
from securecart.settings import Settings

__all__ = ["Reached", "ScratchServer"]

STUCK_AFTER_S = 60.0
LOOK_EVERY_S = 0.05
TELL_EVERY_S = 0.5
CONNECT_WITHIN_S = 5
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
    "max_standby_archive_delay": "-1",
    "max_standby_streaming_delay": "-1",
    "idle_in_transaction_session_timeout": "0",
    "log_min_duration_statement": "-1",
    "wal_retrieve_retry_interval": "500ms",
    "recovery_target_action": "pause",
    "autovacuum": "off",
    "logging_collector": "off",
}

HOW_FAR = """
SELECT pg_is_in_recovery() AS replays,
       pg_get_wal_replay_pause_state() = 'paused' AS paused,
       pg_last_wal_replay_lsn()::text AS lsn,
       pg_last_xact_replay_timestamp() AS at,
       coalesce((SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'), '') AS waits
"""
WAITS_FOR_MORE = "RecoveryRetrieveRetryInterval"
TOO_SMALL = "insufficient parameter settings"


class Reached(Struct, frozen=True):
    """Where a server stands: the place in its log, when the last replayed transaction committed, and whether the log ended."""

    lsn: int
    at: datetime | None
    at_end: bool


class ScratchServer(Engine):
    """The server on one restored folder; `folder` is the data, `aside` holds its socket and files of ours."""

    name = "aside"
    stop_signal = signal.SIGINT
    stop_within_s = 60

    def __init__(self, home: Home, settings: Settings, restored: Restored, *, number: int, durable: bool = False) -> None:
        super().__init__(home, settings, number=number)
        self.restored = restored
        self._durable = durable
        self._sockets = Path()
        self._moment = Moment()
        self._hold_at: dict[str, str] = {}
        self._log_ended = False

    async def hold_at(self, moment: Moment, tell: Tell) -> Reached:
        """Start, replay up to the moment, wait there; `RecoveryRefused` when the log does not lead to it."""
        self._moment = moment
        self._hold_at = target_of(moment)
        await self.start()
        reached = await self._reach(tell)
        self._log_ended = reached.at_end
        return reached

    async def start(self) -> None:
        """Start the server as it was told to."""
        programs = await asyncio.to_thread(programs_of, self)
        folder = self.restored.folder
        if not self._sockets.name:
            self._sockets = _sockets_near(folder)
        files = self._sockets
        configuration = {
            **CONFIGURATION,
            **ASIDE,
            **await _allowed(programs, folder),
            "unix_socket_directories": str(files),
            "restore_command": f'cp "{self.restored.log}/%f" "%p" 2>/dev/null',
            "recovery_target_timeline": str(self.restored.timeline),
            **({} if self._durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
            **self._hold_at,
        }
        (files / "scratch.conf").write_text("".join(f"{name} = {_quoted(value)}\n" for name, value in configuration.items()))
        (files / "hba.conf").write_text("local all all trust\n")  # whoever may enter the folder of the socket
        (files / "ident.conf").write_text("")
        for left in ("recovery.signal", "postmaster.opts"):
            (folder / left).unlink(missing_ok=True)
        (folder / "standby.signal").touch()
        await clear_the_way(folder, files / f".s.PGSQL.{PORT}.lock")
        # What ALTER SYSTEM once wrote stands in the data folder and wins over a file, not over the command line.
        given = [part for name, value in configuration.items() for part in ("-c", f"{name}={value}")]
        given += [
            "-c", f"config_file={files}/scratch.conf", "-c", f"hba_file={files}/hba.conf", "-c", f"ident_file={files}/ident.conf",
        ]  # fmt: skip
        command = [str(programs / "postgres"), "-D", str(folder), "-p", str(PORT), *given]
        self.spawn(as_ordinary_user(self, mortal(command)))

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

    async def pause(self) -> None:
        """Stop it so that it can go on from where it is, or little before; at once, for a server that holds takes a second."""
        with contextlib.suppress(*NOT_READY):
            connection = await asyncpg.connect(self.url("postgres"), timeout=CONNECT_WITHIN_S)
            try:
                await connection.execute("CHECKPOINT")
            finally:
                connection.terminate()
        if self._child is not None:
            await stop_process(self._child.pid, None, signal.SIGQUIT, self.stop_within_s)
        await self.stop()

    async def promote(self) -> int:
        """End recovery here; from now on it takes writes. The timeline that it begins.

        A server that waits for a transaction later than its log's end refuses that, so it is started anew without a target.
        """
        if self._log_ended:
            await self.pause()
            self._hold_at, self._log_ended = {}, False
            await self.start()
            await self._reach(lambda _: None)
        connection = await asyncpg.connect(self.url("postgres"), timeout=CONNECT_WITHIN_S)
        try:
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                await connection.fetchval("SELECT pg_promote(true, 120)", timeout=130)
            return int(await connection.fetchval("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"), 16)
        finally:
            await connection.close()

    async def end(self) -> None:
        """Stop it for good; what it had for itself beside the data goes. Without a last checkpoint where nobody needs one."""
        if not self._durable and self._child is not None:
            await stop_process(self._child.pid, None, signal.SIGQUIT, self.stop_within_s)
        await self.stop()
        if self._sockets.name:
            await asyncio.to_thread(shutil.rmtree, self._sockets, ignore_errors=True)
            self._sockets = Path()

    async def _reach(self, tell: Tell) -> Reached:
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
                if row is not None and (row["paused"] or row["waits"] == WAITS_FOR_MORE):
                    return self._arrived(row)
                now, seen = time.monotonic(), row["lsn"] if row is not None else self._replays_file()
                if seen != progress:
                    progress, moved_at = seen, now
                if now - moved_at > STUCK_AFTER_S:
                    raise RecoveryRefused(
                        problem=f"The server aside has not come further for {STUCK_AFTER_S:.0f} seconds on the way to "
                        f"{self._moment.in_words} (it stands at {progress or 'nothing'}). Its log is {self.log}."
                    )
                if now - told_at > TELL_EVERY_S:
                    told_at = now
                    tell(f"Replaying the log: {self._distance(row)}")
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            if connection is not None:
                connection.terminate()

    async def _asked(self, connection: asyncpg.Connection | None) -> asyncpg.Record | None:
        with contextlib.suppress(*NOT_READY):
            return None if connection is None else await connection.fetchrow(HOW_FAR)
        return None

    def _arrived(self, row: asyncpg.Record) -> Reached:
        reached = Reached(lsn_of(row["lsn"]), row["at"], at_end=not row["paused"])
        if row["paused"]:
            if (why := self._said(TOO_SMALL)) is not None:
                raise RecoveryRefused(problem=f"The server aside stopped half-way: {why}. Its log is {self.log}.")
            return reached
        if self.restored.end_lsn - reached.lsn > SEGMENT_BYTES:
            raise RecoveryRefused(
                problem=f"The log in the archive cannot be read beyond {lsn_in_words(reached.lsn)}, and it should go on to "
                f"{lsn_in_words(self.restored.end_lsn)}; {self._moment.in_words} cannot be reached. The log of the server aside "
                f"is {self.log}."
            )
        if self._moment.xid is not None:
            raise RecoveryRefused(
                problem=f"Transaction {self._moment.xid} neither commits nor aborts in the log from the backup "
                f"{self.restored.bases[-1].label} on. `securecart recover preview --at TIME` shows which ones did."
            )
        return reached

    def _said(self, words: str) -> str | None:
        """The last line of its log since this start that has these words in it."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            lines = log.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if words in line), None)

    def _distance(self, row: asyncpg.Record | None) -> str:
        first, last = self.restored.start_lsn, self.restored.end_lsn
        if row is None or row["lsn"] is None:
            return self._replays_file() or "begins"
        at = f", {row['at']:%Y-%m-%d %H:%M:%S} UTC" if row["at"] is not None else ""
        return f"{(lsn_of(row['lsn']) - first) / MB:,.0f} of at most {(last - first) / MB:,.0f} MB{at}"

    def _replays_file(self) -> str:
        """Which file of the log the server works on, as long as it answers nobody."""
        with contextlib.suppress(psutil.Error):
            assert self._child is not None
            for child in psutil.Process(self._child.pid).children():
                told = re.search(r"(?:recovering|waiting for) ([0-9A-F]{24})", " ".join(child.cmdline()))
                if told is not None:
                    return told[1]
        return ""


def target_of(moment: Moment) -> dict[str, str]:
    """How PostgreSQL is told where to hold."""
    if moment.at is not None:
        return {"recovery_target_time": moment.at.isoformat(), "recovery_target_inclusive": "on"}
    assert moment.xid is not None
    inclusive = "off" if moment.before else "on"
    return {"recovery_target_xid": str(moment.xid % 2**32), "recovery_target_inclusive": inclusive}


async def _allowed(programs: Path, folder: Path) -> dict[str, str]:
    """What the server must allow at least, to replay what a writer did that allowed as much."""
    told = await run_program([programs / "pg_controldata", folder], what="what the database allowed")
    had = {name: int(value) for name, value in re.findall(r"^(\w+) setting:\s+(\d+)$", told, re.MULTILINE)}
    return {CALLED.get(name, name): str(max(least, had.get(name, 0))) for name, least in AT_LEAST.items()}


def _sockets_near(folder: Path) -> Path:
    """A folder for the server's socket that nobody else may enter; elsewhere where the path would be too long for one."""
    near = folder.with_name(f"{folder.name}.run")
    if len(str(near)) > SOCKET_PATH_MAX:
        return Path(tempfile.mkdtemp(prefix="securecart-aside-", dir="/tmp"))  # short, and made for us alone
    shutil.rmtree(near, ignore_errors=True)
    near.mkdir(mode=0o700)
    return near


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
