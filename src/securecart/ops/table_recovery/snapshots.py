"""Snapshots: a table scanned into the archive while the shop works, gently, in parts of bounded size."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import msgspec

from securecart.errors import RecoveryRefused
from securecart.ops.table_recovery.holdings import part_name
from securecart.ops.table_recovery.model import Entry, Snapshot, stamp
from securecart.stores.archive import Archive
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Table, bare, key_of
from securecart.stores.dynamodb.wire import Region

__all__ = ["take"]

PART_BYTES = 8 * 1024 * 1024
PAGE_ITEMS = 500
# The engine rests as long as a page took, so that the shop's own calls come through between two.
REST = 1.0
SHAPE = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes")


async def take(archive: Archive, region: Region, table: Table, folder: str, era: str, *, first: int) -> Snapshot:
    """Scan the table; the journal's pieces from number `first` on have every change made since now (0: there is none)."""
    described = await shape.described(region, table.name)
    if described is None:
        raise RecoveryRefused(problem=f"There is no table {table.name}.")
    began_at = datetime.now(UTC)
    label = stamp(began_at)
    lines: list[bytes] = []
    items = parts = kept = size = 0

    async def write() -> None:
        nonlocal lines, parts, kept, size
        parts += 1
        kept += await asyncio.to_thread(archive.put, part_name(folder, era, label, parts), b"\n".join(lines))
        lines, size = [], 0

    asked = time.monotonic()
    async for page in shape.pages(region, table.name, limit=PAGE_ITEMS):
        took = time.monotonic() - asked
        for item in page:
            image = msgspec.Raw(msgspec.json.encode(bare(item)))
            lines.append(msgspec.json.encode(Entry(key_of(table, item).text, image)))
            size += len(lines[-1])
            items += 1
        if size >= PART_BYTES:
            await write()
        await asyncio.sleep(took * REST)
        asked = time.monotonic()
    if lines:
        await write()
    taken = Snapshot(
        label=label,
        first=first,
        began_at=began_at,
        ended_at=datetime.now(UTC),
        items=items,
        parts=parts,
        bytes=kept,
        shape={name: described[name] for name in SHAPE if described.get(name)},
        expires=table.expires,
    )
    await asyncio.to_thread(archive.put, part_name(folder, era, label), msgspec.json.encode(taken))
    return taken
