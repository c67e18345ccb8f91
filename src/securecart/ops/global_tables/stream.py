"""The changes of one table in one region, from DynamoDB Streams: shard after shard, from a place that was written down."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec import Struct

from securecart.ops.global_tables.model import Change, Item, Key, Mark, bare
from securecart.ops.global_tables.wire import Refused, Region

__all__ = ["Batch", "Place", "Stream", "Table", "Trimmed", "ends_at", "key_of"]

RECORDS_MAX = 1000
# An answer ends at a thousand records or at a megabyte: one well below both has told everything there was.
RECORDS_OF_AN_END = 900
ENGINE_STAMP_DIGITS = 13
LOST = ("TrimmedDataAccessException", "ResourceNotFoundException", "ValidationException")


class Table(Struct, frozen=True):
    """A table that is replicated: its full name, its key attributes, and the attribute (epoch seconds) that ends a life."""

    name: str
    keys: tuple[str, ...]
    expires: str = ""


class Place(Struct, frozen=True):
    """Where a stream is to be read on: at or after a record of a shard. An empty shard is the oldest record there is."""

    stream: str
    shard: str = ""
    sequence: str = ""
    after: bool = True


class Batch(Struct, frozen=True):
    """What one question brought: the changes, whether that was all there were, and when (epoch seconds) it was asked."""

    changes: list[Change]
    at_end: bool
    asked_at: float


class Trimmed(Exception):
    """The place is no longer in the stream: changes are lost to it, and only a comparison of the tables helps."""


class Stream:
    """One region's changes to one table, in order for each key."""

    def __init__(self, region: Region, table: Table) -> None:
        self.region = region
        self.table = table
        self.place = Place("")
        self._iterator = ""
        self._has_read = False

    async def open(self, place: Place | None) -> None:
        """Begin at this place, or at the oldest record; `Trimmed` when the stream does not reach back to the place."""
        described = await self.region.call("DescribeTable", TableName=self.table.name)
        arn = described["Table"]["LatestStreamArn"]
        if place is not None and place.stream != arn:
            raise Trimmed
        self.place = place or Place(arn)
        self._iterator, self._has_read = "", bool(self.place.sequence)
        await self._find()

    async def read(self) -> Batch:
        """The next changes, none when there are none yet; `Trimmed` when the engine has dropped what would come next."""
        asked_at = time.time()
        if not self._iterator:
            await self._find()
        try:
            answer = await self.region.call("GetRecords", ShardIterator=self._iterator, Limit=RECORDS_MAX)
        except Refused as refused:
            self._iterator = ""
            if refused.code == "TrimmedDataAccessException" and self._has_read:
                raise Trimmed from refused
            # An iterator has grown old; or it stood before the first record of a shard, which DynamoDB Local calls trimmed.
            return Batch([], at_end=False, asked_at=asked_at)
        records = answer["Records"]
        if records:
            self._has_read = True
            self.place = Place(self.place.stream, self.place.shard, records[-1]["dynamodb"]["SequenceNumber"])
        self._iterator = answer.get("NextShardIterator") or ""
        closed = not self._iterator and await self._go_on()
        at_end = not closed and len(records) < RECORDS_OF_AN_END
        return Batch([self._change(record) for record in records], at_end=at_end, asked_at=asked_at)

    async def _find(self) -> None:
        """An iterator for the place."""
        if not self.place.shard:
            self.place = Place(self.place.stream, (await self._shards())[0]["ShardId"])
        kind = "AFTER_SEQUENCE_NUMBER" if self.place.after else "AT_SEQUENCE_NUMBER"
        at = {"ShardIteratorType": kind, "SequenceNumber": self.place.sequence}
        if not self.place.sequence:
            at = {"ShardIteratorType": "TRIM_HORIZON"}
        where = {"StreamArn": self.place.stream, "ShardId": self.place.shard}
        try:
            self._iterator = (await self.region.call("GetShardIterator", **where, **at))["ShardIterator"]
        except Refused as refused:
            if refused.code in LOST:
                raise Trimmed from refused
            raise

    async def _go_on(self) -> bool:
        """Whether this shard, which is closed, has a successor; it is read from now on."""
        for shard in await self._shards():
            if shard.get("ParentShardId") == self.place.shard:
                self.place = Place(self.place.stream, shard["ShardId"])
                return True
        return False

    async def _shards(self) -> list[dict[str, Any]]:
        described = (await self.region.call("DescribeStream", StreamArn=self.place.stream))["StreamDescription"]
        shards = sorted(described["Shards"], key=lambda shard: str(shard["SequenceNumberRange"]["StartingSequenceNumber"]))
        if not shards:
            raise Trimmed
        return shards

    def _change(self, record: dict[str, Any]) -> Change:
        told = record["dynamodb"]
        old, new = told.get("OldImage"), told.get("NewImage")
        return Change(
            region=self.region.name,
            key=key_of(self.table, told["Keys"]),
            time_us=_written_us(record, self.table, old, new),
            place=(told["SequenceNumber"], self.place.shard),
            old=bare(old),
            new=bare(new),
            old_mark=Mark.read(old),
            new_mark=Mark.read(new),
        )


def key_of(table: Table, item: Item) -> Key:
    """The key of an item of this table."""
    return Key(table.name, msgspec.json.encode({name: item[name] for name in table.keys}).decode())


def ends_at(table: Table, item: Item | None) -> int | None:
    """When the item's life ends, in epoch seconds; None when it does not."""
    value = (item or {}).get(table.expires, {}).get("N") if table.expires else None
    return int(float(value)) if value is not None else None


def _written_us(record: dict[str, Any], table: Table, old: Item | None, new: Item | None) -> int:
    """When the change was made; what was over already when it was removed counts from the moment it was over.

    DynamoDB Local tells the minute; engines that we start say in the record's name which millisecond it was.
    """
    stamp, _, _ = str(record.get("eventID", "")).partition("-")
    if len(stamp) == ENGINE_STAMP_DIGITS and stamp.isdigit():
        made_us = int(stamp) * 1000
    else:
        made_us = int(float(record["dynamodb"]["ApproximateCreationDateTime"]) * 1_000_000)
    over = ends_at(table, old) if new is None else None
    return made_us if over is None else min(made_us, over * 1_000_000)
