"""The benches' limits speak to the stores as the shop does today, and leave nothing behind."""

from __future__ import annotations

import asyncpg
import pytest

from bench import ceiling, harness, limits
from bench.harness import Options, RunningShop
from securecart.settings import Settings
from securecart.stores import dynamodb

BRIEF = Options(seconds=0.5, connections=2, warm_up_s=0)


@pytest.fixture
def running(engines: Settings) -> RunningShop:
    return RunningShop(engines, {})


@pytest.mark.parametrize(("hot", "lines"), [(False, ceiling.LINES), (True, 1)])
async def test_the_raw_ceiling_sells_by_the_shops_own_transactions_in_tables_of_its_own(
    running: RunningShop, *, hot: bool, lines: int
) -> None:
    owner = await asyncpg.connect(running.settings.postgres_owner_url)
    before = await owner.fetchrow("SELECT count(*), (SELECT count(*) FROM event) AS events FROM orders")
    async with ceiling.copied_tables(running):
        await owner.execute(f"SET search_path = {ceiling.SCHEMA}")
        delivered = await owner.fetchval("SELECT count(*) FROM event")
        load = await harness.generate(ceiling.ceiling_plan(running, BRIEF, hot=hot, group_most=256, callers=8))
        paid = await owner.fetchval("SELECT count(*) FROM orders WHERE status = 'paid'")
        events = await owner.fetchval("SELECT count(*) FROM event")
        stock = await owner.fetchrow(
            "SELECT sum(taken), (SELECT count(*) FROM hold), count(*) FILTER (WHERE taken > 0) AS skus FROM stock"
        )
        await owner.execute("RESET search_path")
    assert paid == events - delivered >= len(load.took_ns["order"]) > 0
    assert stock is not None
    assert tuple(stock)[:2] == (lines * paid, 0)
    assert (stock["skus"] == 1) == hot
    assert await owner.fetchrow("SELECT count(*), (SELECT count(*) FROM event) AS events FROM orders") == before
    assert not await owner.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", ceiling.SCHEMA)
    await owner.close()


@pytest.mark.parametrize(("scenario", "items"), [("puts", 1), ("batches", limits.BATCH), ("transactions", limits.TRANSACTION)])
async def test_bare_writes_have_a_table_only_while_they_last(running: RunningShop, scenario: str, items: int) -> None:
    chosen = running.settings
    tables = await dynamodb.connect(chosen.dynamodb_url, region=chosen.dynamodb_region, prefix=chosen.dynamodb_prefix)
    async with limits.bare_table(running):
        load = await harness.generate(limits.write_plan(running, BRIEF, scenario, callers=1))
        written = len([item async for item in tables.client.table(tables.name_of(limits.TABLE)).scan()])
    assert written >= items * len(load.took_ns["write"]) > 0
    assert written % items == 0
    assert not await tables.client.table(tables.name_of(limits.TABLE)).exists()
    await tables.close()
