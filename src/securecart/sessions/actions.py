"""Start, find, renew and end sessions: each one call to DynamoDB."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec
from aiodynamo.errors import ConditionalCheckFailed
from aiodynamo.expressions import F
from aiodynamo.models import KeySchema, KeySpec, KeyType

from securecart.errors import StoreAway
from securecart.sessions.model import DAY_S, Session, hash_of, is_due
from securecart.stores.dynamodb import DynamoDB, TableSpec
from securecart.telemetry import log

__all__ = ["TABLE", "end", "end_all_of", "find", "start_for", "start_guest"]

TABLE = TableSpec("sessions", KeySchema(KeySpec("token_hash", KeyType.string)), expires="expires_at")

TOKEN_BYTES = 32
SCAN_ITEMS = 500


async def start_guest(dynamodb: DynamoDB, *, days: int) -> Session:
    """A session for somebody whom nobody knows yet, with a cart of their own."""
    return await _start(dynamodb, {"shopper_id": f"guest:{secrets.token_urlsafe(16)}"}, days)


async def start_for(dynamodb: DynamoDB, *, account_id: UUID, email: str, name: str, staff: bool, days: int) -> Session:
    """A session for an account that has just proved who it is."""
    shopper = {"shopper_id": f"account:{account_id}", "account_id": str(account_id), "email": email, "name": name, "staff": staff}
    return await _start(dynamodb, shopper, days)


async def find(dynamodb: DynamoDB, token: str) -> Session | None:
    """The token's session, or None when it is unknown, ended or expired; its expiry moves at most once a day."""
    now = int(time.time())
    # The newest state: a log-out must count at once, and a token just given out must be known at once.
    row = await dynamodb.get(TABLE, hash_of(token))
    # DynamoDB removes what has expired hours or days later.
    if row is None or row["expires_at"] <= now:
        return None
    if is_due(row["expires_at"], now, days=row["days"]):
        return await _renew(dynamodb, token, row, now)
    return _session(token, row)


async def end(dynamodb: DynamoDB, token: str) -> None:
    """The token is worth nothing from now on; safe to repeat."""
    async with dynamodb.table(TABLE) as table:
        await table.delete_item({"token_hash": hash_of(token)})


async def end_all_of(dynamodb: DynamoDB, account_ids: Collection[str]) -> int:
    """End every session of these accounts, wherever they are logged in; how many there were. It reads the whole table."""
    ended, start_key = 0, None
    while True:
        async with dynamodb.table(TABLE) as table:
            page = await table.scan_single_page(limit=SCAN_ITEMS, start_key=start_key)
        theirs = [item for item in page.items if item.get("account_id") in account_ids]
        await dynamodb.delete_many(TABLE, [{"token_hash": {"S": item["token_hash"]}} for item in theirs])
        ended, start_key = ended + len(theirs), page.last_evaluated_key
        if start_key is None:
            return ended


async def _start(dynamodb: DynamoDB, shopper: dict[str, Any], days: int) -> Session:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    row = {**shopper, "days": days, "expires_at": int(time.time()) + days * DAY_S}
    async with dynamodb.table(TABLE) as table:
        await table.put_item({"token_hash": hash_of(token), **row})
    return _session(token, row)


async def _renew(dynamodb: DynamoDB, token: str, row: dict[str, Any], now: int) -> Session | None:
    later = {**row, "expires_at": now + row["days"] * DAY_S}
    try:
        async with dynamodb.table(TABLE) as table:
            # Only where it still exists, or a log-out at this very moment would be undone.
            await table.update_item(
                {"token_hash": row["token_hash"]},
                F("expires_at").set(later["expires_at"]),
                condition=F("token_hash").exists(),
            )
    except ConditionalCheckFailed:
        return None
    except StoreAway:
        log.warning("session could not be renewed, it is used as it is", shopper=row["shopper_id"])
        return _session(token, row)
    return _session(token, later)


def _session(token: str, row: dict[str, Any]) -> Session:
    return msgspec.convert(
        {"account_id": None, "email": "", "name": "", "staff": False, **row, "token": token},
        Session,
    )
