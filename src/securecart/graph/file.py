"""The database's file: opened by this process alone, its tables declared, statements run on it."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import ladybug

from securecart.graph.gate import Gate
from securecart.graph.statement import with_literals
from securecart.telemetry import log

__all__ = ["VERSION", "File"]

NAME = "graph.lbug"
# Address space that is set aside, not memory; LadybugDB takes 8 TB otherwise, which not every system gives.
ADDRESSES = 64 * 2**30
MB = 2**20
# The part of its memory, beyond what plans and tables take anyhow, that changes may take before they are brought into the file.
RESERVED_MB = 24
GROWN_SHARE = 0.45
CHECKPOINT_MS = 60_000
FULL = "buffer pool is full"
CHANGE_BYTES = 16 * 2**10
CHANGES_COUNTED_MAX = 32
# What changes something returns nothing, and costs less.
WRITERS_PARTS_MAX = 64
# Nobody is answered for a second or more while the log is brought into the file, whatever is in it.
LOG_MB_MAX = 256
Pieces = Sequence[tuple[str, Mapping[str, Any]]]
Found = tuple[list[str], list[Any]]
VERSION: str = ladybug.Database.get_version()


class File:
    """One database and as many connections as statements may run at once. All of it is called from threads."""

    def __init__(self, folder: Path, *, connections: int, memory_mb: int) -> None:
        self._database = _opened(folder / NAME, memory_mb)
        self._log = folder / f"{NAME}.wal"
        self._gate = Gate()
        self._may_grow = max(1, memory_mb - RESERVED_MB) * MB * GROWN_SHARE
        self._grown = 0.0
        self._all = [_Connection(self._database, parts_max=memory_mb // connections) for _ in range(connections)]
        self._free = deque(self._all)
        self._writer = _Connection(self._database, parts_max=WRITERS_PARTS_MAX)
        for statement in _schema():
            self._all[0].execute(statement)

    def run(self, pieces: Pieces, timeout_ms: int) -> Found:
        """The columns and rows of a statement that reads, which is ended when it takes too long; LadybugDB's own errors."""
        connection = self._free.popleft()
        try:
            with self._gate.together():
                return connection.run(*pieces[0], timeout_ms)
        finally:
            self._free.append(connection)

    def change(self, pieces: Pieces, timeout_ms: int) -> Found:
        """The same for one that changes something, undone when it fails; one at a time.

        LadybugDB keeps what was changed in memory until it brings its log into the file, and only looks at how long the log
        is. Many small changes fill the memory long before, and then nothing can be read any more: so this looks at the memory.
        """
        try:
            return self._change(pieces, timeout_ms)
        except RuntimeError as problem:
            if FULL not in str(problem):
                raise
            self._checkpoint()  # nothing was changed, and now there is room
            return self._change(pieces, timeout_ms)

    def _change(self, pieces: Pieces, timeout_ms: int) -> Found:
        before = self._used()
        try:
            return self._together(pieces, timeout_ms)
        finally:
            # where the memory was full of what can be read again from the file, it does not grow
            self._grown += max(self._used() - before, sum(map(_kept_bytes, pieces)))
            if self._grown > self._may_grow or self._log_bytes() > LOG_MB_MAX * MB:
                self._checkpoint()

    def _together(self, pieces: Pieces, timeout_ms: int) -> Found:
        """One transaction, which has the time that is given for all of it."""
        connection, until = self._writer, time.monotonic() + timeout_ms / 1_000
        connection.run("BEGIN TRANSACTION", {}, timeout_ms)
        try:
            for text, parameters in pieces:
                left_ms = int((until - time.monotonic()) * 1_000)
                if left_ms < 1:
                    raise RuntimeError("Interrupted.")  # noqa: TRY301 - LadybugDB's own word, had it looked at the clock itself
                found = connection.run(text, parameters, left_ms)
            with self._gate.alone():
                connection.run("COMMIT", {}, timeout_ms)
        except BaseException:
            with contextlib.suppress(RuntimeError):  # some errors have ended it already
                connection.run("ROLLBACK", {}, timeout_ms)
            raise
        return found

    def _checkpoint(self) -> None:
        began = time.monotonic()
        try:
            with self._gate.alone():
                self._writer.run("CHECKPOINT", {}, CHECKPOINT_MS)
        except RuntimeError as problem:  # such as that somebody reads for longer than it waits: after the next change
            log.warning("the log could not be brought into the file", problem=str(problem))
        else:
            self._grown = 0.0
            log.info("the log was brought into the file", seconds=round(time.monotonic() - began, 3))

    def _log_bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def _used(self) -> int:
        return int(self._writer.run("CALL bm_info() RETURN *", {}, CHECKPOINT_MS)[1][0][1])

    def interrupt(self) -> None:
        """End what runs."""
        for connection in (*self._all, self._writer):
            connection.interrupt()

    def close(self) -> None:
        """Bring the log into the file and close it; nothing may run any more."""
        with contextlib.suppress(RuntimeError):  # the log is as good
            self._all[0].execute("CHECKPOINT")
        for connection in (*self._all, self._writer):
            connection.close()
        self._database.close()


def _kept_bytes(piece: tuple[str, Mapping[str, Any]]) -> int:
    """About what LadybugDB keeps of the nodes that this changes: it grows with their number, and then less."""
    text, parameters = piece
    rows = max((len(value) for value in parameters.values() if isinstance(value, list)), default=1)
    return CHANGE_BYTES * text.count("SET ") * min(rows, CHANGES_COUNTED_MAX)


class _Connection(ladybug.Connection):
    """One that plans only so many statements and takes the parameters of others into their text.

    LadybugDB keeps each plan with parameters that it made, and a quarter of a megabyte for each part of it, until it is closed.
    All connections together keep at most about a quarter of the memory.
    """

    def __init__(self, database: ladybug.Database, *, parts_max: int) -> None:
        super().__init__(database, num_threads=1)
        self._planned: set[str] = set()
        self._parts_left = parts_max

    def run(self, text: str, parameters: Mapping[str, Any], timeout_ms: int) -> Found:
        """The columns and rows of one statement."""
        self.set_query_timeout(timeout_ms)
        if parameters and text not in self._planned:
            parts = 1 + text.count("UNION")
            if parts > self._parts_left:
                text, parameters = with_literals(text, parameters), {}
            else:
                self._planned.add(text)
                self._parts_left -= parts
        found = self.execute(text, dict(parameters))
        result = found[-1] if isinstance(found, list) else found
        try:
            return result.get_column_names(), result.get_all()
        finally:
            result.close()


def _opened(path: Path, memory_mb: int) -> ladybug.Database:
    """The database; a log whose last entry was cut off by a crash is read as far as it is whole.

    What was cut off was not acknowledged: that happens only after the entry is written.
    """
    settings: dict[str, Any] = {
        "auto_checkpoint": False,  # begun by us, when nobody reads
        "buffer_pool_size": memory_mb * MB,
        "max_num_threads": os.cpu_count() or 1,
        "max_db_size": ADDRESSES,
    }
    try:
        return ladybug.Database(path, **settings)
    except RuntimeError as problem:
        log.warning("the log ends in the middle of an entry; it is read up to there", problem=str(problem))
    database = ladybug.Database(path, throw_on_wal_replay_failure=False, **settings)
    with ladybug.Connection(database) as connection:
        connection.execute("CHECKPOINT")  # nothing is ever written behind the broken entry
    return database


def _schema() -> list[str]:
    text = files("securecart.graph").joinpath("schema.cypher").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("//")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]
