"""The event log against the real database: nothing skipped, nothing out of order, days made and dropped."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from securecart.errors import StoreBusy
from securecart.events import OrderWaits, StockChanged
from securecart.settings import Settings
from securecart.stores.postgres import Database, connect, log
from securecart.stores.postgres.log import Place
from securecart.stores.postgres.log.actions import SQL

SOON_S = 5.0


async def newest(database: Database) -> Place:
    async with database.fresh() as read:
        return await log.newest(read)


async def skus_after(database: Database, place: Place, *, limit: int = 100) -> list[str]:
    """The SKUs of the stock facts that can be read behind a place."""
    async with database.fresh() as read:
        batch = await log.read_batch(read, place, limit=limit)
    return [fact.skus[0] for fact in batch.facts if isinstance(fact, StockChanged)] if batch else []


async def skus_soon(database: Database, place: Place, *, at_least: int) -> list[str]:
    """The same, as soon as other tests' transactions are over and there are so many."""

    async def enough() -> bool:
        return len(await skus_after(database, place)) >= at_least

    await until(enough)
    return await skus_after(database, place)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds, looking again and again."""
    async with asyncio.timeout(SOON_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in another program
            await asyncio.sleep(0.01)


class UndoneError(Exception):
    """Ends a transaction that shall leave nothing behind."""


@asynccontextmanager
async def a_reader(database: Database) -> AsyncIterator[str]:
    """A reader that stands at the log's beginning; it is gone afterwards."""
    name = f"test-{secrets.token_hex(4)}"
    async with database.transaction() as tx:
        await log.register(tx, [name])
    yield name
    async with database.transaction() as tx:
        await tx.execute("DELETE FROM reader WHERE name = $1", name)


async def test_facts_are_there_exactly_when_what_they_tell_of_is(database: Database) -> None:
    start = await newest(database)
    with suppress(UndoneError):
        async with database.transaction() as tx:
            await log.publish(tx, [StockChanged(("Z",))])
            raise UndoneError
    async with database.transaction() as tx:
        await log.publish(tx, [StockChanged(("A", "B")), OrderWaits(0, "guest:x")])
    async with database.fresh() as read:
        rows = await read.fetch("SELECT body FROM event WHERE xid::text::bigint > $1 ORDER BY xid, id", start.xid)
    assert [row["body"] for row in rows] == [
        {"kind": "stock_changed", "skus": ["A", "B"]},
        {"kind": "order_waits", "order_id": 0, "shopper_id": "guest:x"},
    ]


async def test_a_transaction_that_commits_late_is_not_skipped_and_comes_in_its_place(database: Database) -> None:
    start = await newest(database)
    async with database.transaction() as late:
        await log.publish(late, [StockChanged(("late",))])
        async with database.transaction() as tx:
            await log.publish(tx, [StockChanged(("quick-1",)), StockChanged(("quick-2",))])
        assert await newest(database) > start  # the quick one is committed and visible
        assert await skus_after(database, start) == []  # and has to wait for the one in front of it
    assert await skus_soon(database, start, at_least=3) == ["late", "quick-1", "quick-2"]


async def test_a_batch_ends_where_the_next_begins(database: Database) -> None:
    start = await newest(database)
    for number in range(7):
        async with database.transaction() as tx:
            await log.publish(tx, [StockChanged((f"{number}",))])
    await skus_soon(database, start, at_least=7)
    place, seen = start, []
    async with database.fresh() as read:
        while batch := await log.read_batch(read, place, limit=3):
            assert batch.last > place
            seen += [fact.skus[0] for fact in batch.facts if isinstance(fact, StockChanged)]
            place = batch.last
    assert seen == [f"{number}" for number in range(7)]


async def test_a_row_that_is_no_known_fact_is_named_and_the_others_are_read(database: Database) -> None:
    start = await newest(database)
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO event (body) VALUES ($1)", {"kind": "moon_landed"})
        await log.publish(tx, [StockChanged(("after",))])
    assert await skus_soon(database, start, at_least=1) == ["after"]
    async with database.fresh() as read:
        batch = await log.read_batch(read, start, limit=10)
    assert batch is not None
    assert "moon_landed" in batch.unreadable[0]


async def test_a_reader_that_lost_its_place_moves_nothing(database: Database) -> None:
    now = datetime.now(UTC)
    async with a_reader(database) as name:
        async with database.transaction() as tx:
            assert await log.move(tx, name, log.BEGINNING, Place(5, 6), now)
            assert not await log.move(tx, name, log.BEGINNING, Place(7, 8), now)
            assert await log.place_of(tx, name) == Place(5, 6)
        async with database.transaction() as tx:
            await log.register(tx, [name])
            assert await log.place_of(tx, name) == Place(5, 6)


async def test_standings_count_what_is_unread_and_say_how_old_it_is(database: Database) -> None:
    async with a_reader(database) as name:
        place = await newest(database)
        async with database.transaction() as tx:
            await log.move(tx, name, log.BEGINNING, place, datetime.now(UTC))
            (standing,) = [one for one in await log.standings(tx) if one.name == name]
            assert (standing.behind_events, standing.behind_seconds) == (0, 0.0)
            await log.publish(tx, [StockChanged(("A",))] * 4)
            (standing,) = [one for one in await log.standings(tx) if one.name == name]
            assert standing.behind_events == 4
            assert 0 < standing.behind_seconds < SOON_S


async def test_ids_drawn_and_rolled_back_leave_nobody_behind(database: Database) -> None:
    async with a_reader(database) as name:
        place = await newest(database)
        async with database.transaction() as tx:
            await log.move(tx, name, log.BEGINNING, place, datetime.now(UTC))
        with suppress(UndoneError):
            async with database.transaction() as tx:
                await log.publish(tx, [StockChanged(("never",))])
                raise UndoneError
        async with database.fresh() as read:
            (standing,) = [one for one in await log.standings(read) if one.name == name]
        assert standing.behind_events == 0


async def test_the_lookout_answers_at_once_and_learns_in_the_background(database: Database) -> None:
    async with a_reader(database) as name:
        lookout = log.Lookout(database)
        assert lookout.seen() is None
        fresh = await lookout.look()
        assert fresh is not None
        assert name in fresh
        assert lookout.seen() is fresh
    broken = log.Lookout(await connect_and_close(database))
    assert await broken.look() is None
    assert broken.seen() is None
    broken.close()


async def connect_and_close(database: Database) -> Database:
    closed = await connect(database._nodes[0].url, pool_size=1)
    await closed.close()
    return closed


async def test_one_line_at_a_time_has_a_readers_turn(database: Database) -> None:
    name = f"turn-{secrets.token_hex(4)}"
    async with log.open_line(database) as first, log.open_line(database) as second:
        assert await first.take_turn(name)
        assert not await second.take_turn(name)
        assert await first.offer_turn(name)  # nobody waits, so it is kept
        waiting = asyncio.create_task(second.wait_for_turn(name, seconds=SOON_S))

        async def given_away() -> bool:
            return not await first.offer_turn(name)

        await until(given_away)
        await waiting
        assert not await first.take_turn(name)
    async with log.open_line(database) as third:
        await until(lambda: third.take_turn(name))  # the second's turn ended with its line


async def test_a_turn_is_waited_for_longer_than_the_server_lets_anybody_wait_for_a_lock(database: Database) -> None:
    name = f"turn-{secrets.token_hex(4)}"
    async with log.open_line(database) as first, log.open_line(database) as second:
        assert await first.take_turn(name)
        await second._connection.execute("SET lock_timeout = '50ms'")
        with pytest.raises(StoreBusy):
            await second.wait_for_turn(name, seconds=0.2)
        waiting = asyncio.create_task(second.wait_for_turn(name, seconds=SOON_S))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done, "the server has given up several times meanwhile"

        async def given_away() -> bool:
            return not await first.offer_turn(name)

        await until(given_away)
        await waiting


async def test_a_line_hears_what_is_published_and_knows_when_it_is_lost(database: Database) -> None:
    async with log.open_line(database) as line:
        with line.bell() as bell:
            async with database.transaction() as tx:
                await log.publish(tx, [StockChanged(("A",))])
            await asyncio.wait_for(bell.wait(), SOON_S)
        async with database.transaction() as tx:
            await tx.execute("SELECT pg_terminate_backend($1)", line._connection.get_server_pid())
        await asyncio.wait_for(line.lost.wait(), SOON_S)


async def test_days_are_made_ahead_and_kept_while_a_reader_needs_them(database: Database) -> None:
    async with database.transaction() as tx:
        made = await log.tend(tx, days_ahead=9, keep_from=datetime.now(UTC) - timedelta(days=1))
        assert [what.partition(" ")[0] for what in made] == ["made", "made"]
        assert await log.tend(tx, days_ahead=9, keep_from=datetime.now(UTC)) == []


@pytest.fixture
async def an_old_day(engines: Settings, database: Database) -> AsyncIterator[str]:
    """The partition of a day long ago, with one row that no test's reader has passed; its name."""
    owner = await asyncpg.connect(engines.postgres_owner_url)
    await owner.execute(
        "CREATE TABLE event_20200101 PARTITION OF event FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')"
    )
    async with database.transaction() as tx:
        await tx.execute("INSERT INTO event (at, body) VALUES ('2020-01-01 12:00+00', '{\"kind\": \"old\"}'::text::jsonb)")
    yield "event_20200101"
    await owner.execute("DROP TABLE IF EXISTS event_20200101")
    await owner.close()


async def test_an_old_day_is_dropped_once_every_reader_has_passed_it(database: Database, an_old_day: str) -> None:
    async def tend() -> list[str]:
        async with database.transaction() as tx:
            return await log.tend(tx, days_ahead=0, keep_from=datetime.now(UTC) - timedelta(days=7))

    async with a_reader(database) as behind:
        async with database.transaction() as tx:
            old = await tx.fetchval("SELECT count(*) FROM reader WHERE name <> $1", behind)
            await tx.execute("UPDATE reader SET xid = pg_current_xact_id(), id = 0 WHERE name <> $1", behind)
        assert f"dropped {an_old_day}" not in await tend(), f"{old} readers have passed it, one has not"
        async with database.transaction() as tx:
            await log.move(tx, behind, log.BEGINNING, await log.newest(tx), datetime.now(UTC))
        assert f"dropped {an_old_day}" in await tend()


async def test_a_day_that_nobody_made_keeps_its_rows_all_the_same(database: Database) -> None:
    far = datetime.now(UTC) + timedelta(days=400)
    start = await newest(database)
    async with database.transaction() as tx:
        body = msgspec.to_builtins(StockChanged(("from the default partition",)))
        await tx.execute("INSERT INTO event (at, body) VALUES ($1, $2)", far, body)
    assert await skus_soon(database, start, at_least=1) == ["from the default partition"]
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT count(*) FROM event_default WHERE at = $1", far) == 1
        await tx.execute("DELETE FROM event WHERE at = $1", far)


@pytest.mark.parametrize(("name", "arguments"), [("read_batch", [1, 1, 50]), ("standings", []), ("newest_place", [])])
async def test_the_log_is_read_by_its_index_however_long_it_is(database: Database, name: str, arguments: list[int]) -> None:
    with suppress(UndoneError):
        async with database.transaction() as tx:
            await tx.execute('INSERT INTO event (body) SELECT \'{"kind": "old"}\'::text::jsonb FROM generate_series(1, 20000)')
            today = await tx.fetchval(
                "SELECT 'event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')"
            )  # other days may be empty
            plan = await tx.fetchval(f"EXPLAIN (FORMAT JSON) {SQL[name]}", *arguments)
            seen = [node["Node Type"] for node in nodes(msgspec.json.decode(plan)) if node.get("Relation Name") == today]
            raise UndoneError
    assert seen
    assert not [kind for kind in seen if "Seq Scan" in kind], plan


def nodes(plan: object) -> list[dict[str, Any]]:
    """Every step of a plan."""
    if isinstance(plan, list):
        return [node for part in plan for node in nodes(part)]
    if not isinstance(plan, dict):
        return []
    return [plan, *(node for part in plan.values() for node in nodes(part))]
