"""The replicator at work: reads both regions' streams, carries changes over, looks twice where it must, remembers its place.

One process serves both directions, so a conflict is decided once. Each table has a reader in each region; writers take the
keys that have something to do. The memory is bounded: a reader waits while too many keys wait for their writes, and the
changes wait in the stream. An engine that is away is asked again after a pause that grows, and nothing is lost by it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from securecart.errors import StoreAway
from securecart.ops.global_tables.applying import apply
from securecart.ops.global_tables.model import Apply, Change, Ledger, Look, Version
from securecart.ops.global_tables.state import Checkpoints
from securecart.ops.global_tables.whole import prepare_tables, suspects
from securecart.patience import GLOBAL_TABLES
from securecart.stores.dynamodb.items import Item, Key, Table
from securecart.stores.dynamodb.stream import Batch, Place, Stream, Trimmed
from securecart.stores.dynamodb.wire import Refused, Region, Unlike
from securecart.telemetry import log

__all__ = ["Direction", "Replicator"]

WRITERS = 128
IN_WORK_MAX = 4_000
LOOKS_MAX = 4_000
POLL_S = 0.05
IDLE_POLL_S = 0.1
IDLE_AFTER_S = 5.0
WRITE_DOWN_EVERY_S = 0.5


class Direction(Struct):
    """What one region's changes to one table have come to in the other region; times in epoch seconds.

    Every change made before `through` is there. `read_at`: when the stream was last asked and had no more to tell.
    """

    source: str
    target: str
    table: str
    through: float = 0.0
    read_at: float = 0.0
    waiting: int = 0
    applied: int = 0
    conflicts: int = 0


class Replicator:
    """Two regions and the tables they share."""

    def __init__(self, regions: Sequence[Region], tables: Sequence[Table], checkpoints: Checkpoints) -> None:
        self.regions = {region.name: region for region in regions}
        self.tables = {table.name: table for table in tables}
        self.checkpoints = checkpoints
        first, second = self.regions
        self.directions = {
            (source, table): Direction(source, target, table)
            for source, target in ((first, second), (second, first))
            for table in self.tables
        }
        self.away: dict[str, str] = {}  # why, by region
        self.is_open = False
        self._ledger = Ledger(tuple(self.regions))
        self._streams: dict[tuple[str, str], Stream] = {}
        self._asked_at: dict[tuple[str, str], float] = {}  # monotonic: begin of the last question that was told everything
        self._to_do: asyncio.Queue[Key] = asyncio.Queue()
        self._looks: dict[Key, tuple[float, dict[str, Item | None]]] = {}
        self._pauses = dict.fromkeys(self.regions, GLOBAL_TABLES.pause_s)

    async def run(self, stopping: asyncio.Event) -> None:
        """Replicate until `stopping` is set; what is under way is left where it is, and is found again at the next start."""
        stop = asyncio.create_task(stopping.wait())
        work: asyncio.Task[None] | None = None
        try:
            while not stopping.is_set():
                work = asyncio.create_task(self._replicate())
                await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    self._forget_if_trimmed(work.exception())
        finally:
            self._write_down()
            await _end([task for task in (stop, work) if task is not None])

    def is_whole(self) -> bool:
        """Whether the streams alone say what is to do; not so while whole tables are brought together."""
        return self.is_open and not self._ledger.comparing()

    async def _replicate(self) -> None:
        await self._open()
        async with asyncio.TaskGroup() as group:
            for stream in self._streams.values():
                group.create_task(self._read(stream))
            for _ in range(WRITERS):
                group.create_task(self._write())
            group.create_task(self._remember())

    def _forget_if_trimmed(self, reason: BaseException | None) -> None:
        """Changes were lost to a stream that did not keep them: all is compared again. Anything else is a fault of ours."""
        rest = reason.split(Trimmed)[1] if isinstance(reason, BaseExceptionGroup) else reason
        if rest is not None and not isinstance(rest, Trimmed):
            raise rest
        log.warning("a stream does not reach back to its checkpoint, both regions are compared as a whole")
        self.is_open = False
        self.checkpoints.forget()

    async def _open(self) -> None:
        """Find the place in every stream; without all of them, compare the tables first."""
        self.is_open = False
        self._ledger, self._to_do, self._looks, self._asked_at = Ledger(tuple(self.regions)), asyncio.Queue(), {}, {}
        while not self.is_open:
            try:
                await prepare_tables(list(self.regions.values()), list(self.tables.values()))
                places = self.checkpoints.read()
                knows_all = all(where in places for where in self.directions)
                for name, table in self.directions:
                    stream = Stream(self.regions[name], self.tables[table])
                    await stream.open(places[name, table] if knows_all else None)
                    self._streams[name, table] = stream
                if not knows_all:
                    await self._compare()
            except (StoreAway, Refused) as away:
                await self._wait_for(self._who(away), away)
            else:
                self.is_open = True

    async def _compare(self) -> None:
        """Take every difference in hand; the streams tell how old it is, as far back as they go."""
        for table in self.tables:
            for key, known in await suspects([self._streams[region, table] for region in self.regions]):
                self._ledger.suspect(key, known.version, gone=known.gone)
                self._to_do.put_nowait(key)

    async def _read(self, stream: Stream) -> None:
        where = (stream.region.name, stream.table.name)
        busy_at = time.monotonic()
        while True:
            while self._ledger.in_work() >= IN_WORK_MAX:  # noqa: ASYNC110 - a bound, seldom met, looked at now and then
                await asyncio.sleep(POLL_S)
            asked_at = time.monotonic()
            try:
                batch = await stream.read()
            except (StoreAway, Refused) as away:
                await self._wait_for(stream.region.name, away)
                continue
            self._heard(stream.region.name)
            self._hear(where, batch, asked_at)
            if batch.records:
                busy_at = asked_at
            if batch.at_end:
                await asyncio.sleep(POLL_S if asked_at - busy_at < IDLE_AFTER_S else IDLE_POLL_S)

    def _hear(self, where: tuple[str, str], batch: Batch, asked_at: float) -> None:
        for record in batch.records:
            change = Change.of(where[0], self.tables[where[1]], record)
            loser = self._ledger.hear(change)
            if loser is not None:
                self._count_conflict(change, loser)
        for key in dict.fromkeys(record.key for record in batch.records):
            self._to_do.put_nowait(key)
        if batch.at_end:
            self._asked_at[where] = asked_at
            self.directions[where].read_at = batch.asked_at
            self._settle_looks(where[1])

    def _count_conflict(self, change: Change, loser: Version) -> None:
        self.directions[change.region, change.key.table].conflicts += 1
        kept = max(self._ledger.entries[change.key].newest, loser)
        log.info("both regions wrote the same item", table=change.key.table, key=change.key.text, kept=kept.region)

    def _settle_looks(self, table: str) -> None:
        through = min(self._asked_at.get((region, table), 0.0) for region in self.regions)
        for key, (looked_at, items) in list(self._looks.items()):
            if key.table == table and looked_at < through:
                del self._looks[key]
                self._ledger.settle(key, items)
                self._to_do.put_nowait(key)
        self._ledger.read_past(table, through)

    async def _write(self) -> None:
        while True:
            key = await self._to_do.get()
            while (step := self._ledger.next_step(key, time.monotonic())) is not None:
                if isinstance(step, Look):
                    await self._look(key)
                else:
                    await self._apply(step)

    async def _apply(self, step: Apply) -> None:
        nonce = secrets.token_hex(4)
        self._ledger.sending(step, nonce)
        try:
            written = await apply(self.regions[step.region], step, nonce)
        except Unlike:
            self._ledger.refused(step, nonce)
        except (StoreAway, Refused) as away:
            self._ledger.refused(step, nonce)
            await self._wait_for(step.region, away)
        else:
            self._heard(step.region)
            (self._ledger.applied if written else self._ledger.was_there)(step, nonce)
            if written:
                self.directions[self._other(step.region), step.key.table].applied += 1

    async def _look(self, key: Key) -> None:
        while len(self._looks) >= LOOKS_MAX:  # noqa: ASYNC110 - the same
            await asyncio.sleep(POLL_S)
        items: dict[str, Item | None] = {}
        for name, region in self.regions.items():
            try:
                items[name] = await region.get(key.table, key.item())
            except (StoreAway, Refused) as away:
                self._ledger.not_looked(key)
                await self._wait_for(name, away)
                return
            self._heard(name)
            looked_at = time.monotonic()
        self._looks[key] = (looked_at, items)
        self._ledger.looking(key)

    async def _remember(self) -> None:
        while True:
            self._write_down()
            await asyncio.sleep(WRITE_DOWN_EVERY_S)

    def _write_down(self) -> None:
        if self.is_whole():
            self.checkpoints.write({where: self.checkpoint(where) for where in self._streams})

    def checkpoint(self, where: tuple[str, str]) -> Place:
        """Every change before this place is in the other region."""
        if where not in self._streams:
            return Place("")
        stream = self._streams[where]
        first = self._ledger.oldest_place(*where)
        return stream.place if first is None else Place(stream.place.stream, first[1], first[0], after=False)

    def look_at(self) -> list[Direction]:
        """How each direction stands now."""
        for where, direction in self.directions.items():
            times = [time_us / 1_000_000 for time_us in self._ledger.waiting(*where)]
            direction.waiting = len(times)
            unknown = not self.is_open or self._ledger.comparing(direction.table)
            direction.through = 0.0 if unknown else min([direction.read_at, *times])
        return list(self.directions.values())

    async def _wait_for(self, region: str, reason: Exception) -> None:
        if isinstance(reason, Refused):
            log.error("a region refuses a request, it is tried again", region=region, reason=str(reason))
        elif region not in self.away:
            log.warning("a region is away, its changes wait", region=region, reason=str(reason))
        self.away[region] = str(reason)
        pause_s = self._pauses[region]
        self._pauses[region] = min(pause_s * 2, GLOBAL_TABLES.pause_max_s)
        await asyncio.sleep(_jittered(pause_s))

    def _heard(self, region: str) -> None:
        if self.away.pop(region, None) is not None:
            log.info("a region answers again", region=region)
            self._pauses[region] = GLOBAL_TABLES.pause_s

    def _who(self, reason: StoreAway | Refused) -> str:
        """The region that an error is about; of a refusal while all is opened nobody knows."""
        return str(reason.facts["region"]) if isinstance(reason, StoreAway) else next(iter(self.regions))

    def _other(self, region: str) -> str:
        return next(name for name in self.regions if name != region)


def _jittered(pause_s: float) -> float:
    return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - chance, not secrecy


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
