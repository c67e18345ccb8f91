"""Many writes into a table, together where that is cheaper: without a condition, or each only where nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from securecart.errors import StoreAway
from securecart.ops.table_recovery.model import Entry
from securecart.patience import TABLE_RECOVERY, repeat
from securecart.stores.dynamodb.conditions import as_expected
from securecart.stores.dynamodb.items import Item, Table, bare, key_of, same
from securecart.stores.dynamodb.wire import Refused, Region, Unlike

__all__ = ["Write", "in_batches", "put_all", "read_all", "write_where_unchanged"]

# Of one transaction, which an engine of one's own commits at once; AWS takes 4 MB, and conditions count.
WRITES = 100
BATCH_BYTES = 1024 * 1024
BUSY_TWICE = {"TransactionCanceledException"}


class Write(Struct, frozen=True):
    """Make the item with this key `image` (None: nothing) where it is still `expected` (None: nothing is there)."""

    key: str
    image: Item | None
    expected: Item | None


async def in_batches(pages: AsyncIterator[list[Entry]]) -> AsyncIterator[list[Entry]]:
    """The entries in batches that go into one transaction."""
    batch: list[Entry] = []
    size = 0
    async for page in pages:
        for entry in page:
            length = len(bytes(entry.image))
            if batch and (len(batch) == WRITES or size + length > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(entry)
            size += length
    if batch:
        yield batch


async def put_all(region: Region, name: str, batch: Sequence[Entry]) -> None:
    """Put these items; nobody else writes them."""
    puts = [{"Put": {"TableName": name, "Item": entry.image}} for entry in batch]
    await repeat(TABLE_RECOVERY, StoreAway, lambda: region.call("TransactWriteItems", TransactItems=puts))


async def read_all(region: Region, table: Table, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The newest state of those items that are there, without marks, by key."""
    found: dict[str, dict[str, Any]] = {}
    left: list[Any] = [msgspec.json.decode(key) for key in keys]

    async def read() -> None:
        nonlocal left
        asked = {table.name: {"Keys": left, "ConsistentRead": True}}
        answer = await region.call("BatchGetItem", RequestItems=asked)
        for item in answer["Responses"].get(table.name, []):
            found[key_of(table, item).text] = dict(bare(item) or {})
        left = answer.get("UnprocessedKeys", {}).get(table.name, {}).get("Keys", [])
        if left:
            raise region.away()

    await repeat(TABLE_RECOVERY, StoreAway, read)
    return found


async def write_where_unchanged(region: Region, table: Table, writes: Sequence[Write]) -> list[str]:
    """Carry out the writes; answers the keys of those that were left because the item is no longer what was expected."""
    if not writes:
        return []
    steps = [_step(table, write) for write in writes]
    try:
        await repeat(TABLE_RECOVERY, StoreAway, lambda: region.call("TransactWriteItems", TransactItems=steps))
    except Refused as refused:
        if refused.code not in BUSY_TWICE:
            raise
        return [write.key for write in writes if not await _alone(region, table, write)]
    return []


async def _alone(region: Region, table: Table, write: Write) -> bool:
    ((verb, request),) = _step(table, write).items()
    try:
        await repeat(TABLE_RECOVERY, StoreAway, lambda: region.call(f"{verb}Item", **request))
    except Unlike as unlike:
        return same(bare(unlike.item), write.image)  # an earlier try whose answer was lost
    return True


def _step(table: Table, write: Write) -> dict[str, Mapping[str, Any]]:
    condition = as_expected(table.keys, write.expected, write.image or {})
    if write.image is None:
        return {"Delete": {"TableName": table.name, "Key": msgspec.json.decode(write.key), **condition}}
    return {"Put": {"TableName": table.name, "Item": write.image, **condition}}
