"""A table made equal to an earlier moment where it stands: compared first, and then only what differs is written.

The shop may go on meanwhile: each item is written only if it is still as it was compared, and the others are told.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from securecart.ops.table_recovery.model import Entry
from securecart.ops.table_recovery.past import Past
from securecart.ops.table_recovery.writing import WRITES, Write, in_batches, read_all, write_where_unchanged
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Table, digest, ends_at, key_of
from securecart.stores.dynamodb.wire import Region

__all__ = ["Comparison", "Done", "carry_out", "compare"]

Tell = Callable[[str], None]


class Comparison(Struct, frozen=True):
    """Keys of the items that differ: there then and not now, other now, only there now, with the digest of what is there.

    `same` are alike. `over` are left alone: what was there then would have expired by now.
    """

    missing: set[str] = field(default_factory=set)
    changed: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    same: int = 0
    over: int = 0

    def only_missing(self) -> Comparison:
        """What is to do where nothing that is there may be touched."""
        return Comparison(self.missing, {}, {}, self.same, self.over)


class Done(Struct, frozen=True):
    """What was written; `left` are keys of items that somebody changed since they were compared."""

    put_back: int
    removed: int
    left: list[str]
    seconds: float


async def compare(past: Past, region: Region, tell: Tell) -> Comparison:
    """What differs now from the table as it was; nothing is written."""
    table, now = past.table, time.time()
    then: dict[str, str] = {}
    over: set[str] = set()
    async for entries in past.pages():
        for entry in entries:
            image = _item(entry)
            if _is_over(table, image, now):
                over.add(entry.key)
            else:
                then[entry.key] = digest(image)
        tell(f"{table.name}: {len(then):,} items then")
    changed: dict[str, str] = {}
    added: dict[str, str] = {}
    same = seen = left_alone = 0
    async for page in shape.pages(region, table.name):
        for item in page:
            key, held = key_of(table, item).text, digest(item)
            seen += 1
            if key in over:
                left_alone += 1
            elif (was := then.pop(key, None)) == held:
                same += 1
            elif was is not None:
                changed[key] = held
            elif _is_over(table, item, now):
                left_alone += 1
            else:
                added[key] = held
        tell(f"{table.name}: {seen:,} items now")
    return Comparison(set(then), changed, added, same, left_alone)


async def carry_out(past: Past, region: Region, found: Comparison, tell: Tell) -> Done:
    """Write what was found to differ, each item only if it is still what was found."""
    began = time.monotonic()
    table = past.table
    put_back = removed = 0
    left: list[str] = []
    async for batch in in_batches(_wanted(past, found)):
        late = await _put_back(region, table, batch, found.changed)
        left += late
        put_back += len(batch) - len(late)
        tell(f"{table.name}: {put_back:,} items put back")
    for keys in _parts(list(found.added)):
        late = await _remove(region, table, keys, found.added)
        left += late
        removed += len(keys) - len(late)
        tell(f"{table.name}: {removed:,} items removed")
    return Done(put_back, removed, left, round(time.monotonic() - began, 1))


async def _wanted(past: Past, found: Comparison) -> AsyncIterator[list[Entry]]:
    async for page in past.pages():
        yield [entry for entry in page if entry.key in found.missing or entry.key in found.changed]


async def _put_back(region: Region, table: Table, batch: Sequence[Entry], changed: dict[str, str]) -> list[str]:
    held = await read_all(region, table, [entry.key for entry in batch])
    writes, left = [], []
    for entry in batch:
        item, now = _item(entry), held.get(entry.key)
        if digest(now) == digest(item):
            continue  # somebody put it back already
        if digest(now) == changed.get(entry.key, ""):
            writes.append(Write(entry.key, item, now))
        else:
            left.append(entry.key)
    return left + await write_where_unchanged(region, table, writes)


async def _remove(region: Region, table: Table, keys: Sequence[str], added: dict[str, str]) -> list[str]:
    held = await read_all(region, table, keys)
    there = {key: item for key, item in held.items() if digest(item) == added[key]}
    left = [key for key in keys if key in held and key not in there]
    return left + await write_where_unchanged(region, table, [Write(key, None, item) for key, item in there.items()])


def _parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + WRITES] for start in range(0, len(keys), WRITES))


def _item(entry: Entry) -> dict[str, Any]:
    item: dict[str, Any] = msgspec.json.decode(entry.image)
    return item


def _is_over(table: Table, item: dict[str, Any], now: float) -> bool:
    end = ends_at(table, item)
    return end is not None and end <= now
