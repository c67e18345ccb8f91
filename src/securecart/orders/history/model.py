"""An order as its history shows it, and how that is written in DynamoDB."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from msgspec import Struct

from securecart.orders.model import OrderSummary, Status
from securecart.values import Money

__all__ = ["DAY_SHARDS", "Entry", "Key", "day_key", "entry_of", "item_of", "key_of"]

# One key of an index takes a thousand writes a second, and every order of a day begins under the same status and day.
DAY_SHARDS = 8
MICROSECONDS = 1_000_000


class Key(Struct, frozen=True):
    """Which order of which shopper."""

    shopper_id: str
    order_id: int


class Entry(Struct, frozen=True):
    """A line of "My orders", and whose it is; `items` counts units."""

    order_id: int
    shopper_id: str
    number: str
    status: Status
    currency: str
    total_minor: int
    items: int
    placed_at: datetime

    @property
    def summary(self) -> OrderSummary:
        """The entry as its shopper sees it."""
        return OrderSummary(self.number, self.status, Money(self.total_minor, self.currency), self.items, self.placed_at)


def day_key(status: str, day: date, shard: int) -> str:
    """Where the index keeps the orders with this status that were placed on this day (UTC), one of `DAY_SHARDS` parts."""
    return f"{status}#{day.isoformat()}#{shard}"


def item_of(entry: Entry) -> dict[str, Any]:
    """The entry in DynamoDB's own JSON."""
    placed_at = entry.placed_at.astimezone(UTC)
    return {
        **key_of(Key(entry.shopper_id, entry.order_id)),
        "number": {"S": entry.number},
        "status": {"S": entry.status},
        "status_day": {"S": day_key(entry.status, placed_at.date(), entry.order_id % DAY_SHARDS)},
        "currency": {"S": entry.currency},
        "total_minor": {"N": str(entry.total_minor)},
        "items": {"N": str(entry.items)},
        "placed_us": {"N": str(round(placed_at.timestamp() * MICROSECONDS))},
    }


def key_of(key: Key) -> dict[str, Any]:
    """The key in DynamoDB's own JSON."""
    return {"shopper_id": {"S": key.shopper_id}, "order_id": {"N": str(key.order_id)}}


def entry_of(item: dict[str, Any]) -> Entry:
    """The entry that an item holds."""
    seconds, microseconds = divmod(item["placed_us"], MICROSECONDS)
    return Entry(
        order_id=item["order_id"],
        shopper_id=item["shopper_id"],
        number=item["number"],
        status=item["status"],
        currency=item["currency"],
        total_minor=item["total_minor"],
        items=item["items"],
        placed_at=datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds),
    )
