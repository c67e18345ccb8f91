"""The changes of one table in one region, from DynamoDB Streams: shard after shard, from a place that was written down."""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct

from securecart.stores.dynamodb.items import Item, Key, Table, key_of
from securecart.stores.dynamodb.wire import Refused, Region

__all__ = ["Batch", "Place", "Record", "Stream", "Trimmed"]

RECORDS_MAX = 1000
# An answer ends at so many records or at a megabyte: one well below both has told everything there was.
OF_AN_END = 0.9
ENGINE_STAMP_DIGITS = 13
LOST = ("TrimmedDataAccessException", "ResourceNotFoundException", "ValidationException")


class Place(Struct, frozen=True):
    """Where a stream is to be read on: at or after a record of a shard. An empty shard is the oldest record there is."""

    stream: str
    shard: str = ""
    sequence: str = ""
    after: bool = True


class Record(Struct, frozen=True):
    """One change to one item, its images as they were stored; `place` is where the stream can be read again from it.

    `time_us` (since 1970) is when it was made, by the engine's clock.
    """

    key: Key
    time_us: int
    place: tuple[str, str]
    old: Item | None
    new: Item | None


class Batch(Struct, frozen=True):
    """What one question brought: the records, whether that was all there were, and when (epoch seconds) it was asked."""

    records: list[Record]
    at_end: bool
    asked_at: float


class Trimmed(Exception):
    """The place is no longer in the stream: changes are lost to it, and only a comparison of the tables helps."""


class Stream:
    """One region's changes to one table, in order for each key, at most `records_max` (1,000) with one question."""

    def __init__(self, region: Region, table: Table, *, records_max: int = RECORDS_MAX) -> None:
        self.region = region
        self.table = table
        self.records_max = records_max
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
            answer = await self.region.call("GetRecords", ShardIterator=self._iterator, Limit=self.records_max)
        except Refused as refused:
            self._iterator = ""
            if refused.code == "TrimmedDataAccessException" and self._has_read:
                raise Trimmed from refused
            # An iterator has grown old; or it stood before the first record of a shard, which DynamoDB Local calls trimmed.
            return Batch([], at_end=False, asked_at=asked_at)
        records = [_record(self.table, self.place.shard, told) for told in answer["Records"]]
        if records:
            self._has_read = True
            self.place = Place(self.place.stream, self.place.shard, records[-1].place[0])
        self._iterator = answer.get("NextShardIterator") or ""
        closed = not self._iterator and await self._go_on()
        at_end = not closed and len(records) < OF_AN_END * self.records_max
        return Batch(records, at_end=at_end, asked_at=asked_at)

    async def is_one_line(self) -> bool:
        """Whether its shards follow each other, as an engine of one machine has them; of several side by side one is read."""
        return sum("EndingSequenceNumber" not in shard["SequenceNumberRange"] for shard in await self._shards()) <= 1

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


def _record(table: Table, shard: str, told: dict[str, Any]) -> Record:
    change = told["dynamodb"]
    return Record(
        key=key_of(table, change["Keys"]),
        time_us=_made_us(told),
        place=(change["SequenceNumber"], shard),
        old=change.get("OldImage"),
        new=change.get("NewImage"),
    )


def _made_us(told: dict[str, Any]) -> int:
    """When the change was made. DynamoDB Local tells the minute; engines that we start say in the name which millisecond."""
    stamp, _, _ = str(told.get("eventID", "")).partition("-")
    if len(stamp) == ENGINE_STAMP_DIGITS and stamp.isdigit():
        return int(stamp) * 1000
    return int(float(told["dynamodb"]["ApproximateCreationDateTime"]) * 1_000_000)
