"""Tables as wholes over the plain wire: described, made in another's image, waited for, read from front to back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from securecart.stores.dynamodb.wire import Refused, Region

__all__ = ["STREAM", "count", "create_like", "described", "expire_by", "pages", "wait_until_active"]

READY_WITHIN_S = 30
STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
SHAPE = ("AttributeDefinitions", "KeySchema")
INDEXES = ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")


async def described(region: Region, name: str) -> dict[str, Any] | None:
    """What the engine says of the table; None when there is none."""
    try:
        answer: dict[str, Any] = (await region.call("DescribeTable", TableName=name))["Table"]
    except Refused as refused:
        if refused.code == "ResourceNotFoundException":
            return None
        raise
    return answer


async def create_like(region: Region, name: str, shape: Mapping[str, Any], *, expires: str, streams: bool) -> None:
    """Make an empty table with the keys and indexes of the one that was `described`; returns once it can be used."""
    indexes = {
        kind: [{part: index[part] for part in ("IndexName", "KeySchema", "Projection")} for index in shape[kind]]
        for kind in INDEXES
        if shape.get(kind)
    }
    await region.call(
        "CreateTable",
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        **{part: shape[part] for part in SHAPE},
        **indexes,
        **({"StreamSpecification": STREAM} if streams else {}),
    )
    await wait_until_active(region, name)
    if expires:
        await expire_by(region, name, expires)


async def expire_by(region: Region, name: str, attribute: str) -> None:
    """Have the engine remove items once the time (epoch seconds) in this attribute is over."""
    expiry = {"Enabled": True, "AttributeName": attribute}
    await region.call("UpdateTimeToLive", TableName=name, TimeToLiveSpecification=expiry)


async def wait_until_active(region: Region, name: str, *, within_s: float = READY_WITHIN_S) -> None:
    """Return once the table can be used; `TimeoutError` when that takes longer."""
    async with asyncio.timeout(within_s):
        while (found := await described(region, name)) is None or found["TableStatus"] != "ACTIVE":  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.1)


async def pages(region: Region, name: str, *, limit: int | None = None) -> AsyncIterator[list[dict[str, Any]]]:
    """All items, page by page; what is written meanwhile may be there or not."""
    start: dict[str, Any] = {} if limit is None else {"Limit": limit}
    while True:
        page = await region.call("Scan", TableName=name, ConsistentRead=True, **start)
        yield page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        start["ExclusiveStartKey"] = page["LastEvaluatedKey"]


async def count(region: Region, name: str) -> int:
    """How many items there are, counted one by one."""
    counted, start = 0, dict[str, Any]()
    while True:
        page: dict[str, Any] = await region.call("Scan", TableName=name, Select="COUNT", ConsistentRead=True, **start)
        counted += int(page["Count"])
        if "LastEvaluatedKey" not in page:
            return counted
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
