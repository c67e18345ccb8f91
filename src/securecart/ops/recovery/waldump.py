"""The log beside a restored folder as `pg_waldump` tells it: read along in bounded memory, and the place of a moment in it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import SEGMENT_BYTES, Moment, Site, lsn_in_words, lsn_of, segment_name
from securecart.ops.recovery.programs import ENVIRONMENT, WORDS_MAX, kill, mortal, programs_for, run_program
from securecart.ops.recovery.restoring import Restored, Tell

__all__ = ["END", "Listener", "Log", "Place", "time_in"]

CHUNK_BYTES = 1024 * 1024
TELL_EVERY_BYTES = 64 * 1024 * 1024
# What was at work at a moment had begun before it, and transactions end in the log nearly, not quite, in the order of their
# times; a start that is this much earlier misses none of them.
BEFORE = timedelta(seconds=5)
# records that are looked through for the time of the first commit in a segment
ENDS_TRIED = "64"
MB = 1_000_000

# The end of a transaction: number, place, that of the record before, how, the number where it had been prepared, when, and
# what else is told.
END = re.compile(rb"tx: +(\d+), lsn: ([^,]+), prev ([^,]+), desc: (COMMIT|ABORT)(?:_PREPARED (\d+):)? (\S+ \S+) UTC([^\n]*)")
LSN = b", lsn: "
PLACE = re.compile(r", lsn: ([0-9A-F]+/[0-9A-F]+), prev")
BROKEN = re.compile(r"(?:error in WAL record at|find a valid record after) ([0-9A-F]+/[0-9A-F]+)")


class Listener(Protocol):
    """Whoever listens to what pg_waldump tells; `done` once nothing more is wanted, `lsn` is how far it was told."""

    done: bool
    lsn: int

    def take(self, lines: bytes) -> None:
        """Whole lines more."""


class Place(Struct, frozen=True):
    """Where in the log a moment is: what stands before `lsn` had happened, of which the record at `last` is the last.

    `at_end`: the log holds nothing later.
    """

    lsn: int
    last: int
    at_end: bool = False


class Log:
    """The log of a restored folder, as one over all its timelines."""

    def __init__(self, site: Site, restored: Restored) -> None:
        self._restored = restored
        self._programs = programs_for(site)
        self._folder: Path | None = None

    async def place_of(self, moment: Moment, *, since: int = 0, tell: Tell) -> Place:
        """Where the moment is; `RecoveryRefused` for a transaction that does not end after `since`."""
        start = since
        if moment.at is not None:
            start = max(start, await self.start_before(moment.at))
        looking = _Looking(moment)
        await self.tell_to(looking, ["Transaction"], start=start, tell=tell)
        if looking.found and moment.xid is not None and not moment.before:
            following = await self._run(["-s", lsn_in_words(looking.found), "-n", "2", "-t", str(self._restored.timeline)])
            places = PLACE.findall(following)
            return Place(lsn_of(places[1]), looking.found) if len(places) > 1 else await self._end()
        if looking.found:
            return Place(looking.found, looking.before)
        if moment.xid is not None:
            raise RecoveryRefused(
                problem=f"Transaction {moment.xid} neither commits nor aborts in the log from the backup "
                f"{self._restored.bases[-1].label} on. `securecart recover preview --at TIME` shows which ones did."
            )
        return await self._end()

    async def start_before(self, time: datetime) -> int:
        """A place before whatever ended after this time, and before most of what was at work then; found by halves."""
        segments, time = self._restored.segments, time - BEFORE
        first, last = 0, len(segments) - 1
        while first < last:
            middle = (first + last + 1) // 2
            told = await self._run(
                ["-r", "Transaction", "-n", ENDS_TRIED, segment_name(self._restored.timeline, segments[middle].start)]
            )
            ended = time_in(told.encode())
            if ended is not None and ended <= time:
                first = middle
            else:  # one in which nothing ended says nothing, and an earlier start is never wrong
                last = middle - 1
        return segments[first].start

    async def tell_to(self, listener: Listener, kinds: Sequence[str], *, start: int, tell: Tell) -> None:
        """Have the records of these kinds told from `start` on, until the listener is done or the log ends."""
        start, end = max(start, self._restored.start_lsn), self._restored.end_lsn
        if start >= end:
            return
        folder = await self._as_one()
        command: list[str | Path] = [self._programs / "pg_waldump", "-p", folder, "-t", str(self._restored.timeline)]
        command += [part for kind in kinds for part in ("-r", kind)]
        command += ["-s", lsn_in_words(start), "-e", lsn_in_words(end)]

        def told(reached: int) -> None:
            tell(f"Reading the log: {(reached - start) / MB:,.0f} of {(end - start) / MB:,.0f} MB")

        complaint = await _listen(command, listener, told)
        if complaint and not listener.done and not _at_its_end(complaint, end):
            raise RecoveryRefused(problem=f"The log cannot be read as far as {lsn_in_words(end)}: {complaint}")

    async def _end(self) -> Place:
        """Where the log ends: at its last whole record."""
        listener = _Last()
        for segment in self._restored.segments[::-1]:
            await self.tell_to(listener, [], start=segment.start, tell=lambda _: None)
            if listener.lsn:
                break
        return Place(self._restored.end_lsn, listener.lsn, at_end=True)

    async def _run(self, options: Sequence[str]) -> str:
        """What pg_waldump tells of a small part; nothing where no record begins there."""
        command: list[str | Path] = [self._programs / "pg_waldump", "-p", await self._as_one(), *options]
        return await run_program(command, what="a look at the log", fails=True)

    async def _as_one(self) -> Path:
        """A folder with all segments as if they were of the last timeline, which is how pg_waldump follows a failover."""
        if self._folder is None:
            self._folder = await asyncio.to_thread(_linked, self._restored)
        return self._folder


def time_in(told: bytes) -> datetime | None:
    """When the first transaction ended of which pg_waldump tells; None when none did."""
    end = END.search(told)
    return datetime.fromisoformat(end[6].decode()).replace(tzinfo=UTC) if end is not None else None


class _Looking:
    """Listens for the end of one transaction, or for the first that ended after a time."""

    def __init__(self, moment: Moment) -> None:
        self.done = False
        self.lsn = 0
        self.found = self.before = 0
        # as the log writes it, so that times are compared as they are told
        self._after = None if moment.at is None else f"{moment.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}".encode()
        self._xid = None if moment.xid is None else str(moment.xid % 2**32).encode()

    def take(self, lines: bytes) -> None:
        for xid, lsn, before, _, prepared, at, _ in END.findall(lines):
            self.lsn = lsn_of(lsn.decode())
            if (prepared or xid) == self._xid or (self._after is not None and at > self._after):
                self.found, self.before, self.done = self.lsn, lsn_of(before.decode()), True
                return


class _Last:
    """Listens for the place of the last record."""

    def __init__(self) -> None:
        self.done = False
        self.lsn = 0

    def take(self, lines: bytes) -> None:
        begin = lines.rfind(LSN)
        if begin >= 0:
            begin += len(LSN)
            self.lsn = lsn_of(lines[begin : lines.index(b",", begin)].decode())


def _linked(restored: Restored) -> Path:
    if len({one.name[:8] for one in restored.segments}) == 1:
        return restored.log
    folder = restored.log / "as-one"
    folder.mkdir(exist_ok=True)
    for one in restored.segments:
        linked = folder / segment_name(restored.timeline, one.start)
        if not linked.exists():
            linked.symlink_to(restored.log / one.name)
    return folder


async def _listen(command: Sequence[str | Path], listener: Listener, told: Callable[[int], None]) -> str:
    """Run the program and hand on what it prints; what it complained of, when it did not end well."""
    out, into = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    try:
        child = await asyncio.create_subprocess_exec(*mortal(command), stdout=into, stderr=subprocess.PIPE, env=ENVIRONMENT)
    except BaseException:
        os.close(out)
        raise
    finally:
        os.close(into)
    assert child.stderr is not None
    complaint = asyncio.create_task(child.stderr.read())
    reading = asyncio.create_task(asyncio.to_thread(_hand_on, out, listener, told))
    try:
        await asyncio.shield(reading)
        if listener.done:
            kill(child)
    except BaseException:
        kill(child)
        raise
    finally:
        await asyncio.gather(child.wait(), reading, return_exceptions=True)
        os.close(out)
    words = " ".join((await complaint).decode(errors="replace").split())[-WORDS_MAX:]
    return words if child.returncode else ""


def _hand_on(source: int, listener: Listener, told: Callable[[int], None]) -> None:
    rest, told_at = b"", 0
    while not listener.done and (more := os.read(source, CHUNK_BYTES)):
        lines, newline, begun = more.rpartition(b"\n")
        if not newline:
            rest += more
            continue
        listener.take(rest + lines + newline)
        rest = begun
        if listener.lsn - told_at > TELL_EVERY_BYTES:
            told_at = listener.lsn
            told(listener.lsn)


def _at_its_end(complaint: str, end: int) -> bool:
    """Whether it only came to the last record, of which the archive may hold the beginning alone."""
    told = BROKEN.search(complaint)
    return told is not None and end - lsn_of(told[1]) < SEGMENT_BYTES
