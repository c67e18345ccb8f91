"""One table's journal: what its stream tells, carried into the archive piece after piece, from where an earlier life stopped.

Nothing is remembered but what is in the archive: the newest piece and the beat say where the stream is to be read on. So a
sudden end at any moment loses nothing and tells nothing twice.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import msgspec

from securecart.ops.table_recovery import holdings
from securecart.ops.table_recovery.model import (
    NEVER,
    Change,
    End,
    Era,
    Holdings,
    Kept,
    Piece,
    PieceHead,
    Snapshot,
    piece_name,
    piece_of,
    stamp,
)
from securecart.stores.archive import Archive
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Table, bare
from securecart.stores.dynamodb.stream import Record, Stream, Trimmed
from securecart.stores.dynamodb.wire import Region
from securecart.telemetry import log

__all__ = ["Journal", "NoStream", "NoTable", "close_eras"]

# A piece is written at the end of what the stream has to tell, and before it grows larger than this.
PIECE_BYTES = 8 * 1024 * 1024
# Small pieces are merged into one once there are so many, or as much of them.
MERGE_PIECES = 300
MERGE_BYTES = 4 * 1024 * 1024
# The engine keeps a stream's records for 24 hours: where nothing was changed, the place to read on is gone with them.
STREAM_KEPT_FOR = timedelta(hours=23)
# Whether the table still has the stream that is read is asked so often.
LOOK_EVERY_S = 20.0
AGAIN_AFTER_S = 0.05
# A thousand records cost an engine on one machine a fifth of a second of a core, and shoppers wait meanwhile: they are asked for
# in small parts, and the engine is left alone twice as long as each part took.
AT_ONCE, PAUSE_FACTOR = 50, 2.0


class NoTable(Exception):
    """The table is not there, or not yet."""


class NoStream(Exception):
    """The table does not tell its changes, or more of them than one can read in order."""


class Journal:
    """The journal of one table; `region` is its engine, `folder` its place in the archive."""

    def __init__(self, archive: Archive, region: Region, table: Table, folder: str) -> None:
        self.archive = archive
        self.region = region
        self.table = table
        self.folder = folder
        self.era = ""
        self.next = 1
        self.through = NEVER
        self.is_open = False
        # How far the archive has it; the stream is read further before a piece is written.
        self.kept: Kept | None = None
        self.snapshot: Snapshot | None = None  # this era's newest
        self._stream = Stream(region, table, records_max=AT_ONCE)
        self._last_us = 0
        self._told_to = 0  # the journal has the records up to this number, where the stream is read from its beginning
        self._small: list[Piece] = []
        self._looked_at = 0.0

    async def open(self) -> None:
        """Find where an earlier life stopped; when that is lost, say so and begin a new era. `NoTable`, `NoStream`."""
        if await self._stream_now() is None:
            raise NoStream
        self.is_open, self.kept, self.snapshot = False, None, None
        found = await asyncio.to_thread(holdings.survey, self.archive, self.folder)
        beat = await asyncio.to_thread(holdings.read_beat, self.archive)
        kept = beat.tables.get(self.folder) if beat is not None else None
        why = await self._resume(found, kept)
        if why is not None:
            if found.eras:
                log.warning("a table's journal has a gap, it begins anew with a snapshot", table=self.table.name, why=why)
                await close_eras(self.archive, found, why)
            await self._begin()
        self._looked_at = time.monotonic()
        self.is_open = True

    async def carry(self) -> int:
        """Carry all that the stream tells until now into the archive; answers how many changes. `Trimmed` when some are lost.

        After any error it is to be opened again: what was read and not written is read once more.
        """
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            await self._look()
        lines: list[bytes] = []
        times: list[int] = []
        size = carried = 0
        while True:
            began = time.monotonic()
            batch = await self._stream.read()
            took_s = time.monotonic() - began
            for record in batch.records:
                if int(record.place[0]) <= self._told_to:
                    continue
                change = self._change(record)
                lines.append(msgspec.json.encode(change))
                times.append(change.time_us)
                size += len(lines[-1])
            if lines and (batch.at_end or size >= PIECE_BYTES):
                await self._write(lines, times)
                carried += len(lines)
                lines, times, size = [], [], 0
            if batch.at_end:
                self._reach(batch.asked_at)
                return carried
            await asyncio.sleep(PAUSE_FACTOR * took_s if batch.records else AGAIN_AFTER_S)

    async def close(self, why: str) -> None:
        """End this era: what comes next in the stream is not what came after the last piece."""
        self.is_open = False
        log.warning("a table's journal has a gap, it begins anew with a snapshot", table=self.table.name, why=why)
        await asyncio.to_thread(_put_end, self.archive, f"{self.folder}/{self.era}", End(self.through, self.next - 1, why))

    async def merge(self) -> None:
        """Put one piece in the place of many small ones, once there are enough."""
        small = self._small
        if len(small) < MERGE_PIECES and sum(piece.bytes for piece in small) < MERGE_BYTES:
            return
        self._small = []
        if len(small) > 1:
            await asyncio.to_thread(self._merge, small)

    async def _resume(self, found: Holdings, kept: Kept | None) -> str | None:
        """Go on where the archive says; why not, where that is not possible."""
        if not found.eras:
            return ""
        era = found.eras[-1]
        if era.end is not None:
            return ""
        newest = max(era.pieces, key=lambda one: (one.last, one.until), default=None)
        if kept is None or kept.era != era.name:
            kept = None
        if newest is not None and (kept is None or kept.next <= newest.last):
            head = await asyncio.to_thread(holdings.head_of, self.archive, newest)
            kept = Kept(era.name, newest.last + 1, head.place, newest.until)
        if kept is None:
            return "until then there were snapshots only" if era.snapshots else "nothing says how far it was"
        try:
            await self._open_stream(kept)
        except Trimmed:
            return "the table's stream no longer has what came next"
        self.era, self.next, self.through = era.name, kept.next, kept.through
        self._last_us = _us(kept.through)
        self.snapshot = era.snapshots[-1] if era.snapshots else None
        merged_to = max((piece.last for piece in era.pieces if piece.first < piece.last), default=0)
        self._small = sorted((one for one in era.pieces if one.first > merged_to), key=lambda one: (one.first, one.until))
        return None

    async def _open_stream(self, kept: Kept) -> None:
        try:
            await self._stream.open(kept.place)
        except Trimmed:
            stream = await self._stream_now()
            if stream != kept.place.stream or datetime.now(UTC) - kept.through > STREAM_KEPT_FOR:
                raise
            # nothing was changed for a day, so the place is gone with the records before it
            self._told_to = int(kept.place.sequence or 0)
            await self._stream.open(None)

    async def _begin(self) -> None:
        await self._stream.open(None)
        if not await self._stream.is_one_line():
            raise NoStream
        self.era, self.next, self._small = stamp(datetime.now(UTC)), 1, []
        self.through, self._last_us, self._told_to = NEVER, 0, 0
        log.info("a table's journal begins", table=self.table.name, era=self.era)

    async def _look(self) -> None:
        """Whether the table still has this stream: a stream that was turned off goes on answering, and has nothing to tell."""
        if await self._stream_now() != self._stream.place.stream:
            raise Trimmed
        self._looked_at = time.monotonic()

    async def _stream_now(self) -> str | None:
        described = await shape.described(self.region, self.table.name)
        if described is None:
            raise NoTable
        if not described.get("StreamSpecification", {}).get("StreamEnabled"):
            return None
        return str(described["LatestStreamArn"])

    def _change(self, record: Record) -> Change:
        """The record with a time that never goes back, so that what a moment holds does not depend on when one asks.

        What is heard was not there when the stream had last told everything, and was made before it was heard.
        """
        self._last_us = max(self._last_us, min(record.time_us, _us_of(time.time())))
        return Change(self._last_us, record.key.text, msgspec.Raw(msgspec.json.encode(bare(record.new))))

    def _reach(self, asked_at: float) -> None:
        self.through = max(self.through, datetime.fromtimestamp(asked_at, UTC))
        self._last_us = max(self._last_us, _us(self.through))
        self.kept = Kept(self.era, self.next, self._stream.place, self.through)

    async def _write(self, lines: list[bytes], times: list[int]) -> None:
        name = f"{self.folder}/{self.era}/journal/{piece_name(self.next, self.next, times[0], times[-1])}"
        content = holdings.written_piece(PieceHead(self._stream.place), lines)
        size = await asyncio.to_thread(self.archive.put, name, content)
        piece = piece_of(name, size)
        assert piece is not None
        self._small.append(piece)
        self.next += 1

    def _merge(self, small: list[Piece]) -> None:
        first, last = small[0], small[-1]
        name = piece_name(first.first, last.last, _us(first.since), _us(last.until))
        self.archive.put(f"{self.folder}/{self.era}/journal/{name}", holdings.merged(self.archive, small))
        self.archive.remove([piece.name for piece in small])


async def close_eras(archive: Archive, found: Holdings, why: str) -> None:
    """Write down that no earlier journal of the table goes on."""
    for era in found.eras:
        if era.end is None and (era.pieces or era.snapshots):
            until = [era.through] if era.through is not None else [piece.until for piece in era.pieces]
            at = max(until, default=max((one.ended_at for one in era.snapshots), default=datetime.now(UTC)))
            end = End(at, _last_of(era), why or "the journal was not kept")
            await asyncio.to_thread(_put_end, archive, f"{found.folder}/{era.name}", end)


def _last_of(era: Era) -> int:
    return max([era.last, *(piece.last for piece in era.pieces)], default=0)


def _put_end(archive: Archive, folder: str, end: End) -> None:
    archive.put(f"{folder}/{holdings.END}", msgspec.json.encode(end))


def _us(at: datetime) -> int:
    return _us_of(at.timestamp())


def _us_of(seconds: float) -> int:
    return int(seconds * 1_000_000)
