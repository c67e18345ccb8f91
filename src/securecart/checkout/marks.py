"""What a shopper has just done, kept in the cache until the readers of the event log have surely been there.

With it a shopper sees an empty cart and the newest order at once. While the cache is away nothing is kept, and the shopper
sees for a moment what the readers have not done yet.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from securecart.orders import Order
from securecart.stores.cache import Cache

__all__ = ["Mark", "leave", "look", "wipe"]

MARK_S = 600


class Mark(Struct, frozen=True, array_like=True):
    """The shopper's latest order, its status, and the state of the cart that it bought ("" where it bought none)."""

    number: str
    status: str
    cart_change: str


async def leave(cache: Cache, shopper_id: str, order: Order, *, cart_change: str = "") -> None:
    """Remember the order that a shopper has placed or changed, and the cart that is bought with it."""
    mark = Mark(order.number, order.status, cart_change)
    await cache.put(_key(shopper_id), msgspec.json.encode(mark), seconds=MARK_S)


async def look(cache: Cache, shopper_id: str) -> Mark | None:
    """The shopper's mark, None when there is none or it was written by another version."""
    kept = await cache.get(_key(shopper_id))
    if kept is None:
        return None
    try:
        return msgspec.json.decode(kept, type=Mark)
    except msgspec.DecodeError:
        return None


async def wipe(cache: Cache, shopper_id: str) -> None:
    """Forget the shopper's mark."""
    await cache.drop([_key(shopper_id)])


def _key(shopper_id: str) -> str:
    return f"mark:{shopper_id}"
