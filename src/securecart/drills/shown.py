"""What shoppers see of a mishap: the order history in DynamoDB, and product pages in the cache.

Neither hears of what an operator does in psql; it shows when the history is made anew, or when a page's time in the cache is
over. A drill has no time for that and brings it about, so that a recovery which tells nobody does not pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from securecart import catalog
from securecart.app import Shop
from securecart.catalog import Product
from securecart.demo.client import Client
from securecart.drills.crowd import FIRST_HOUSEHOLD
from securecart.drills.mishaps import Deletion, Mishap
from securecart.errors import DrillFailed
from securecart.orders import history
from securecart.orders.history import Entry, Key

__all__ = ["Shown"]


class Shown:
    """The orders of a deletion as the history shows them, and some product pages (`slugs`)."""

    def __init__(self, shop: Shop, client: Client, slugs: Sequence[str]) -> None:
        self._shop = shop
        self._client = client
        self._slugs = slugs
        self._entries: list[Entry] = []

    async def look(self, mishap: Mishap) -> None:
        """Remember what is shown before the mishap."""
        async with self._shop.database.fresh() as fresh:
            self._entries = await history.entries(fresh, mishap.hit) if isinstance(mishap, Deletion) else []

    async def let_it_show(self) -> None:
        """Take the deleted orders out of the history, and have the pages kept as they are now."""
        await history.forget(self._shop.dynamodb, self._keys)
        await self._shop.cache.drop_all(catalog.CACHE_PREFIX)
        for slug in self._slugs:
            await self._page(slug)

    async def wrong(self) -> int:
        """How many of those orders the history does not show as it did, and how many pages show another price than is asked."""
        kept = await history.known(self._shop.dynamodb, self._keys)
        pages = [await self._page(slug) for slug in self._slugs]
        async with self._shop.database.fresh() as fresh:
            asked = await catalog.price(fresh, [one.sku for page in pages for one in page.variants], self._shop.settings.currency)
        return sum(one not in kept for one in self._entries) + sum(
            asked[one.sku].price not in one.prices for page in pages for one in page.variants
        )

    @property
    def _keys(self) -> list[Key]:
        return [Key(one.shopper_id, one.order_id) for one in self._entries]

    async def _page(self, slug: str) -> Product:
        answer = await self._client.look(FIRST_HOUSEHOLD, f"/api/products/{slug}")
        if answer.status != HTTPStatus.OK:
            raise DrillFailed(why=f"the shop answered {answer.status} when it was asked for the product {slug}")
        return msgspec.json.decode(answer.body, type=Product)
