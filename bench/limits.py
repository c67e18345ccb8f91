"""What DynamoDB's own engine writes in a second, by a bare client: item by item, in batches and in transactions.

Measured in the same run as the shop, from a process of its own; it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiodynamo.models import KeySchema, KeySpec, KeyType

from bench.harness import Options, RunningShop
from bench.load import Caller, Plan
from securecart.stores import dynamodb
from securecart.stores.dynamodb import DynamoDB, TableSpec

__all__ = ["BATCH", "TRANSACTION", "bare_table", "batches", "puts", "transactions", "write_plan"]

TABLE = TableSpec("bench", KeySchema(KeySpec("key", KeyType.string)), "expires_at")
BATCH = 25
TRANSACTION = 100
LINES = 3


def write_plan(shop: RunningShop, options: Options, scenario: str = "puts", *, callers: int | None = None) -> Plan:
    """Bare writes to DynamoDB: `puts`, `batches` or `transactions`."""
    chosen = shop.settings
    arguments = {"url": chosen.dynamodb_url, "region": chosen.dynamodb_region, "prefix": chosen.dynamodb_prefix}
    callers = callers or options.connections
    return Plan(f"bench.limits:{scenario}", callers, options.warm_up_s, options.seconds, arguments)


async def puts(caller: Caller) -> None:
    """One caller of DynamoDB: puts new items of a cart's size, one after the other."""

    async def put(tables: DynamoDB, name: str) -> None:
        await tables.client.send_request(action="PutItem", payload={"TableName": name, "Item": _item()})

    await _write(caller, put)


async def batches(caller: Caller) -> None:
    """The same items, 25 a call, each of which counts on its own."""

    async def send(tables: DynamoDB, name: str) -> None:
        wanted = [{"PutRequest": {"Item": _item()}} for _ in range(BATCH)]
        await tables.client.send_request(action="BatchWriteItem", payload={"RequestItems": {name: wanted}})

    await _write(caller, send)


async def transactions(caller: Caller) -> None:
    """The same items, 100 a call, all or none."""

    async def send(tables: DynamoDB, name: str) -> None:
        wanted = [{"Put": {"TableName": name, "Item": _item()}} for _ in range(TRANSACTION)]
        await tables.client.send_request(action="TransactWriteItems", payload={"TransactItems": wanted})

    await _write(caller, send)


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


async def _write(caller: Caller, send: Callable[[DynamoDB, str], Awaitable[None]]) -> None:
    given = caller.arguments
    tables = await dynamodb.connect(given["url"], region=given["region"], prefix=given["prefix"])
    try:
        while caller.running:
            began = time.perf_counter_ns()
            await send(tables, tables.name_of(TABLE))
            caller.record("write", began)
    finally:
        await tables.close()


def _item() -> dict[str, Any]:
    lines = [{"M": {"sku": {"S": f"CJ-{1_000_000 + number}"}, "quantity": {"N": "1"}}} for number in range(LINES)]
    return {
        "key": {"S": secrets.token_hex(16)},
        "lines": {"L": lines},
        "version": {"N": "1"},
        "change": {"S": secrets.token_hex(8)},
        "expires_at": {"N": str(int(time.time()) + 86_400)},
    }
