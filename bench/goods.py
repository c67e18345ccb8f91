"""The products that benches look at and buy: spread over the catalogue, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bench.harness import RunningShop
from securecart import inventory
from securecart.errors import DataMissing
from securecart.inventory import Receipt
from securecart.stores import postgres

__all__ = ["Goods", "some_goods", "stock_up"]

SQL = postgres.statements_of("bench")


class Goods(Struct, frozen=True):
    """A product with one of its SKUs; the price is in minor units of the shop's currency."""

    slug: str
    title: str
    sku: str
    price_minor: int


async def some_goods(shop: RunningShop, count: int) -> list[Goods]:
    """At most `count` products; `DataMissing` when the shop has none."""
    database = await postgres.connect(shop.settings.postgres_url, pool_size=1)
    try:
        async with database.read() as read:
            goods = await postgres.rows(read, SQL["some_goods"], Goods, count, shop.settings.currency)
    finally:
        await database.close()
    if not goods:
        raise DataMissing(problem="The shop is empty; fill it first: `securecart demo load`.")
    return goods


async def stock_up(shop: RunningShop, skus: Sequence[str], *, units: int) -> None:
    """Receive goods until at least `units` of each SKU can be bought."""
    database = await postgres.connect(shop.settings.postgres_url, pool_size=1)
    try:
        async with database.transaction() as tx:
            available = await inventory.available(tx, skus)
            short = [Receipt(sku, units - there) for sku, there in sorted(available.items()) if there < units]
            if short:
                await inventory.receive(tx, short)
    finally:
        await database.close()
