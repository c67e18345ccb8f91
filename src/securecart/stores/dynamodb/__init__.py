"""DynamoDB: one client, the tables a room declares, and one sentence when it is away.

A room declares its `TableSpec` and sends its own conditional writes through `DynamoDB.table`. Calls are
repeated for a short while, and not made at all while the engine is known to be away; then, or when it was asked wrongly by
nobody's fault but its own, the caller sees `StoreAway`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from aiodynamo.client import Client, Table
from aiodynamo.credentials import Credentials, Key, StaticCredentials
from aiodynamo.errors import (
    ItemNotFound,
    ResourceInUse,
    TableAlreadyExists,
    TransactionCanceled,
    TransactionConflict,
    UnknownError,
    ValidationException,
)
from aiodynamo.http.aiohttp import AIOHTTP
from aiodynamo.models import (
    BatchGetRequest,
    DecorelatedJitterRetry,
    GlobalSecondaryIndex,
    KeySchema,
    PayPerRequest,
    TimeToLiveStatus,
)
from aiodynamo.sign import make_default_endpoint
from aiodynamo.utils import wait
from msgspec import Struct
from yarl import URL

from securecart.errors import StoreAway
from securecart.grouping import Grouped
from securecart.patience import DYNAMODB, DYNAMODB_LEFT_OUT, DYNAMODB_MANY, Breaker, repeat
from securecart.stores.dynamodb.client import AWAY, CONNECTIONS_MAX, Once, PatientClient
from securecart.stores.dynamodb.items import Table as WholeTable
from securecart.stores.dynamodb.shape import STREAM
from securecart.telemetry import log

__all__ = ["DynamoDB", "LeftOut", "TableSpec", "connect"]

BATCH_WRITES = 25
TRANSACTION_WRITES = 100
# Others have the engine twice as long as who gives way.
GIVING_WAY_WRITES, GIVING_WAY_FACTOR = 10, 2.0
BATCHES_AT_ONCE = 2
KEYS_MAX = 100  # of one BatchGetItem
_WAIT = DecorelatedJitterRetry(time_limit_secs=60)

Item = dict[str, Any]
T = TypeVar("T")


class LeftOut(Exception):
    """The engine had no room for a part of what it was asked; the rest was done."""


class TableSpec(Struct, frozen=True):
    """A table as its room wants it: short name, key, the attribute (epoch seconds) that ends an item's life, other ways in.

    Without `expires` items stay until somebody deletes them. Indexes are made with the table, never added later.
    """

    name: str
    keys: KeySchema
    expires: str = ""
    indexes: tuple[GlobalSecondaryIndex, ...] = ()

    def in_full(self, prefix: str) -> WholeTable:
        """The table as who carries or keeps it as a whole needs it."""
        keys = (self.keys.hash_key, self.keys.range_key)
        return WholeTable(prefix + self.name, tuple(key.name for key in keys if key), self.expires)

    @property
    def key(self) -> str:
        """The name of the key's first attribute, which is all of it in a table that `DynamoDB.get` is used with."""
        return self.keys.hash_key.name


class DynamoDB:
    """A connected client that knows the prefix of this shop's tables."""

    def __init__(self, client: PatientClient, session: aiohttp.ClientSession, prefix: str, *, is_local: bool = False) -> None:
        self.breaker = Breaker(DYNAMODB, self.answers)
        self.client = dataclasses.replace(client, breaker=self.breaker)
        self._session = session
        self._prefix = prefix
        self._is_local = is_local
        self._get: Grouped[tuple[TableSpec, str], Item | None] = Grouped(self._get_all, most=KEYS_MAX)

    def name_of(self, spec: TableSpec) -> str:
        """The table's full name in this account."""
        return self._prefix + spec.name

    @asynccontextmanager
    async def table(self, spec: TableSpec) -> AsyncIterator[Table]:
        """The table, for one or more calls; whatever says that DynamoDB is away becomes `StoreAway`."""
        async with self.calls():
            yield self.client.table(self.name_of(spec))

    @asynccontextmanager
    async def calls(self) -> AsyncIterator[Client]:
        """The client itself, for calls that span tables, with the same translation of errors."""
        try:
            yield self.client
        except AWAY as error:
            raise _away() from error

    async def asking_again(self, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` answers once it does not say `LeftOut` any more; `StoreAway` when that takes too long."""
        try:
            return await repeat(DYNAMODB_LEFT_OUT, LeftOut, call)
        except LeftOut as error:
            raise _away() from error

    async def answers(self) -> bool:
        """Whether anybody is there at this moment; asked without a signature, which every DynamoDB answers politely."""
        url = self.client.endpoint or make_default_endpoint(self.client.region)
        try:
            async with asyncio.timeout(DYNAMODB.answer_s), self._session.get(url) as answer:
                return answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
        except AWAY:
            return False

    async def get(self, spec: TableSpec, key: str) -> Item | None:
        """The newest state of the item with this key, or None; what is asked for at the same time is asked in one request."""
        return await self._get((spec, key))

    async def put_many(self, spec: TableSpec, items: Sequence[Mapping[str, Any]], *, giving_way: bool = False) -> None:
        """Put items, in DynamoDB's own JSON and each key once; what the engine had no room for is sent again.

        AWS asks twice the price for a write in a transaction, so there they go in batches. An engine of our own commits a
        transaction once and a batch item by item, so there a hundred go in one transaction at half the time. While it writes
        one, everybody else waits: with `giving_way` transactions are small, and the engine is left to others most of the time.
        """
        if not self._is_local:
            await self._write_many(spec, [{"PutRequest": {"Item": item}} for item in items])
            return
        name = self.name_of(spec)
        at_once = GIVING_WAY_WRITES if giving_way else TRANSACTION_WRITES
        for start in range(0, len(items), at_once):
            part, began = items[start : start + at_once], time.monotonic()
            steps = [{"Put": {"TableName": name, "Item": item}} for item in part]
            try:
                async with self.calls() as client:
                    await client.send_request(action="TransactWriteItems", payload={"TransactItems": steps})
            except (TransactionCanceled, TransactionConflict):  # somebody else writes one of them at this moment
                await self._write_many(spec, [{"PutRequest": {"Item": item}} for item in part])
            if giving_way and start + at_once < len(items):
                await asyncio.sleep(GIVING_WAY_FACTOR * (time.monotonic() - began))

    async def delete_many(self, spec: TableSpec, keys: Sequence[Mapping[str, Any]]) -> None:
        """Delete items by their keys, in DynamoDB's own JSON and each once."""
        await self._write_many(spec, [{"DeleteRequest": {"Key": key}} for key in keys])

    async def _write_many(self, spec: TableSpec, writes: Sequence[dict[str, Any]]) -> None:
        parts = [writes[start : start + BATCH_WRITES] for start in range(0, len(writes), BATCH_WRITES)]
        turns = asyncio.Semaphore(BATCHES_AT_ONCE)

        async def send(part: Sequence[dict[str, Any]]) -> None:
            async with turns:
                await self._write_part(self.name_of(spec), part)

        await asyncio.gather(*(send(part) for part in parts))

    async def _write_part(self, name: str, part: Sequence[dict[str, Any]]) -> None:
        left = part

        async def write() -> None:
            nonlocal left
            async with self.calls() as client:
                answer = await client.send_request(action="BatchWriteItem", payload={"RequestItems": {name: left}})
            left = answer.get("UnprocessedItems", {}).get(name, [])
            if left:
                raise LeftOut

        await self.asking_again(write)

    async def create_tables(self, specs: Iterable[TableSpec], *, streams: bool | None = None) -> None:
        """Create what is missing, with on-demand capacity and expiry; safe to repeat and to race.

        `streams` says whether the tables are to tell their changes, those that are there too; None leaves that as it is.
        """
        for spec in specs:
            async with self.calls() as client:
                await _create(client.table(self.name_of(spec)), spec)
                if streams is not None:
                    await self._stream(client, self.name_of(spec), wanted=streams)

    async def _stream(self, client: Client, name: str, *, wanted: bool) -> None:
        described = (await client.send_request(action="DescribeTable", payload={"TableName": name}))["Table"]
        if described.get("StreamSpecification", {}).get("StreamEnabled", False) == wanted:
            return
        change = {"TableName": name, "StreamSpecification": STREAM if wanted else {"StreamEnabled": False}}
        try:
            await client.send_request(action="UpdateTable", payload=change)
        except (ResourceInUse, UnknownError, ValidationException) as problem:  # another process is doing so, or it cannot
            log.warning("a table's stream could not be switched", table=name, wanted=wanted, problem=repr(problem))

    async def close(self) -> None:
        """Close the connections."""
        self.breaker.close()
        await self._session.close()

    async def _get_all(self, asked: Sequence[tuple[TableSpec, str]]) -> list[Item | Exception | None]:
        keys: dict[TableSpec, set[str]] = defaultdict(set)
        for spec, key in asked:
            keys[spec].add(key)
        try:
            async with asyncio.timeout(DYNAMODB_MANY.answer_s):
                if len(asked) == 1:  # a batch of one costs the engine nearly twice as much as asking for the item itself
                    return [await self._get_item(*asked[0])]
                found = await self._get_keys(keys)
        except (StoreAway, TimeoutError):
            # each hears it at once: asking one by one would only wait as long again
            return [_away() for _ in asked]
        return [found.get((spec, key)) for spec, key in asked]

    async def _get_item(self, spec: TableSpec, key: str) -> Item | None:
        try:
            async with self.table(spec) as table:
                return await table.get_item({spec.key: key}, consistent_read=True)
        except ItemNotFound:
            return None

    async def _get_keys(self, keys: Mapping[TableSpec, set[str]]) -> dict[tuple[TableSpec, str], Item]:
        found: dict[tuple[TableSpec, str], Item] = {}
        left = keys

        async def read() -> None:
            nonlocal left
            request = {
                self.name_of(spec): BatchGetRequest([{spec.key: key} for key in wanted], consistent_read=True)
                for spec, wanted in left.items()
            }
            async with self.calls() as client:
                answer = await client.batch_get(request)
            for spec in left:
                found.update({(spec, item[spec.key]): item for item in answer.items.get(self.name_of(spec), [])})
            late = {spec: answer.unprocessed_keys.get(self.name_of(spec), []) for spec in left}
            left = {spec: {key[spec.key] for key in some} for spec, some in late.items() if some}
            if left:  # the table is throttled: what was left out is asked for again
                raise LeftOut

        await self.asking_again(read)
        return found


async def connect(url: str, *, region: str, prefix: str) -> DynamoDB:
    """A client for the engine at `url`, or for the region's own endpoint on AWS when `url` is empty.

    An engine with an address of its own accepts any credentials; on AWS they come from where AWS puts them.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX + 1, keepalive_timeout=60),  # one more, to look whether it is back
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=DYNAMODB.connect_s),
    )
    client = PatientClient(
        AIOHTTP(session),
        StaticCredentials(Key("securecart", "securecart")) if url else Credentials.auto(),
        region,
        endpoint=URL(url) if url else None,
        numeric_type=int,
        throttle_config=Once(),
    )
    return DynamoDB(client, session, prefix, is_local=bool(url))


def _away() -> StoreAway:
    return StoreAway(store=DYNAMODB.name, retry_after=2)


async def _create(table: Table, spec: TableSpec) -> None:
    if not await table.exists():
        try:
            await table.create(PayPerRequest(), spec.keys, gsis=list(spec.indexes) or None, wait_for_active=_WAIT)
        except (ResourceInUse, TableAlreadyExists):
            log.info("another process is creating the table", table=table.name)
            await wait(_WAIT, table.exists)
    if spec.expires and (await table.time_to_live.describe()).status is TimeToLiveStatus.disabled:
        await table.time_to_live.enable(spec.expires)
