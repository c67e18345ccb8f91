"""The moment that a person means: a time, a place beside a transaction, or the moment of an order."""

from __future__ import annotations

import asyncpg

from securecart.errors import BadInput
from securecart.ops.recovery.model import Moment, parse_moment
from securecart.orders import history
from securecart.settings import Settings
from securecart.stores import dynamodb
from securecart.stores.postgres import statements_of

__all__ = ["moment_of"]

SQL = statements_of(__package__)


async def moment_of(text: str, settings: Settings, *, field: str = "at") -> Moment:
    """The moment that `text` names; an order's is when it was placed, also where it is no order any more. `BadInput`."""
    moment = parse_moment(text)
    if moment is not None:
        return moment
    number = text.strip().upper()
    connection = await asyncpg.connect(settings.postgres_owner_url)
    try:
        at = await connection.fetchval(SQL["order_placed_at"], number)
    finally:
        await connection.close()
    if at is None:
        at = await _in_history(number, settings)
    if at is None:
        problem = (
            f"{text!r} is no time and no order. Give a time as 2026-11-30 14:05:00 (UTC) or `2 minutes ago`, an order's number, "
            "or before:XID or after:XID with the number of a transaction."
        )
        raise BadInput(field=field, problem=problem)
    return Moment(at=at)


async def _in_history(number: str, settings: Settings) -> object:
    """When the order was placed, by its shopper's history, which keeps what the orders database has lost."""
    tables = await dynamodb.connect(settings.dynamodb_url, region=settings.dynamodb_region, prefix=settings.dynamodb_prefix)
    try:
        key = await history.find(tables, number)
        known = await history.known(tables, [key]) if key is not None else []
        return known[0].placed_at if known else None
    finally:
        await tables.close()
