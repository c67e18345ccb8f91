"""What the orders database has to teach the graph: decided orders with all that they were linked to, and accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from securecart.fraud.attempts import attempt_of, microseconds
from securecart.fraud.model import Lesson, Origin
from securecart.fraud.teaching import NewAccount
from securecart.stores.postgres import Fresh, statements_of
from securecart.values import Address, Money

__all__ = ["lessons", "lessons_after", "new_accounts", "new_accounts_after"]

SQL = statements_of(__package__)


async def lessons(fresh: Fresh, order_ids: Sequence[int]) -> list[Lesson]:
    """Those of these orders that are decided, as they are now."""
    return [_lesson(row) for row in await fresh.fetch(SQL["lessons"], order_ids)] if order_ids else []


async def lessons_after(fresh: Fresh, after: int, *, limit: int) -> list[Lesson]:
    """A page of the decided orders behind this one, the earliest first."""
    return [_lesson(row) for row in await fresh.fetch(SQL["lessons_after"], after, limit)]


async def new_accounts(fresh: Fresh, account_ids: Sequence[UUID]) -> list[NewAccount]:
    """When those of these accounts that are there were made."""
    return [_account(row) for row in await fresh.fetch(SQL["new_accounts"], account_ids)] if account_ids else []


async def new_accounts_after(fresh: Fresh, after: UUID, *, limit: int) -> tuple[list[NewAccount], UUID]:
    """A page of the accounts behind this one, by their ids, and the last of it."""
    rows = await fresh.fetch(SQL["new_accounts_after"], after, limit)
    return [_account(row) for row in rows], rows[-1]["id"] if rows else after


def _lesson(row: Any) -> Lesson:
    attempt = attempt_of(
        row["shopper_id"],
        row["placed_at"],
        Money(row["total_minor"], row["currency"]),
        email=row["email"],
        address=msgspec.convert(row["shipping_address"], Address),
        origin=Origin(row["device"], row["network"], row["network_country"]),
        card=row["card"],
        card_country=row["card_country"],
    )
    fraud_at = None if row["fraud_at"] is None else microseconds(row["fraud_at"])
    return Lesson(row["order_id"], row["number"], row["status"], attempt, fraud_at)


def _account(row: Any) -> NewAccount:
    return NewAccount(f"account:{row['id']}", microseconds(row["created_at"]))
