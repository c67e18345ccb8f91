"""Keep the readers reading.

Each reader is run by one process at a time: the one whose line (a connection of its own) holds the reader's turn. No
transaction is open while a reader works, so none holds the log's horizon back. A store that is away makes a reader wait
and try again. A fact that fails for another reason is tried again alone, and after a few tries the reader goes on without
it, with an error in the log and a count in `securecart_reader_skipped_total`: one bad fact must not stop all others.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from prometheus_client import Counter

from securecart.errors import StoreAway
from securecart.events import Event
from securecart.patience import READER
from securecart.readers.model import Progress, Reader, Stores
from securecart.readers.table import readers_of
from securecart.stores.postgres import log as event_log
from securecart.stores.postgres.log import BEGINNING, Batch, Line, Place
from securecart.telemetry import log

__all__ = ["begin", "catch_up", "digest", "register", "run"]

BATCH_FACTS = 500
LOOK_AGAIN_S = 1.0
# The knock comes from the writer; a node that follows has what it tells of a moment later.
LOOK_NEAR_S = 0.2
POLL_S = 0.02
OFFER_TURN_S = 1.0

_facts = Counter("securecart_reader_facts_total", "Facts read from the event log.", ["reader"])
_batches = Counter("securecart_reader_batches_total", "Batches of facts read from the event log.", ["reader"])
_failures = Counter("securecart_reader_failures_total", "Batches that failed and were tried again.", ["reader"])
_skipped = Counter("securecart_reader_skipped_total", "Facts that a reader gave up on.", ["reader"])


async def register(stores: Stores, readers: Sequence[Reader] | None = None) -> None:
    """Make the readers known to the log, so that it keeps what they have not read."""
    async with stores.database.transaction() as tx:
        await event_log.register(tx, [reader.name for reader in _here(stores, readers)])


async def run(stores: Stores, stopping: asyncio.Event, readers: Sequence[Reader] | None = None) -> None:
    """Run every reader whose turn this process can get, until `stopping` is set; a lost database is waited for."""
    readers = _here(stores, readers)
    while not stopping.is_set():
        try:
            await register(stores, readers)
            async with event_log.open_line(stores.database) as line:
                await _run_on(line, stores, stopping, readers)
        except StoreAway as away:
            log.warning("readers wait for the orders database", reason=str(away))
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await stopping.wait()


async def catch_up(stores: Stores, readers: Sequence[Reader] | None = None, *, within_s: float = 30.0) -> None:
    """Wait until every reader has passed what is committed now, running those that nobody runs; `TimeoutError`."""
    readers = _here(stores, readers)
    await register(stores, readers)
    async with stores.database.fresh() as fresh:
        goal = await event_log.newest(fresh)
    async with asyncio.timeout(within_s), event_log.open_line(stores.database) as line:
        await asyncio.gather(*(_catch_up(line, stores, reader, goal) for reader in readers))


async def begin(stores: Stores, reader: Reader, progress: Progress = lambda _: None) -> int:
    """Make the reader's work anew and move it to where the log was before; only for who has its turn.

    Whatever was committed before that place is in what the rebuild sees. Whatever changes meanwhile is written behind
    the place, so the reader reads it afterwards.
    """
    started = datetime.now(UTC)
    async with stores.as_seen_here() as seen:
        async with seen.database.fresh() as fresh:
            start = await event_log.horizon(fresh)
        done = await reader.rebuild(seen, progress)
    async with stores.database.transaction() as tx:
        old = await event_log.place_of(tx, reader.name)
        if start > old:
            await event_log.move(tx, reader.name, old, start, started)
    return done


async def digest(stores: Stores, reader: Reader, facts: Sequence[Event]) -> None:
    """Have the reader take these facts in, however often that has to be tried."""
    tries, pause_s = 0, READER.pause_s
    while True:
        try:
            await reader.read(stores, facts)
        except StoreAway as away:
            log.warning("reader waits for a store", reader=reader.name, reason=str(away))
        except Exception:  # noqa: BLE001 - whatever it is, the other facts must go on
            tries += 1
            log.exception("reader failed", reader=reader.name, facts=len(facts), tries=tries)
            if tries == READER.tries:
                break
        else:
            return
        _failures.labels(reader.name).inc()
        await asyncio.sleep(pause_s + random.uniform(0, READER.pause_s))  # noqa: S311 - chance, not secrecy
        pause_s = min(2 * pause_s, READER.pause_max_s)
    if len(facts) > 1:
        for fact in facts:
            await digest(stores, reader, [fact])
        return
    log.error("reader goes on without a fact", reader=reader.name, fact=repr(facts[0]))
    _skipped.labels(reader.name).inc()


def _here(stores: Stores, readers: Sequence[Reader] | None) -> Sequence[Reader]:
    return readers_of(stores.region) if readers is None else readers


async def _run_on(line: Line, stores: Stores, stopping: asyncio.Event, readers: Sequence[Reader]) -> None:
    """Run the readers until `stopping` is set or the line is lost; what is under way is cut off and will be repeated."""
    tasks = [asyncio.create_task(_keep_reading(line, stores, reader)) for reader in readers]
    tasks += [asyncio.create_task(_wait_for(event)) for event in (stopping, line.lost)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def _keep_reading(line: Line, stores: Stores, reader: Reader) -> None:
    """Read whenever the turn is ours; look for the turn every second when it is not."""
    with line.bell() as bell:
        while True:
            try:
                if await line.take_turn(reader.name):
                    await _read_while_ours(line, bell, stores, reader)
            except StoreAway as away:
                log.warning("reader waits for a store", reader=reader.name, reason=str(away))
            except Exception:  # noqa: BLE001 - a bug here must not end the reader
                log.exception("reader stumbled, it goes on from its place", reader=reader.name)
                _failures.labels(reader.name).inc()
            await asyncio.sleep(LOOK_AGAIN_S)


async def _read_while_ours(line: Line, bell: asyncio.Event, stores: Stores, reader: Reader) -> None:
    place = await _beginning(stores, reader)
    offer_at = time.monotonic() + OFFER_TURN_S
    while not line.lost.is_set():
        bell.clear()
        rows, place = await _advance(stores, reader, place)
        if time.monotonic() >= offer_at:
            if not await line.offer_turn(reader.name):
                return  # somebody rebuilds it
            offer_at = time.monotonic() + OFFER_TURN_S
        if not rows:
            # not wait_for: it forgets that it was cancelled when the bell rings in the same moment (Python before 3.12)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S if stores.near is None else LOOK_NEAR_S):
                    await bell.wait()
        if rows < BATCH_FACTS:
            await asyncio.sleep(reader.gather_s)


async def _catch_up(line: Line, stores: Stores, reader: Reader, goal: Place) -> None:
    while not await line.take_turn(reader.name):
        async with stores.database.fresh() as fresh:
            if await event_log.place_of(fresh, reader.name) >= goal:
                return
        await asyncio.sleep(POLL_S)
    place = await _beginning(stores, reader)
    while place < goal:
        rows, place = await _advance(stores, reader, place)
        if not rows:
            await asyncio.sleep(POLL_S)  # a transaction in front of the goal is still open


async def _beginning(stores: Stores, reader: Reader) -> Place:
    """Where the reader stands; one that never read is built first, for the log may not reach back to the first order."""
    async with stores.database.fresh() as fresh:
        place = await event_log.place_of(fresh, reader.name)
    if place == BEGINNING:
        log.info("reader begins with a rebuild", reader=reader.name, done=await begin(stores, reader))
        async with stores.database.fresh() as fresh:
            place = await event_log.place_of(fresh, reader.name)
    return place


async def _advance(stores: Stores, reader: Reader, place: Place) -> tuple[int, Place]:
    """Take in the next batch and move behind it: how many rows that were, and the place that the reader has then."""
    async with stores.as_seen_here() as seen:
        async with seen.database.fresh() as fresh:
            batch = await event_log.read_batch(fresh, place, limit=BATCH_FACTS)
        if batch is None:
            return 0, place
        await _take_in(seen, reader, batch)
    async with stores.database.transaction() as tx:
        if not await event_log.move(tx, reader.name, place, batch.last, batch.at):
            log.warning("reader was moved by somebody else", reader=reader.name)
            return batch.rows, await event_log.place_of(tx, reader.name)
    _facts.labels(reader.name).inc(batch.rows)
    _batches.labels(reader.name).inc()
    return batch.rows, batch.last


async def _take_in(stores: Stores, reader: Reader, batch: Batch) -> None:
    for why in batch.unreadable:
        log.error("reader goes on without a row that is no known fact", reader=reader.name, row=why)
        _skipped.labels(reader.name).inc()
    if batch.facts:
        await digest(stores, reader, batch.facts)
