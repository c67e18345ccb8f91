"""Whole tables of two regions: made alike in shape, compared, brought together, copied."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from securecart.ops.global_tables.applying import marked
from securecart.ops.global_tables.model import Change, Mark, Version
from securecart.ops.global_tables.state import Checkpoints
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Item, Key, Table, digest, ends_at, key_of
from securecart.stores.dynamodb.stream import Place, Stream
from securecart.stores.dynamodb.wire import Region

__all__ = ["Difference", "Known", "compare", "copy", "prepare_tables", "suspects"]

WRITES_AT_ONCE = 100


class Difference(Struct, frozen=True):
    """A key whose item is not the same in both regions; `only_in` is the region that has one, empty when both do."""

    table: str
    key: str
    only_in: str = ""


class Known(Struct, frozen=True):
    """The newest write to a key that the streams tell of, and whether it removed the item."""

    version: Version = Version(0, "")
    gone: bool = False


class _Seen(Struct, frozen=True):
    """What a scan keeps of an item."""

    digest: str
    ends_at: int | None


async def prepare_tables(regions: Sequence[Region], tables: Sequence[Table]) -> None:
    """Make what one region lacks in the image of the other, and have every table tell its changes; safe to repeat."""
    for table in tables:
        found = {region.name: await shape.described(region, table.name) for region in regions}
        like = next((one for one in found.values() if one is not None), None)
        for region in regions:
            described = found[region.name]
            if described is None and like is not None:
                await shape.create_like(region, table.name, like, expires=table.expires, streams=True)
            elif described is None or not described.get("StreamSpecification", {}).get("StreamEnabled"):
                await region.call("UpdateTable", TableName=table.name, StreamSpecification=shape.STREAM)
            await shape.wait_until_active(region, table.name)


async def compare(regions: Sequence[Region], tables: Sequence[Table]) -> list[Difference]:
    """The keys whose items differ; marks do not matter, nor does what is over and only waits to be removed."""
    differences: list[Difference] = []
    for table in tables:
        first, second = await asyncio.gather(*(_seen(region, table) for region in regions))
        for key in sorted(first.keys() | second.keys(), key=lambda one: one.text):
            there = [region.name for region, seen in zip(regions, (first, second), strict=True) if _is_alive(seen.get(key))]
            if there and (len(there) == 1 or first[key].digest != second[key].digest):
                differences.append(Difference(table.name, key.text, there[0] if len(there) == 1 else ""))
    return differences


async def suspects(streams: Sequence[Stream]) -> list[tuple[Key, Known]]:
    """The keys in which two regions' tables differ, each with the newest write that the streams know of.

    The streams are read to their end, and go on from there.
    """
    newest: dict[Key, Known] = {}
    for stream in streams:
        await _learn(stream, newest)
    table = streams[0].table
    differences = await compare([stream.region for stream in streams], [table])
    keys = [Key(one.table, one.key) for one in differences]
    return [(key, newest.get(key, Known())) for key in keys]


async def copy(source: Region, target: Region, tables: Sequence[Table], checkpoints: Checkpoints) -> int:
    """Make the target's tables exactly those of the source, for a region that comes back empty or old; answers the writes.

    No replicator may run, and nobody may write in the target. What is written in the source meanwhile is carried over by the
    replicator that starts next, because the checkpoints are set to where the copy began.
    """
    await prepare_tables([source, target], tables)
    written = 0
    places: dict[tuple[str, str], Place] = {}
    for table in tables:
        places[source.name, table.name] = await _end_of(source, table, checkpoints)
        theirs, ours = await asyncio.gather(_seen(target, table), _seen(source, table))
        gone = [key for key in theirs if key not in ours]
        written += await _delete(target, table, gone)
        version = Version(int(time.time() * 1_000_000), source.name)
        unlike: list[Item] = []
        async for page in shape.pages(source, table.name):
            unlike += [item for item in page if (seen := theirs.get(key_of(table, item))) is None or seen.digest != digest(item)]
            if len(unlike) >= WRITES_AT_ONCE:
                written += await _put(target, table, unlike, version)
                unlike = []
        written += await _put(target, table, unlike, version)
        places[target.name, table.name] = await _end_of(target, table, checkpoints)
    checkpoints.write(places)
    return written


async def _learn(stream: Stream, newest: dict[Key, Known]) -> None:
    """The newest version of every key that the stream tells of, read to its end."""
    while True:
        batch = await stream.read()
        for change in (Change.of(stream.region.name, stream.table, record) for record in batch.records):
            mark, before = change.echo, newest.get(change.key, Known())
            version = mark.version if mark is not None else Version(change.time_us, change.region)
            if mark is None and before.version.region == change.region:  # in order, whatever the clock says
                version = max(version, Version(before.version.time_us + 1, change.region))
            if version >= before.version:
                newest[change.key] = Known(version, change.new is None)
        if batch.at_end:
            return


async def _end_of(region: Region, table: Table, checkpoints: Checkpoints) -> Place:
    """The place after the last change that the region's stream tells of now."""
    stream = Stream(region, table)
    await stream.open(None)
    known = checkpoints.read().get((region.name, table.name))
    if known is not None and known.stream == stream.place.stream:
        await stream.open(known)
    await _learn(stream, {})
    return stream.place


async def _seen(region: Region, table: Table) -> dict[Key, _Seen]:
    seen: dict[Key, _Seen] = {}
    async for page in shape.pages(region, table.name):
        seen |= {key_of(table, item): _Seen(digest(item), ends_at(table, item)) for item in page}
    return seen


def _is_alive(seen: _Seen | None) -> bool:
    return seen is not None and (seen.ends_at is None or seen.ends_at > time.time())


async def _put(region: Region, table: Table, items: Sequence[Item], version: Version) -> int:
    mark = Mark(version, secrets.token_hex(4))
    puts = [{"Put": {"TableName": table.name, "Item": marked(item, mark)}} for item in items]
    return await _together(region, puts)


async def _delete(region: Region, table: Table, keys: Sequence[Key]) -> int:
    return await _together(region, [{"Delete": {"TableName": table.name, "Key": key.item()}} for key in keys])


async def _together(region: Region, steps: Sequence[Mapping[str, Any]]) -> int:
    """A hundred writes a transaction, which an engine of one's own commits at once."""
    for start in range(0, len(steps), WRITES_AT_ONCE):
        await region.call("TransactWriteItems", TransactItems=steps[start : start + WRITES_AT_ONCE])
    return len(steps)
