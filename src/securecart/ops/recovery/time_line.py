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
from msgspec import Struct

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.going_back import Held
from securecart.ops.recovery.happenings import Counting, Happening, time_of
from securecart.ops.recovery.model import SEGMENT_BYTES, Moment, lsn_in_words, lsn_of, segment_name
from securecart.ops.recovery.programs import ENVIRONMENT, WORDS_MAX, mortal, programs_for, run_program
from securecart.ops.recovery.restoring import Restored, Tell

__all__ = ["Tables", "tables_of", "time_line"]

CHUNK_BYTES = 1024 * 1024
TELL_EVERY_BYTES = 64 * 1024 * 1024
# What was at work at the moment had begun before it, and commits stand in the log nearly, not quite, in the order of their times.
BEFORE = timedelta(seconds=5)
# records that are looked through for the time of the first commit in a segment
ENDS_TRIED = "64"
MB = 1_000_000
RECORD_AT = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)")

TABLES = """
SELECT pg_relation_filenode(oid)::bigint AS file, coalesce(pg_partition_root(oid), oid)::regclass::text AS name
FROM pg_class
WHERE relkind = 'r' AND relpersistence = 'p' AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
DATABASE = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"

# In which file of the database each table's rows are; a table that was truncated gets another file.
Tables = Mapping[int, str]


class Stretch(Struct, frozen=True):
    """A part of the log on one timeline, from `start` up to `end` (LSN)."""

    timeline: int
    start: int
    end: int


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
    way = await stretches_since(held.restored, programs, None if from_time is None else from_time - BEFORE)
    counting = Counting(known, database, since, until)
    whole = sum(one.end - one.start for one in way)
    before = 0
    for stretch in way:

        def told(reached: int, before: int = before, stretch: Stretch = stretch) -> None:
            tell(f"Reading the log: {(before + reached - stretch.start) / MB:,.0f} of {whole / MB:,.0f} MB")

        await _read(programs, held.restored.log, stretch, counting, told)
        before += stretch.end - stretch.start
        if counting.done:
            break
    return counting.happenings()


async def stretches_since(restored: Restored, programs: Path, time: datetime | None) -> list[Stretch]:
    """The stretches of log that hold all commits from `time` on; found by the first commit of a segment, by halves."""
    segments = [
        Stretch(leg.timeline, max(start, leg.start, restored.start_lsn), min(start + SEGMENT_BYTES, end))
        for leg in restored.legs
        if (end := min(leg.end or restored.end_lsn, restored.end_lsn)) > restored.start_lsn
        for start in range(_floor(max(leg.start, restored.start_lsn)), end, SEGMENT_BYTES)
    ]
    first, last = 0, len(segments) - 1
    while time is not None and first < last:
        middle = (first + last + 1) // 2
        commit = await _first_commit(restored.log, programs, segments[middle])
        if commit is not None and commit <= time:
            first = middle
        else:  # one without any commit says nothing: an earlier start is never wrong
            last = middle - 1
    way: list[Stretch] = []
    for one in segments[first:]:
        if way and way[-1].timeline == one.timeline:
            way[-1] = Stretch(one.timeline, way[-1].start, one.end)
        else:
            way.append(one)
    return way


async def _first_commit(log: Path, programs: Path, segment: Stretch) -> datetime | None:
    name = segment_name(segment.timeline, segment.start)
    with contextlib.suppress(RecoveryRefused):  # a segment without any record's beginning
        command = [programs / "pg_waldump", "-p", log, "-r", "Transaction", "-n", ENDS_TRIED, name]
        return time_of(await run_program(command, what=f"the time of {name}"))
    return None


async def _read(programs: Path, log: Path, stretch: Stretch, counting: Counting, told: Callable[[int], None]) -> None:
    """Have pg_waldump tell a stretch of log, and count along; ends early once the counting is done."""
    out, into = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    command = [programs / "pg_waldump", "-p", log, "-t", str(stretch.timeline), "-r", "Heap", "-r", "Heap2", "-r", "Transaction"]
    command += ["-s", lsn_in_words(stretch.start), "-e", lsn_in_words(stretch.end)]
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
    if child.returncode and not counting.done and not _at_its_end(words, stretch):
        raise RecoveryRefused(problem=f"The log in {log} cannot be read as far as {lsn_in_words(stretch.end)}: {words}")


def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()


def _at_its_end(words: str, stretch: Stretch) -> bool:
    """Whether pg_waldump only came to the last record, of which the archive may hold the beginning alone."""
    told = RECORD_AT.search(words)
    return told is not None and stretch.end - lsn_of(told[1]) < SEGMENT_BYTES


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


def _floor(lsn: int) -> int:
    return lsn - lsn % SEGMENT_BYTES
