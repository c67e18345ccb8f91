"""The last log of a database that was stopped properly, brought into the archive from its own folder.

The archiver has all but the last moments of it, and it may not have run at all. Only what the archive lacks is put there.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from securecart.ops.recovery.archiving import BEAT
from securecart.ops.recovery.model import SEGMENT_BYTES, Beat, Site, lsn_of
from securecart.ops.recovery.programs import programs_for, run_program
from securecart.ops.recovery.segments import Segment, span_of, whole_of
from securecart.stores.archive import Archive

__all__ = ["End", "end_of", "ship", "ship_last_log"]

# The record at which a server stopped is at most so long, and stands in at most two pages of the log.
PAGE_BYTES = 8192
STOPPED = {"shut down", "shut down in recovery"}
TOLD = {
    "state": re.compile(r"^Database cluster state:\s+(.+)$", re.MULTILINE),
    "lsn": re.compile(r"^Latest checkpoint location:\s+(\S+)$", re.MULTILINE),
    "timeline": re.compile(r"^Latest checkpoint's TimeLineID:\s+(\d+)$", re.MULTILINE),
}


class End(Struct, frozen=True, order=True):
    """Where the log of a stopped database ends (LSN, exclusive), and in which folder."""

    timeline: int
    lsn: int
    folder: Path


async def ship_last_log(site: Site, folders: Sequence[Path]) -> str:
    """Bring the rest of the log into the archive, from the node that has most of it, and say so with a beat."""
    ends = [end for folder in folders if (end := await end_of(site, folder)) is not None]
    if not ends:
        return "The old database was not stopped properly, so the last of its log is only in the data that are kept"
    end = max(ends)
    shipped = await asyncio.to_thread(ship, site.archive, end)
    beat = Beat(datetime.now(UTC), end.timeline, end.lsn)
    await asyncio.to_thread(site.archive.put, BEAT, msgspec.json.encode(beat))
    return f"The archive has the old database's log to its very end ({shipped:,} bytes were missing)"


async def end_of(site: Site, folder: Path) -> End | None:
    """Where the log in this data folder ends; None when its server was not stopped properly, or there is none."""
    if not (folder / "global" / "pg_control").exists():
        return None
    printed = await run_program([programs_for(site) / "pg_controldata", folder], what="where the log ends")
    told = {name: match[1] for name, pattern in TOLD.items() if (match := pattern.search(printed)) is not None}
    if told.get("state") not in STOPPED:
        return None
    lsn = lsn_of(told["lsn"]) + PAGE_BYTES
    return End(int(told["timeline"]), lsn + -lsn % PAGE_BYTES, folder)


def ship(archive: Archive, end: End) -> int:
    """Put what the archive lacks of the segments up to the end; how many bytes those were. It blocks."""
    shipped, segment = 0, whole_of(end.timeline, end.lsn - 1)
    while (file := end.folder / "pg_wal" / segment.file).exists():
        names = [name for name, _ in archive.names(segment.whole)]
        if segment.whole in names:
            break
        reached, until = _reached(names), min(end.lsn, segment.end) - segment.start
        if until > reached:
            shipped += until - reached
            with file.open("rb") as log:
                archive.put(_name(segment, reached, until), os.pread(log.fileno(), until - reached, reached))
        segment = Segment(segment.number - 1, segment.timeline)
    return shipped


def _reached(names: Sequence[str]) -> int:
    """How far the pieces of a segment reach without a hole from its beginning."""
    reached = 0
    for start, end in sorted(span for name in names if (span := span_of(name)) is not None):
        if start <= reached:
            reached = max(reached, end)
    return reached


def _name(segment: Segment, start: int, end: int) -> str:
    """A segment that is put from its beginning to its end is whole."""
    return segment.whole if (start, end) == (0, SEGMENT_BYTES) else segment.piece(start, end)
