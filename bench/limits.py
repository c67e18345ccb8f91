"""What a journey cannot be faster than: the bare SQL of an order, and the bare writes of DynamoDB.

Each is measured in the same run as the shop, with as many callers, from a process of its own, and leaves
nothing behind.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from aiodynamo.models import KeySchema, KeySpec, KeyType

from bench.harness import Options, RunningShop
from bench.load import Caller, Plan
from securecart.inventory.actions import SQL as INVENTORY
from securecart.orders import new_number
from securecart.orders.actions import SQL as ORDERS
from securecart.payments.actions import SQL as PAYMENTS
from securecart.stores import dynamodb
from securecart.stores.dynamodb import TableSpec
from securecart.stores.postgres import statements_of

__all__ = ["bare_orders", "bare_sql", "bare_table", "bare_writes", "order_plan", "write_plan"]

SQL = statements_of("bench")
TABLE = TableSpec("bench", KeySchema(KeySpec("key", KeyType.string)), "expires_at")
SHOPPER = "bench:bare-sql"
SKUS = [f"BENCH-{number:05}" for number in range(10_000)]
UNITS_PLENTY = 1_000_000
LINES = 3
ADDRESS = '{"name": "Bench", "line1": "1 Main Street", "city": "Springfield", "postcode": "12345", "country": "US"}'


def write_plan(shop: RunningShop, options: Options) -> Plan:
    """Bare writes to DynamoDB."""
    chosen = shop.settings
    arguments = {"url": chosen.dynamodb_url, "region": chosen.dynamodb_region, "prefix": chosen.dynamodb_prefix}
    return Plan("bench.limits:bare_writes", options.connections, options.warm_up_s, options.seconds, arguments)


def order_plan(shop: RunningShop, options: Options) -> Plan:
    """Bare SQL of orders."""
    arguments = {"url": shop.settings.postgres_url}
    return Plan("bench.limits:bare_orders", options.connections, options.warm_up_s, options.seconds, arguments)


async def bare_writes(caller: Caller) -> None:
    """One caller of DynamoDB: puts new items of a cart's size, one after the other."""
    given = caller.arguments
    tables = await dynamodb.connect(given["url"], region=given["region"], prefix=given["prefix"])
    lines = [{"sku": f"CJ-{1_000_000 + number}", "quantity": 1} for number in range(LINES)]
    try:
        table = tables.client.table(tables.name_of(TABLE))
        while caller.running:
            item: dict[str, Any] = {"key": secrets.token_hex(16), "lines": lines, "version": 1, "change": secrets.token_hex(8)}
            item["expires_at"] = int(time.time()) + 86_400
            began = time.perf_counter_ns()
            await table.put_item(item)
            caller.record("write", began)
    finally:
        await tables.close()


async def bare_orders(caller: Caller) -> None:
    """One caller of PostgreSQL: the statements of an order's two transactions, in order, on a connection of its own."""
    connection = await asyncpg.connect(caller.arguments["url"], server_settings={"application_name": "securecart bench"})
    chance = random.Random(caller.number)
    try:
        while caller.running:
            skus = sorted(chance.sample(SKUS, LINES))
            began = time.perf_counter_ns()
            order = await _open(connection, skus)
            await _settle(connection, order)
            caller.record("order", began)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def bare_table(shop: RunningShop) -> AsyncIterator[None]:
    """A table for the bare writes, for as long as the block runs."""
    chosen = shop.settings
    tables = await dynamodb.connect(chosen.dynamodb_url, region=chosen.dynamodb_region, prefix=chosen.dynamodb_prefix)
    try:
        await tables.create_tables([TABLE])
        yield
        await tables.client.table(tables.name_of(TABLE)).delete()
    finally:
        await tables.close()


@contextlib.asynccontextmanager
async def bare_sql(shop: RunningShop) -> AsyncIterator[None]:
    """Stock of made-up SKUs for the bare orders; afterwards neither they nor their orders are there."""
    connection = await asyncpg.connect(shop.settings.postgres_url)
    try:
        await connection.execute(SQL["receive_bare_stock"], SKUS, UNITS_PLENTY)
        yield
    finally:
        await connection.execute(SQL["forget_bare_orders"], SHOPPER)
        await connection.execute(SQL["forget_bare_stock"], SKUS)
        await connection.close()


async def _open(connection: asyncpg.Connection, skus: list[str]) -> int:
    until = datetime.now(UTC) + timedelta(hours=1)
    many = [1] * LINES
    async with connection.transaction():
        row = await connection.fetchrow(
            ORDERS["open_order"],
            *(new_number(), SHOPPER, secrets.token_hex(16), b"", 1, "", "bench@example.com", "USD"),
            *(300, 0, 0, False, 300, "pickup", ADDRESS, ADDRESS, until),
            *(skus, [f"Product {sku}" for sku in skus], many, [100] * LINES, [0] * LINES, [100] * LINES),
        )
        assert row is not None, "every order of the bare SQL has a key of its own"
        order: int = row["id"]
        short = await connection.fetch(INVENTORY["reserve_stock"], order, skus, many, until)
        assert not short, "the bare SQL has stock enough"
        await connection.execute(PAYMENTS["expect_payment"], order, "bench", "USD", 300)
    return order


async def _settle(connection: asyncpg.Connection, order: int) -> None:
    async with connection.transaction():
        await connection.fetchval(ORDERS["decide_order"], order, "paid", "Payment received.")
        await connection.execute(PAYMENTS["capture_payment"], order, "bench", "visa", "4242")
        await connection.execute(INVENTORY["sell_reserved"], order)
