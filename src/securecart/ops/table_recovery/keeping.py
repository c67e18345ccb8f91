"""The tables' part of the archiver: every table's journal, a snapshot when one is due, and what is too old removed.

A table whose engine or archive is away is asked again after pauses that grow; the changes wait in its stream for a day.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct
from prometheus_client import Counter, Gauge

from securecart.errors import OperatorError, SecureCartError
from securecart.ops.table_recovery import holdings, snapshots
from securecart.ops.table_recovery.journal import Journal, NoStream, NoTable, close_eras
from securecart.ops.table_recovery.model import BEAT, ROOT, Beat, Holdings, Snapshot, folder_of, stamp, surplus
from securecart.patience import TABLE_RECOVERY
from securecart.stores.archive import Archive
from securecart.stores.dynamodb.items import Table
from securecart.stores.dynamodb.stream import Trimmed
from securecart.stores.dynamodb.wire import Refused, Region
from securecart.telemetry import log

__all__ = ["Plan", "Source", "keep"]

ROUND_S = 1.0
DUE_EVERY_S = 1.0
FIRST_TIDY_AFTER_S, TIDY_EVERY_S = 60.0, 3_600.0
AFTER_A_FAILURE_S = 20.0
LAST_ROUND_WITHIN_S = 5.0
# A table that was just made gets its stream a moment later.
WITHOUT_STREAM_S = 30.0
WORDS: dict[type[Exception], str] = {
    NoTable: "there is no such table",
    NoStream: "it has no stream of changes that can be read in order; there are snapshots only",
}
PASSING = (NoTable, NoStream, SecureCartError, Refused, OSError)

_through = Gauge(
    "securecart_table_journal_through_timestamp_seconds",
    "Everything changed in the table before this time is in the archive.",
    ["table"],
)
_snapshot = Gauge("securecart_table_snapshot_timestamp_seconds", "When the table's newest snapshot began.", ["table"])
_gaps = Counter("securecart_table_journal_gaps_total", "How often a table's journal broke and began anew.", ["table"])


class Source(Struct, frozen=True):
    """The tables of one region and the address of their engine; the first region's name is empty or its own."""

    url: str
    region: str
    tables: tuple[Table, ...]


class Plan(Struct, frozen=True):
    """What is kept: a journal or snapshots only, the hours between two snapshots, the days that one can go back."""

    journal: bool
    snapshot_hours: float
    days: float


async def keep(archive: Archive, sources: Sequence[Source], plan: Plan, stopping: asyncio.Event) -> None:
    """Keep these tables' past in the archive until `stopping` is set; whatever fails is tried again."""
    async with contextlib.AsyncExitStack() as stack:
        keeper = Keeper(archive, plan)
        for source in sources:
            region = await stack.enter_async_context(_region(source))
            keeper.add(region, source)
        await keeper.run(stopping)


class Keeper:
    """The journals of all tables, one beat, one snapshot at a time."""

    def __init__(self, archive: Archive, plan: Plan) -> None:
        self.archive = archive
        self.plan = plan
        self.journals: list[Journal] = []
        self._away: dict[str, tuple[float, str]] = {}  # since when (monotonic), and why, by folder

    def add(self, region: Region, source: Source) -> None:
        """Keep this region's tables too."""
        for table in source.tables:
            self.journals.append(Journal(self.archive, region, table, folder_of(table.name, source.region)))

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep everything until `stopping` is set, and then what was changed until then."""
        beside = [asyncio.create_task(task) for task in (self._beat(), self._take(), self._tidy())]
        rounds = [asyncio.create_task(self._follow(one, stopping)) for one in self.journals if self.plan.journal]
        try:
            await stopping.wait()
            if rounds:  # a round that has begun to write is not torn
                await asyncio.wait(rounds, timeout=LAST_ROUND_WITHIN_S)
        finally:
            for task in (*beside, *rounds):
                task.cancel()
            await asyncio.gather(*beside, *rounds, return_exceptions=True)
        with contextlib.suppress(OperatorError, OSError):
            await self._write_beat()

    async def _follow(self, journal: Journal, stopping: asyncio.Event) -> None:
        pause_s = TABLE_RECOVERY.pause_s
        is_last = False
        while not is_last:
            is_last = stopping.is_set()  # once more after that: what was changed until the shop stood still
            began = time.monotonic()
            try:
                if not journal.is_open:
                    await journal.open()
                await journal.carry()
                await journal.merge()
            except Trimmed:
                _gaps.labels(journal.folder).inc()
                with contextlib.suppress(OperatorError):
                    await journal.close("the table's stream no longer has what came next")
                journal.is_open = False
            except Exception as problem:  # noqa: BLE001 - one table's bug must not end the others' journals
                journal.is_open = False
                self._failed(journal, problem)
                await _pause(pause_s, stopping)
                pause_s = min(pause_s * 2, TABLE_RECOVERY.pause_max_s)
            else:
                pause_s = TABLE_RECOVERY.pause_s
                self._well(journal)
                await _pause(ROUND_S - (time.monotonic() - began), stopping)

    def _failed(self, journal: Journal, problem: Exception) -> None:
        since, told = self._away.get(journal.folder, (time.monotonic(), ""))
        words = WORDS.get(type(problem), str(problem))
        self._away[journal.folder] = since, words
        if words == told:
            return
        log.warning("a table's journal stands still", table=journal.folder, problem=words)
        if not isinstance(problem, PASSING):
            log.exception("a bug in the tables' journal", table=journal.folder, exc_info=problem)

    def _well(self, journal: Journal) -> None:
        if self._away.pop(journal.folder, None) is not None:
            log.info("a table's journal goes on", table=journal.folder)
        _through.labels(journal.folder).set(journal.through.timestamp())

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(OperatorError, OSError):  # the journals meet the same trouble, and tell of it
                await self._write_beat()
            await asyncio.sleep(ROUND_S)

    async def _write_beat(self) -> None:
        kept = {journal.folder: journal.kept for journal in self.journals if journal.kept is not None}
        if kept:
            beat = Beat(datetime.now(UTC), kept)
            await asyncio.to_thread(self.archive.put, f"{ROOT}/{BEAT}", msgspec.json.encode(beat))

    async def _take(self) -> None:
        failed_at: dict[str, float] = {}
        while True:
            for journal in self.journals:
                if time.monotonic() - failed_at.get(journal.folder, -AFTER_A_FAILURE_S) < AFTER_A_FAILURE_S:
                    continue
                try:
                    if self._has_no_stream(journal) and self._is_due(journal.snapshot):
                        await self._scan(journal)
                    elif journal.is_open and self._is_due(journal.snapshot):
                        await self._snapshot(journal)
                except Exception as problem:  # noqa: BLE001 - the same
                    failed_at[journal.folder] = time.monotonic()
                    log.warning("a table's snapshot failed, it is tried again", table=journal.folder, problem=repr(problem))
            await asyncio.sleep(DUE_EVERY_S)

    def _has_no_stream(self, journal: Journal) -> bool:
        """Whether there are snapshots only: by the setting, or because the table has had no stream for a while."""
        since, why = self._away.get(journal.folder, (0.0, ""))
        return not self.plan.journal or (why == WORDS[NoStream] and time.monotonic() - since > WITHOUT_STREAM_S)

    def _is_due(self, newest: Snapshot | None) -> bool:
        return newest is None or datetime.now(UTC) - newest.began_at >= timedelta(hours=self.plan.snapshot_hours)

    async def _snapshot(self, journal: Journal) -> None:
        era = journal.era
        taken = await snapshots.take(self.archive, journal.region, journal.table, journal.folder, era, first=journal.next)
        if journal.era == era:
            journal.snapshot = taken
        self._told(journal, taken)

    async def _scan(self, journal: Journal) -> None:
        """A snapshot where no journal is kept; it belongs to an era without pieces."""
        found = await asyncio.to_thread(holdings.survey, self.archive, journal.folder)
        last = found.eras[-1] if found.eras else None
        if last is not None and last.pieces and last.end is None:
            await close_eras(self.archive, found, "the journal was turned off")
            last = None
        journal.snapshot = last.snapshots[-1] if last is not None and last.snapshots else None
        if self._is_due(journal.snapshot):
            era = last.name if last is not None and last.end is None else stamp(datetime.now(UTC))
            journal.snapshot = await snapshots.take(self.archive, journal.region, journal.table, journal.folder, era, first=0)
            self._told(journal, journal.snapshot)

    def _told(self, journal: Journal, taken: Snapshot) -> None:
        _snapshot.labels(journal.folder).set(taken.began_at.timestamp())
        seconds = round((taken.ended_at - taken.began_at).total_seconds(), 1)
        log.info("a table's snapshot is taken", table=journal.folder, items=taken.items, bytes=taken.bytes, seconds=seconds)

    async def _tidy(self) -> None:
        await asyncio.sleep(FIRST_TIDY_AFTER_S)
        while True:
            for journal in self.journals:
                with contextlib.suppress(OperatorError, OSError):
                    await asyncio.to_thread(tidy, self.archive, journal.folder, self.plan.days)
            await asyncio.sleep(TIDY_EVERY_S)


async def _pause(seconds: float, stopping: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), max(0.0, seconds))


def tidy(archive: Archive, folder: str, days: float) -> Holdings:
    """Remove what is older than so many days and not needed for what is younger; answers what there was."""
    found = holdings.survey(archive, folder)
    gone = surplus(found, datetime.now(UTC), days)
    if gone:
        archive.remove(gone)
        log.info("older objects of a table were removed", table=folder, objects=len(gone))
    return found


@contextlib.asynccontextmanager
async def _region(source: Source) -> AsyncIterator[Region]:
    region = Region(source.region, source.url, patience=TABLE_RECOVERY)
    try:
        yield region
    finally:
        await region.close()
