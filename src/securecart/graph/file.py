"""The database's file: opened by this process alone, its tables declared, statements run on it."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import ladybug

from securecart.telemetry import log

__all__ = ["VERSION", "File"]

NAME = "graph.lbug"
# Address space that is set aside, not memory; LadybugDB takes 8 TB otherwise, which not every system gives.
ADDRESSES = 64 * 2**30
MB = 2**20
VERSION: str = ladybug.Database.get_version()


class File:
    """One database and as many connections as statements may run at once. All of it is called from threads."""

    def __init__(self, folder: Path, *, connections: int, memory_mb: int) -> None:
        self._database = _opened(folder / NAME, memory_mb)
        self._all = [ladybug.Connection(self._database, num_threads=1) for _ in range(connections)]
        self._free = deque(self._all)
        for statement in _schema():
            self._all[0].execute(statement)

    def run(self, statement: str, parameters: Mapping[str, Any], timeout_ms: int) -> tuple[list[str], list[Any]]:
        """The columns and rows of one statement, which is undone when it fails or takes too long; LadybugDB's own errors."""
        connection = self._free.popleft()
        try:
            connection.set_query_timeout(timeout_ms)
            found = connection.execute(statement, dict(parameters))
            result = found[-1] if isinstance(found, list) else found
            try:
                return result.get_column_names(), result.get_all()
            finally:
                result.close()
        finally:
            self._free.append(connection)

    def interrupt(self) -> None:
        """End what runs."""
        for connection in self._all:
            connection.interrupt()

    def close(self) -> None:
        """Bring the log into the file and close it; nothing may run any more."""
        with contextlib.suppress(RuntimeError):  # the log is as good
            self._all[0].execute("CHECKPOINT")
        for connection in self._all:
            connection.close()
        self._database.close()


def _opened(path: Path, memory_mb: int) -> ladybug.Database:
    """The database; a log whose last entry was cut off by a crash is read as far as it is whole.

    What was cut off was not acknowledged: that happens only after the entry is written.
    """
    settings: dict[str, Any] = {
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
