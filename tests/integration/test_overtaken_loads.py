"""With one database node too: what was read before a change, and would be kept after its pages were dropped, is not kept."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pytest

from securecart import catalog
from securecart.app import Shop
from securecart.catalog import PricedItem, actions, kept
from securecart.events import ProductsChanged
from securecart.readers import cache as cache_reader
from securecart.stores.postgres import Read
from securecart.values import Money

OTHERS = ProductsChanged(("some-other-product",), ())


@pytest.mark.parametrize("overtaken", [True, False])
async def test_a_page_that_a_change_overtook_is_shown_once_and_not_kept(shop: Shop, *, overtaken: bool) -> None:
    key = actions.page_key(f"overtaken-{secrets.token_hex(4)}")

    async def load(_: Read) -> bytes:
        if overtaken:
            await cache_reader.read(shop.stores, [OTHERS])
        return b"as it was"

    assert await kept.read_through(shop.database, shop.cache, key, 60, load) == b"as it was"
    assert (await shop.cache.get(key) is None) is overtaken


@pytest.mark.parametrize("overtaken", [True, False])
async def test_a_price_that_a_change_overtook_is_not_kept(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, overtaken: bool
) -> None:
    sku = f"OVERTAKEN-{secrets.token_hex(4)}"
    item = PricedItem(sku, "overtaken", "Overtaken", Money(100, "USD"), "standard", "")

    async def price(_: Read, skus: Sequence[str], currency: str) -> dict[str, PricedItem]:
        assert (list(skus), currency) == ([sku], "USD")
        if overtaken:
            await cache_reader.read(shop.stores, [OTHERS])
        return {sku: item}

    monkeypatch.setattr(actions, "price", price)
    assert await catalog.price_cached(shop.database, shop.cache, [sku], "USD") == {sku: item}
    assert (await shop.cache.get(actions.price_key(sku, "USD")) is None) is overtaken
