"""What one journey costs the stores: items written to and read from DynamoDB, and SQL statements.

A web process of its own is started whose calls to DynamoDB go through a counting proxy; a single caller plays
the journey against it, while PostgreSQL counts statements by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager

import aiohttp
import asyncpg
import msgspec
from aiohttp import web

from bench import harness
from bench.harness import BenchFailed, RunningShop
from bench.lag import catch_up
from bench.load import Plan
from bench.servers import started
from securecart import readers
from securecart.app import open_shop
from securecart.readers import Stores
from securecart.stores.postgres import log, statements_of
from securecart.stores.postgres.log import Place

__all__ = ["calls_of"]

SQL = statements_of("bench")
SINGLE = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
SECONDS = 1.0
BATCH_FACTS = 500


async def calls_of(shop: RunningShop, plan: Plan) -> dict[str, float]:
    """Writes, reads and statements for each journey of the plan, which notes one thing a journey.

    What the event log's readers do afterwards belongs to a journey. The worker does it unseen; it is then done again
    through the proxy, which changes nothing and costs the same items.
    """
    counted: Counter[str] = Counter()
    async with _proxy(shop.settings.dynamodb_url, counted) as tables_url, _stores(shop, tables_url) as stores:
        await catch_up(stores.database)
        async with stores.database.fresh() as read:
            place = await log.newest(read)
        async with _web_process(shop, tables_url) as (url, _):
            counted.clear()  # what its start asked does not count
            before = await _statements(shop)
            arguments = {**plan.arguments, "url": url}
            alone = Plan(plan.scenario, callers=1, warm_up_s=0.0, seconds=SECONDS, arguments=arguments)
            journeys = len((await harness.generate(alone)).notes)
        await catch_up(stores.database)
        after = await _statements(shop)
        await _read_again(stores, place)
    if not journeys:
        raise BenchFailed(problem="no journey was finished while its calls were counted.")
    figures = figures_of(counted)
    if before is not None and after is not None:
        figures["sql_statements"] = after - before
    return {f"{name}_per_journey": round(count / journeys, 2) for name, count in figures.items()}


async def _read_again(stores: Stores, place: Place) -> None:
    while True:
        async with stores.database.fresh() as read:
            batch = await log.read_batch(read, place, limit=BATCH_FACTS)
        if batch is None:
            return
        for reader in readers.READERS:
            await reader.read(stores, batch.facts)
        place = batch.last


@contextlib.asynccontextmanager
async def _stores(shop: RunningShop, tables_url: str) -> AsyncIterator[Stores]:
    async with open_shop(msgspec.structs.replace(shop.settings, dynamodb_url=tables_url)) as opened:
        yield opened.stores


def figures_of(counted: Mapping[str, int]) -> dict[str, int]:
    """Items written and read: one by one, in batches and in transactions."""
    writes = {
        "dynamodb_single_writes": sum(count for action, count in counted.items() if action in SINGLE),
        "dynamodb_batched_writes": counted.get("BatchWriteItem", 0),
        "dynamodb_transacted_writes": counted.get("TransactWriteItems", 0),
    }
    written = sum(writes.values())
    return {"dynamodb_writes": written, **writes, "dynamodb_reads": sum(counted.values()) - written}


def items_in(action: str, body: bytes) -> int:
    """How many items a call writes or reads."""
    if action == "BatchWriteItem":
        return sum(len(wanted) for wanted in msgspec.json.decode(body)["RequestItems"].values())
    if action == "BatchGetItem":
        return sum(len(wanted["Keys"]) for wanted in msgspec.json.decode(body)["RequestItems"].values())
    if action in {"TransactWriteItems", "TransactGetItems"}:
        return len(msgspec.json.decode(body)["TransactItems"])
    return 1


@contextlib.asynccontextmanager
async def _proxy(target: str, counted: Counter[str]) -> AsyncIterator[str]:
    async with aiohttp.ClientSession() as session:

        async def forward(request: web.Request) -> web.Response:
            action, body = request.headers.get("X-Amz-Target", "").rpartition(".")[2], await request.read()
            counted[action] += items_in(action, body)
            headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
            async with session.post(target, data=body, headers=headers) as answer:
                said = await answer.read()
            return web.Response(body=said, status=answer.status, content_type="application/x-amz-json-1.0")

        application = web.Application()
        application.router.add_post("/", forward)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def _web_process(shop: RunningShop, tables_url: str) -> AbstractAsyncContextManager[tuple[str, list[int]]]:
    environment = {**os.environ, "SECURECART_HOME": shop.settings.home, "SECURECART_DYNAMODB_URL": tables_url}
    return started(["securecart.web"], probe="/readyz", environment=environment)


async def _statements(shop: RunningShop) -> int | None:
    connection = await asyncpg.connect(shop.settings.postgres_url)
    try:
        counted: int = await connection.fetchval(SQL["statements_sent"])
    except asyncpg.PostgresError:
        return None  # a server without pg_stat_statements counts nothing
    finally:
        await connection.close()
    return counted
