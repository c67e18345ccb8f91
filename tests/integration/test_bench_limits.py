"""The benches' limits speak to the stores as the shop does today, and leave nothing behind."""

from __future__ import annotations

import asyncpg
import pytest

from bench import harness, limits
from bench.harness import Options, RunningShop
from securecart.settings import Settings
from securecart.stores import dynamodb


@pytest.fixture
def running(engines: Settings) -> RunningShop:
    return RunningShop(engines, {})


async def test_bare_orders_are_paid_by_the_rooms_statements_and_taken_away_again(running: RunningShop) -> None:
    connection = await asyncpg.connect(running.settings.postgres_url)
    async with limits.bare_sql(running):
        load = await harness.generate(limits.order_plan(running, Options(seconds=0.3, connections=2, warm_up_s=0)))
        paid = await connection.fetchval("SELECT count(*) FROM orders WHERE shopper_id = $1 AND status = 'paid'", limits.SHOPPER)
        sold = await connection.fetchval("SELECT sum(sold) FROM stock WHERE sku LIKE 'BENCH-%'")
        held = await connection.fetchval("SELECT count(*) FROM reservation WHERE sku LIKE 'BENCH-%'")
    assert paid >= len(load.took_ns["order"]) > 0
    assert (sold, held) == (limits.LINES * paid, 0)
    for table, name in (
        ("orders", "shopper_id = 'bench:bare-sql'"),
        ("stock", "sku LIKE 'BENCH-%'"),
        ("allocation", "sku LIKE 'BENCH-%'"),
    ):
        assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE {name}") == 0
    await connection.close()


async def test_bare_writes_have_a_table_only_while_they_last(running: RunningShop) -> None:
    chosen = running.settings
    tables = await dynamodb.connect(chosen.dynamodb_url, region=chosen.dynamodb_region, prefix=chosen.dynamodb_prefix)
    async with limits.bare_table(running):
        load = await harness.generate(limits.write_plan(running, Options(seconds=0.3, connections=2, warm_up_s=0)))
        written = [item async for item in tables.client.table(tables.name_of(limits.TABLE)).scan()]
    assert len(written) >= len(load.took_ns["write"]) > 0
    assert not await tables.client.table(tables.name_of(limits.TABLE)).exists()
    await tables.close()
