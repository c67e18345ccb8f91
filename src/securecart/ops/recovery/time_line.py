"""What happened to the tables, transaction by transaction, read from the log that was laid out beside a restored folder.

`pg_waldump` tells every change of a row; they are counted by transaction and table. Subtransactions count for the one that
they belong to; what was rolled back, and what was only prepared, does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.going_back import Held
from securecart.ops.recovery.happenings import Counting, Happening, time_of
from securecart.ops.recovery.model import SEGMENT_BYTES, Moment, lsn_in_words, lsn_of, segment_name
from securecart.ops.recovery.programs import ENVIRONMENT, WORDS_MAX, mortal, programs_for, run_program
from securecart.ops.recovery.restoring import Restored, Tell

__all__ = ["Tables", "tables_of", "time_line"]

CHUNK_BYTES = 1024 * 1024
TELL_EVERY_BYTES = 64 * 1024 * 1024
# What was at work at the moment had begun before it, and commits stand in the log nearly, not quite, in the order of their
# times.
BEFORE = timedelta(seconds=5)
# records that are looked through for the time of the first commit in a segment
ENDS_TRIED = "64"
MB = 1_000_000
RECORD_AT = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)")

TABLES = """
SELECT pg_relation_filenode(oid)::bigint AS file, coalesce(pg_partition_root(oid), oid)::regclass::text AS name
FROM pg_class
WHERE relkind = 'r' AND relpersistence = 'p'
  AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
DATABASE = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"

# In which file of the database each table's rows are; a table that was truncated gets another file.
Tables = Mapping[int, str]


async def tables_of(connection: asyncpg.Connection) -> dict[int, str]:
    """The tables of a database by the file that each is in; partitions under the name of their table."""
    return {row["file"]: row["name"] for row in await connection.fetch(TABLES)}


async def time_line(
    held: Held, since: Moment, until: Moment | None = None, *, tables: Tables | None = None, tell: Tell = lambda _: None
) -> list[Happening]:
    """What committed after `since`, in order; where it was very much, only the largest deletions and changes.

    The held server names the tables, unless `tables` does; name only those that matter, and the rest is passed over.
    """
    connection = await held.connect()
    try:
        known = await tables_of(connection) if tables is None else tables
        database = int(await connection.fetchval(DATABASE))
    finally:
        await connection.close()
    programs = programs_for(held.site)
    from_time = since.at or (held.reached.at if held.moment == since else None)
    log = await asyncio.to_thread(as_one, held.restored)
    start = await _start_for(held.restored, log, programs, None if from_time is None else from_time - BEFORE)
    counting = Counting(known, database, since, until)
    await _read(programs, log, held.restored, start, counting, tell)
    return counting.happenings()


def as_one(restored: Restored) -> Path:
    """A folder with all of the log as if it were of the last timeline, which is how pg_waldump follows it over a failover."""
    if len({one.name[:8] for one in restored.segments}) == 1:
        return restored.log
    folder = restored.log / "as-one"
    folder.mkdir(exist_ok=True)
    for one in restored.segments:
        linked = folder / segment_name(restored.timeline, one.start)
        if not linked.exists():
            linked.hardlink_to(restored.log / one.name)
    return folder


async def _start_for(restored: Restored, log: Path, programs: Path, time: datetime | None) -> int:
    """A place in the log before all commits from `time` on; found by the first commit of a segment, by halves."""
    first, last = 0, len(restored.segments) - 1
    while time is not None and first < last:
        middle = (first + last + 1) // 2
        commit = await _first_commit(log, programs, segment_name(restored.timeline, restored.segments[middle].start))
        if commit is not None and commit <= time:
            first = middle
        else:  # one without any commit says nothing: an earlier start is never wrong
            last = middle - 1
    return max(restored.segments[first].start, restored.start_lsn)


async def _first_commit(log: Path, programs: Path, name: str) -> datetime | None:
    with contextlib.suppress(RecoveryRefused):  # a segment without any record's beginning
        command: list[str | Path] = [programs / "pg_waldump", "-p", log, "-r", "Transaction", "-n", ENDS_TRIED, name]
        return time_of(await run_program(command, what=f"the time of {name}"))
    return None


async def _read(programs: Path, log: Path, restored: Restored, start: int, counting: Counting, tell: Tell) -> None:
    """Have pg_waldump tell the log from `start` on, and count along; ends early once the counting is done."""
    out, into = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    end = restored.end_lsn
    command: list[str | Path] = [programs / "pg_waldump", "-p", log, "-t", str(restored.timeline)]
    command += ["-r", "Heap", "-r", "Heap2", "-r", "Transaction", "-s", lsn_in_words(start), "-e", lsn_in_words(end)]

    def told(reached: int) -> None:
        tell(f"Reading the log: {(reached - start) / MB:,.0f} of {(end - start) / MB:,.0f} MB")

    try:
        child = await asyncio.create_subprocess_exec(*mortal(command), stdout=into, stderr=subprocess.PIPE, env=ENVIRONMENT)
    finally:
        os.close(into)
    assert child.stderr is not None
    complaint = asyncio.create_task(child.stderr.read())
    reading = asyncio.create_task(asyncio.to_thread(_count, out, counting, told))
    try:
        await asyncio.shield(reading)
        if counting.done:
            _kill(child)
    except BaseException:
        _kill(child)
        raise
    finally:
        await asyncio.gather(child.wait(), reading, return_exceptions=True)
        os.close(out)
    words = " ".join((await complaint).decode(errors="replace").split())[-WORDS_MAX:]
    if child.returncode and not counting.done and not _at_its_end(words, end):
        raise RecoveryRefused(problem=f"The log in {log} cannot be read as far as {lsn_in_words(end)}: {words}")


def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()


def _at_its_end(words: str, end: int) -> bool:
    """Whether pg_waldump only came to the last record, of which the archive may hold the beginning alone."""
    told = RECORD_AT.search(words)
    return told is not None and end - lsn_of(told[1]) < SEGMENT_BYTES


def _count(source: int, counting: Counting, told: Callable[[int], None]) -> None:
    rest = b""
    told_at = 0
    while not counting.done and (more := os.read(source, CHUNK_BYTES)):
        chunk, newline, rest_of_it = more.rpartition(b"\n")
        if newline:
            counting.take(rest + chunk + newline)
            rest = rest_of_it
        else:
            rest += more
        if counting.lsn - told_at > TELL_EVERY_BYTES:
            told_at = counting.lsn
            told(counting.lsn)
