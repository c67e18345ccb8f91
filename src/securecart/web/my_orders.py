"""A shopper's orders: from the order history where that is fresh, from the orders database where it is not.

Whoever began to leaf in the orders database goes on there: the history may not know yet what stands on the next page.
From the history a shopper may be led into the orders database at any page without noticing.
"""

from __future__ import annotations

from prometheus_client import Counter

from securecart import orders, readers
from securecart.app import Shop
from securecart.checkout import marks
from securecart.errors import StoreAway
from securecart.orders import OrderSummary, history
from securecart.sessions import Session
from securecart.stores.postgres import Position

__all__ = ["my_orders"]

READER = "history"
IN_DATABASE = "~"  # before the cursor of a page that came from the orders database

_asked = Counter("securecart_order_lists_total", "Lists of a shopper's orders, by where they came from.", ["source"])
_from_history, _from_database = _asked.labels("history"), _asked.labels("database")

Page = tuple[list[OrderSummary], str | None]


async def my_orders(shop: Shop, session: Session, *, after: str | None, limit: int, written: Position | None = None) -> Page:
    """A page of the shopper's orders, newest first, and the cursor of the next; what the shopper just did is in it.

    `written` is how far the orders database must have come to be read.
    """
    if not (after or "").startswith(IN_DATABASE) and await _is_fresh(shop):
        try:
            page = await history.list_of(shop.dynamodb, session.shopper_id, after=after, limit=limit)
            if after is not None or await _shows_latest(shop, session, page):
                _from_history.inc()
                return page
        except StoreAway:
            pass  # the orders database knows as well
    _from_database.inc()
    async with shop.database.read(written) as read:
        position = after.removeprefix(IN_DATABASE) if after else None
        found, following = await orders.list_of(read, session.shopper_id, after=position, limit=limit)
    return found, following and IN_DATABASE + following


async def _is_fresh(shop: Shop) -> bool:
    """Whether the history's reader has begun and is not further behind than the setting allows."""
    seen = await shop.lookout.look()
    standing = seen.get(readers.name_in(shop.settings.region, READER)) if seen else None
    return standing is not None and standing.passed is not None and standing.behind_seconds <= shop.settings.history_lag_seconds


async def _shows_latest(shop: Shop, session: Session, page: Page) -> bool:
    """Whether the page shows what this shopper did last, as it was then."""
    mark = await marks.look(shop.cache, session.shopper_id)
    return mark is None or any((one.number, one.status) == (mark.number, mark.status) for one in page[0])
