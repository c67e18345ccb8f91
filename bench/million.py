"""A million orders in a row: whether the shop is as fast, as small and as far with its events at the end as at the beginning.

Carts are prepared on the way, some thousands ahead of the buyers; that is part of the load, and is not what is timed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from msgspec import Struct

from bench import acknowledged, harness
from bench.crowd import STOCK, Book, Crowd
from bench.goods import Goods, some_goods, stock_up
from bench.harness import BenchFailed, Goal, Result, RunningShop
from bench.journeys import LINES, draw
from bench.lag import Lag, catch_up, lag_of
from bench.load import Unexpected
from bench.prepared import Pile, tables_of
from bench.tenths import by_hour, by_tenth, growth, last_of_first, latency
from bench.watch import disk_mb, memory_mb
from securecart.errors import SecureCartError, StoreAway
from securecart.promises import Report
from securecart.stores import postgres
from securecart.stores.postgres import Database

__all__ = ["Long", "Options", "run"]

PRODUCTS = 5_000
UNITS_LEAST = 300
LOOK_EVERY_S = 1.0
SAY_EVERY_S = 10.0
FINISHED = "every order was placed"
P99_GROWTH_WISHED, MEMORY_GROWTH_WISHED_MB, LAG_WISHED = 1.5, 50, 2


class Options(harness.Options, frozen=True, kw_only=True):
    """How many orders; it takes as long as it takes."""

    seconds: float = 0.0
    rounds: int = 1
    warm_up_s: float = 0.0
    orders: int = 1_000_000

    @property
    def given(self) -> dict[str, float]:
        """What repeats it."""
        return {"orders": self.orders, "connections": self.connections}


class Long(Struct):
    """What was seen on the way: memory (MiB) by process at the start and after each tenth, lag, room on the disk (MiB)."""

    memory: list[dict[str, float]] = []
    lag_max: Lag = Lag()
    lag_by_tenth: list[int] = []
    disk_before: dict[str, float] = {}
    disk_after: dict[str, float] = {}
    ended: str = FINISHED
    starved_s: float = 0.0
    caught_up_s: float = 0.0


async def run(shop: RunningShop, options: Options) -> Result:
    """Place the orders, then check the promises; ended early, it tells what there was until then."""
    goods = await some_goods(shop, PRODUCTS)
    seen = Long(disk_before=disk_mb(_data(shop)))
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="securecart-bench-"))
        book = Book(options.orders, stack.enter_context((Path(folder) / "told").open("w+", encoding="ascii")))
        database = await postgres.connect(shop.settings.postgres_url, pool_size=2)
        stack.push_async_callback(database.close)
        tables = await stack.enter_async_context(tables_of(shop))
        await _restock(shop, goods, options)
        await catch_up(database)
        seen.memory.append(memory_mb(shop.pids))
        chance = random.Random(options.seed)
        crowd = Crowd(shop, Pile(tables, lambda: draw(goods, chance)), book)
        watching = asyncio.create_task(_watch(shop, options, goods, database, book, seen))
        try:
            async with _until_interrupted(crowd, seen):
                await crowd.buy_all(options.connections)
        except (Unexpected, SecureCartError, OSError) as error:
            seen.ended = f"it failed: {error}"
        elapsed_s = book.elapsed_s
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        seen.starved_s = crowd.starved_s
        seen.memory.append(memory_mb(shop.pids))
        report = await _check(shop, options, database, book, seen)
        seen.disk_after = disk_mb(_data(shop))
        return _result(options, shop, book, seen, report, elapsed_s)


@contextlib.asynccontextmanager
async def _until_interrupted(crowd: Crowd, seen: Long) -> AsyncIterator[None]:
    """The first Ctrl-C ends the buying and not the bench; a second one, later, ends it all."""

    def interrupted() -> None:
        seen.ended = "it was interrupted"
        crowd.stop()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _watch(shop: RunningShop, options: Options, goods: list[Goods], database: Database, book: Book, seen: Long) -> None:
    """Look at lag and memory, say how it goes, and have goods delivered."""
    said_s, said_count = 0.0, 0
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            lag = await lag_of(database)
        except StoreAway:
            continue
        seen.lag_max = Lag(max(lag.events, seen.lag_max.events), max(lag.seconds, seen.lag_max.seconds))
        while len(seen.memory) <= book.tenth:
            seen.memory.append(await asyncio.to_thread(memory_mb, shop.pids))
            seen.lag_by_tenth.append(lag.events)
            await _restock(shop, goods, options)
        if book.elapsed_s - said_s >= SAY_EVERY_S:
            rate = (book.count - said_count) / (book.elapsed_s - said_s)
            said_s, said_count = book.elapsed_s, book.count
            memory = sum((await asyncio.to_thread(memory_mb, shop.pids)).values())
            options.say(
                f"{book.count:,} of {book.wanted:,} orders, {rate:,.0f}/s, p99 {book.interval_p99_ms():,.0f} ms, "
                f"readers {lag.events:,} events behind, {memory:,.0f} MiB, refused {book.refused:,}"
            )


async def _restock(shop: RunningShop, goods: list[Goods], options: Options) -> None:
    """Enough of each thing for several tenths of the run, so that chance empties no shelf."""
    units = max(UNITS_LEAST, options.orders * LINES * 2 // len(goods))
    await stock_up(shop, [one.sku for one in goods], units=units)


async def _check(shop: RunningShop, options: Options, database: Database, book: Book, seen: Long) -> Report | None:
    """The promises, once the readers have caught up; None when a database did not tell."""
    options.say(f"{book.count:,} orders placed ({seen.ended}); waiting for the readers, then checking every promise")
    try:
        seen.caught_up_s = await catch_up(database)
        unheard = 0 if seen.ended == FINISHED else options.connections
        report = await acknowledged.report_on(shop, list(book.told()), projections=True, unheard_max=unheard)
    except SecureCartError as error:
        seen.ended += f"; the promises could not be checked: {error}"
        options.say(seen.ended)
        return None
    for example in report.examples:
        options.say(example)
    return report


def _result(options: Options, shop: RunningShop, book: Book, seen: Long, report: Report | None, elapsed_s: float) -> Result:
    if not book.count:
        raise BenchFailed(problem=f"no order was placed; {seen.ended}.")
    overall = harness.result(
        "million",
        options,
        chosen={
            "products": PRODUCTS,
            "lines": LINES,
            "carts_ahead": STOCK,
            "web_processes": shop.web_processes,
            "reader_lag_events": shop.settings.reader_lag_events,
            "ended": seen.ended,
        },
        figures={
            "orders_acknowledged": book.count,
            "orders_per_s": round(book.count / elapsed_s, 1),
            "elapsed_s": round(elapsed_s, 1),
            **latency((one for tenth in book.by_tenth for one in tenth), ""),
            "refused_too_busy": book.refused,
            "callers_waited_for_carts_s": round(seen.starved_s, 1),
            "lag_events_max": seen.lag_max.events,
            "lag_s_max": round(seen.lag_max.seconds, 2),
            "caught_up_s": round(seen.caught_up_s, 2),
            **growth(seen.memory),
            **{
                f"disk_{name}_grown_mb": round(size - seen.disk_before.get(name, 0.0), 1)
                for name, size in seen.disk_after.items()
            },
            "promises_broken": _broken(report, book.count),
            "promises_checked_s": report.seconds if report else 0.0,
        },
        baselines={},
        ratios={"last_tenth_p99_of_first": last_of_first(book)},
        goals=[],
    )
    series = {**by_tenth(book, elapsed_s), **by_hour(book), **_seen_by_tenth(seen)}
    return msgspec.structs.replace(overall, series=series, goals=_goals(options, shop, overall))


def _goals(options: Options, shop: RunningShop, found: Result) -> list[Goal]:
    figures, flat = found.figures, found.ratios["last_tenth_p99_of_first"]
    return [
        harness.at_least("orders_acknowledged", figures["orders_acknowledged"], options.orders),
        Goal("last_tenth_p99_of_first", f"at most {P99_GROWTH_WISHED}", 0 < flat <= P99_GROWTH_WISHED),
        harness.at_most("lag_events_max", figures["lag_events_max"], LAG_WISHED * shop.settings.reader_lag_events),
        harness.at_most("memory_growth_max_mb", figures["memory_growth_max_mb"], MEMORY_GROWTH_WISHED_MB),
        harness.at_most("promises_broken", figures["promises_broken"], 0),
    ]


def _broken(report: Report | None, told: int) -> int:
    """How many promises' counts are not 0; a check that was not made, or missed an order, counts as one."""
    if report is None:
        return 1
    differing = sum(1 for count in report.projections.values() if count)
    return len(report.broken()) + differing + (report.acknowledged != told)


def _seen_by_tenth(seen: Long) -> dict[str, list[float]]:
    """Memory at the start, after each tenth and at the end; lag after each tenth."""
    processes = list(dict.fromkeys(process for one in seen.memory for process in one))
    memory = {f"memory_{process}_mb": [one.get(process, 0.0) for one in seen.memory] for process in processes}
    return {**memory, "tenths_lag_events": [float(events) for events in seen.lag_by_tenth]}


def _data(shop: RunningShop) -> Path:
    return shop.settings.home_path / "data"
