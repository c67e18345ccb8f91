"""Point-in-time recovery where DynamoDB has it itself: on AWS.

AWS restores items, keys, indexes and capacity into a new table. Expiry, streams, tags, continuous backups and protection from
deletion it leaves out; they are set here as the old table has them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from securecart.errors import RecoveryRefused, StoreAway
from securecart.ops.recovery.model import Window
from securecart.ops.table_recovery.restoring import Restored, refuse_existing
from securecart.patience import TABLE_RECOVERY, repeat
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Table
from securecart.stores.dynamodb.wire import Refused, Region, aws_region
from securecart.telemetry import log

__all__ = ["keep_on_aws", "restore_natively", "window_of"]

Tell = Callable[[str], None]
POLL_S = 5.0


async def keep_on_aws(aws: str, tables: Sequence[Table]) -> None:
    """Turn the tables' continuous backups on in this AWS region; where that is not allowed, say so and go on."""
    region = aws_region(aws, patience=TABLE_RECOVERY)
    try:
        for table in tables:
            try:
                if (await _backups(region, table.name)).get("PointInTimeRecoveryStatus") != "ENABLED":
                    await _turn_on(region, table.name)
                    log.info("continuous backups of a table are turned on", table=table.name)
            except (Refused, StoreAway) as problem:
                log.warning("a table's continuous backups could not be turned on", table=table.name, problem=str(problem))
    finally:
        await region.close()


async def window_of(region: Region, name: str) -> Window:
    """The moments to which AWS can restore the table; `RecoveryRefused` when it keeps none."""
    described = await _backups(region, name)
    if described.get("PointInTimeRecoveryStatus") != "ENABLED":
        raise RecoveryRefused(
            problem=f"The continuous backups of {name} are off, so AWS keeps no earlier moment of it. `securecart up` turns them "
            f"on; so does: aws dynamodb update-continuous-backups --table-name {name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
        )
    return Window(_time(described["EarliestRestorableDateTime"]), _time(described["LatestRestorableDateTime"]))


async def restore_natively(region: Region, name: str, at: datetime, into: str, tell: Tell) -> Restored:
    """Have AWS restore the table, wait until it has, and set what it leaves out; minutes to hours, by size."""
    began = time.monotonic()
    window = await window_of(region, name)
    if not window.since <= at <= window.until:
        since, until, asked = (f"{one:%Y-%m-%d %H:%M:%S}" for one in (window.since, window.until, at))
        raise RecoveryRefused(
            problem=f"{name} cannot be had as of {asked} UTC; AWS can restore it as of {since} to {until} (UTC). The last five "
            "minutes are usually missing; wait for them."
        )
    await refuse_existing(region, into)
    moment = int(at.timestamp())
    await region.call("RestoreTableToPointInTime", SourceTableName=name, TargetTableName=into, RestoreDateTime=moment)
    while (found := await _looked_at(region, into)) is None or found["TableStatus"] != "ACTIVE":
        tell(f"{into}: AWS is restoring, {time.monotonic() - began:.0f} s so far")
        await asyncio.sleep(POLL_S)
    await _complete(region, name, into)
    count = found.get("ItemCount")  # AWS counts every six hours
    return Restored(into, int(count) if count else None, round(time.monotonic() - began, 1))


async def _looked_at(region: Region, name: str) -> dict[str, Any] | None:
    return await repeat(TABLE_RECOVERY, StoreAway, lambda: shape.described(region, name))


async def _complete(region: Region, name: str, into: str) -> None:
    """Everything that AWS leaves out of a restored table, as the old one has it."""
    old, new = await shape.described(region, name), await shape.described(region, into)
    assert old is not None
    assert new is not None
    expiry = (await region.call("DescribeTimeToLive", TableName=name))["TimeToLiveDescription"]
    if expiry["TimeToLiveStatus"] in {"ENABLED", "ENABLING"}:
        await shape.expire_by(region, into, expiry["AttributeName"])
    tags = (await region.call("ListTagsOfResource", ResourceArn=old["TableArn"])).get("Tags", [])
    if tags := [tag for tag in tags if not tag["Key"].startswith("aws:")]:
        await region.call("TagResource", ResourceArn=new["TableArn"], Tags=tags)
    await _turn_on(region, into)
    if old.get("StreamSpecification", {}).get("StreamEnabled"):
        await region.call("UpdateTable", TableName=into, StreamSpecification=old["StreamSpecification"])
        await shape.wait_until_active(region, into)
    if old.get("DeletionProtectionEnabled"):
        await region.call("UpdateTable", TableName=into, DeletionProtectionEnabled=True)
        await shape.wait_until_active(region, into)


async def _turn_on(region: Region, name: str) -> None:
    """AWS makes continuous backups available a moment after a table, and says so by refusing."""
    specification = {"PointInTimeRecoveryEnabled": True}

    async def ask() -> None:
        try:
            await region.call("UpdateContinuousBackups", TableName=name, PointInTimeRecoverySpecification=specification)
        except Refused as refused:
            if refused.code == "ContinuousBackupsUnavailableException":
                raise region.away() from refused
            raise

    await repeat(TABLE_RECOVERY, StoreAway, ask)


async def _backups(region: Region, name: str) -> dict[str, Any]:
    described = await region.call("DescribeContinuousBackups", TableName=name)
    found: dict[str, Any] = described["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    return found


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
