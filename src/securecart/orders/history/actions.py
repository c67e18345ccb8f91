"""Keep the history and look into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Any

import asyncpg
from aiodynamo.expressions import HashKey, RangeKey
from aiodynamo.models import GlobalSecondaryIndex, KeySchema, KeySpec, KeyType, Projection, ProjectionType, Select
from aiodynamo.utils import dy2py

from securecart.orders.history.model import DAY_SHARDS, Entry, Key, day_key, entry_of, item_of, key_of
from securecart.orders.model import OrderSummary
from securecart.stores.dynamodb import DynamoDB, LeftOut, TableSpec
from securecart.stores.postgres import Fresh, statements_of
from securecart.values import decode_cursor, encode_cursor

SQL = statements_of(__package__)

BY_NUMBER = "by_number"
BY_DAY = "by_status_and_day"
TABLE = TableSpec(
    "order-history",
    KeySchema(KeySpec("shopper_id", KeyType.string), KeySpec("order_id", KeyType.number)),
    indexes=(
        GlobalSecondaryIndex(
            BY_NUMBER, KeySchema(KeySpec("number", KeyType.string)), Projection(ProjectionType.keys_only), throughput=None
        ),
        GlobalSecondaryIndex(
            BY_DAY,
            KeySchema(KeySpec("status_day", KeyType.string), KeySpec("order_id", KeyType.number)),
            Projection(ProjectionType.include, ["number", "status", "currency", "total_minor", "items", "placed_us"]),
            throughput=None,
        ),
    ),
)

PROJECTED = Select.all_projected_attributes
NEWEST = 2**63 - 1
SCAN_ITEMS = 2_000
# DynamoDB Local goes through all that lies before a page, so a large table is read part by part; and through the whole table
# once for each part, so there are few.
SCAN_PARTS = 8
BATCH_GETS = 100


async def entries(fresh: Fresh, order_ids: Sequence[int]) -> list[Entry]:
    """These orders as the orders database says they are now, in one statement; ids of no order are left out."""
    return [_entry(row) for row in await fresh.fetch(SQL["history_entries"], list(order_ids))]


async def entries_after(fresh: Fresh, order_id: int, *, limit: int) -> list[Entry]:
    """The orders behind an id, oldest first, as the orders database says they are now."""
    return [_entry(row) for row in await fresh.fetch(SQL["history_page"], order_id, limit)]


async def keep(dynamodb: DynamoDB, kept: Sequence[Entry], *, giving_way: bool = False) -> None:
    """Write these orders into the history, over what it said of them before; safe to repeat.

    With `giving_way` it takes several times as long, and shoppers hardly wait for it.
    """
    await dynamodb.put_many(TABLE, [item_of(entry) for entry in kept], giving_way=giving_way)


async def forget(dynamodb: DynamoDB, keys: Sequence[Key]) -> None:
    """Take items out of the history."""
    await dynamodb.delete_many(TABLE, [key_of(key) for key in keys])


async def list_of(dynamodb: DynamoDB, shopper_id: str, *, after: str | None, limit: int) -> tuple[list[OrderSummary], str | None]:
    """A page of the shopper's orders, newest first, and the cursor of the next; cursors are those of `orders.list_of`."""
    before: int = decode_cursor(after, int)[0] if after else NEWEST
    async with dynamodb.table(TABLE) as table:
        page = await table.query_single_page(
            HashKey("shopper_id", shopper_id) & RangeKey("order_id").lt(before), scan_forward=False, limit=limit + 1
        )
    found = [entry_of(item) for item in page.items]
    following = encode_cursor(found[limit - 1].order_id) if len(found) > limit else None
    return [entry.summary for entry in found[:limit]], following


async def find(dynamodb: DynamoDB, number: str) -> Key | None:
    """Whose order this number is, or None; the index may be some milliseconds behind the table."""
    async with dynamodb.table(TABLE) as table:
        page = await table.query_single_page(HashKey("number", number), index=BY_NUMBER, limit=1, select=PROJECTED)
    return Key(page.items[0]["shopper_id"], page.items[0]["order_id"]) if page.items else None


async def of_day(dynamodb: DynamoDB, status: str, day: date, *, before: int = NEWEST, limit: int = 100) -> list[Entry]:
    """Orders placed on a day (UTC) that have this status now, newest first, from the id `before` backwards."""

    async def part(shard: int) -> list[dict[str, Any]]:
        async with dynamodb.table(TABLE) as table:
            condition = HashKey("status_day", day_key(status, day, shard)) & RangeKey("order_id").lt(before)
            page = await table.query_single_page(condition, index=BY_DAY, scan_forward=False, limit=limit, select=PROJECTED)
        return page.items

    parts = await asyncio.gather(*(part(shard) for shard in range(DAY_SHARDS)))
    found = sorted((entry_of(item) for items in parts for item in items), key=lambda entry: -entry.order_id)
    return found[:limit]


async def known(dynamodb: DynamoDB, keys: Sequence[Key]) -> list[Entry]:
    """What the history says of these orders, in no order; those it does not have are left out."""
    found: list[Entry] = []
    for start in range(0, len(keys), BATCH_GETS):
        found += await _known(dynamodb, [key_of(key) for key in keys[start : start + BATCH_GETS]])
    return found


async def scan(dynamodb: DynamoDB) -> AsyncIterator[list[Key]]:
    """Every key of the history, a page at a time."""
    for part in range(SCAN_PARTS):
        asked: dict[str, Any] = {
            "TableName": dynamodb.name_of(TABLE),
            "ProjectionExpression": "shopper_id, order_id",
            "Limit": SCAN_ITEMS,
            "Segment": part,
            "TotalSegments": SCAN_PARTS,
        }
        while True:
            async with dynamodb.calls() as client:
                page = await client.send_request(action="Scan", payload=asked)
            if page["Items"]:
                yield [Key(item["shopper_id"]["S"], int(item["order_id"]["N"])) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]


async def _known(dynamodb: DynamoDB, keys: list[dict[str, Any]]) -> list[Entry]:
    name, found, left = dynamodb.name_of(TABLE), list[Entry](), keys

    async def read() -> None:
        nonlocal left
        async with dynamodb.calls() as client:
            asked = {"RequestItems": {name: {"Keys": left, "ConsistentRead": True}}}
            answer = await client.send_request(action="BatchGetItem", payload=asked)
        found.extend(entry_of(dy2py(item, int)) for item in answer["Responses"].get(name, []))
        left = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
        if left:
            raise LeftOut

    await dynamodb.asking_again(read)
    return found


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(**dict(row))
