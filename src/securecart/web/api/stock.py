"""What can be bought now."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath

from securecart import catalog, inventory
from securecart.app import Shop

__all__ = ["routes"]


@get("/api/products/{slug:str}/availability", tags=["catalog"])
async def availability(shop: Shop, slug: FromPath[str]) -> dict[str, int]:
    """Units of each of the product's SKUs that can be bought now."""
    product = await catalog.product(shop.database, shop.cache, slug)
    async with shop.database.read() as read:
        return await inventory.available(read, [variant.sku for variant in product.variants])


routes = [availability]
