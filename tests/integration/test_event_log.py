"""The event log against the real database: nothing skipped, nothing out of order, days made and dropped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from securecart.events import OrderWaits, StockChanged
from securecart.stores.postgres import Database, log


async def test_facts_are_there_exactly_when_what_they_tell_of_is(database: Database) -> None:
    async with database.read() as read:
        before = await read.fetchval("SELECT count(*) FROM event")

    async def publish_and_fail() -> None:
        async with database.transaction() as tx:
            await log.publish(tx, [StockChanged(("A",))])
            await tx.execute("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await publish_and_fail()
    async with database.transaction() as tx:
        await log.publish(tx, [StockChanged(("A", "B")), OrderWaits(1, "guest:x")])
    async with database.read() as read:
        rows = await read.fetch("SELECT body FROM event ORDER BY xid, id OFFSET $1", before)
    assert [row["body"] for row in rows] == [
        {"kind": "stock_changed", "skus": ["A", "B"]},
        {"kind": "order_waits", "order_id": 1, "shopper_id": "guest:x"},
    ]


async def test_days_are_made_ahead_and_kept_while_a_reader_needs_them(database: Database) -> None:
    async with database.transaction() as tx:
        made = await tx.fetchval("SELECT tend_event_log(9, $1)", datetime.now(UTC) - timedelta(days=1))
        assert [what.partition(" ")[0] for what in made] == ["made", "made"]
        assert await tx.fetchval("SELECT tend_event_log(9, $1)", datetime.now(UTC)) == []
