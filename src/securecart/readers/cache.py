"""The reader that drops from the cache what is not true any more.

Only pages and prices of products are kept there; stock is never cached, so `StockChanged` drops nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from securecart import catalog
from securecart.errors import StoreAway
from securecart.events import Event, ProductsChanged
from securecart.readers.model import Progress, Stores
from securecart.stores.postgres import Position

__all__ = ["read", "rebuild"]


async def read(stores: Stores, facts: Sequence[Event]) -> None:
    """Drop the pages and prices of the products that changed; `StoreAway` while the cache is away."""
    keys: dict[str, None] = {}
    for fact in facts:
        if isinstance(fact, ProductsChanged):
            keys |= dict.fromkeys(catalog.cache_keys(fact.slugs, fact.skus))
    if keys:
        await _leave_position(stores)
    if keys and not await stores.cache.drop(keys):
        raise StoreAway(store="cache", retry_after=2)


async def rebuild(stores: Stores, progress: Progress) -> int:
    """Drop every page, price, search result and category tree that the shop keeps."""
    await _leave_position(stores)
    dropped = await stores.cache.drop_all(catalog.CACHE_PREFIX)
    if dropped is None:
        raise StoreAway(store="cache", retry_after=2)
    progress(dropped)
    return dropped


async def _leave_position(stores: Stores) -> None:
    """Before anything is dropped: what is loaded in its place must not come from a replica that is behind the change.

    With one node the mark is any number that was not there before: a load that began earlier is not kept.
    """
    position = await stores.database.position() if stores.database.has_replicas else Position(time.time_ns())
    await catalog.changes.leave(stores.cache, position)
