"""What is for sale in a drill: a few hundred SKUs, some of which sell out, and how much of each ever arrived."""

from __future__ import annotations

import random
from collections import Counter

from securecart import catalog, inventory
from securecart.app import Shop
from securecart.catalog import NewProduct, NewVariant
from securecart.inventory import Receipt
from securecart.values import Line

__all__ = ["AISLE", "Goods"]

AISLE = "drill"
PLENTY, SCARCE = 250, 50
UNITS_OF_PLENTY, UNITS_OF_SCARCE = 100_000, 12
ARRIVING = 10
SCARCE_SHARE = 0.35


class Goods:
    """The drill's SKUs; `received` is what arrived of each, as its books should say."""

    def __init__(self) -> None:
        self.plenty = [f"DRILL-PLENTY-{number:03d}" for number in range(PLENTY)]
        self.scarce = [f"DRILL-SCARCE-{number:03d}" for number in range(SCARCE)]
        self.received: Counter[str] = Counter()

    async def put_on_sale(self, shop: Shop) -> None:
        """Import the products and receive the first goods; what a shop holds of them already counts as received."""
        await catalog.import_products(shop.database, shop.cache, [_product(sku) for sku in self.plenty + self.scarce])
        async with shop.database.fresh() as fresh:
            for level in await inventory.levels(fresh, self.plenty + self.scarce):
                self.received[level.sku] += level.received
        await self._receive(shop, dict.fromkeys(self.plenty, UNITS_OF_PLENTY) | dict.fromkeys(self.scarce, UNITS_OF_SCARCE))

    async def receive_more(self, shop: Shop, dice: random.Random) -> None:
        """A few scarce goods arrive, so that there is something to race for in each round."""
        await self._receive(shop, dict.fromkeys(dice.sample(self.scarce, ARRIVING), UNITS_OF_SCARCE))

    def basket(self, dice: random.Random) -> list[Line]:
        """One to three SKUs as a shopper might want them."""
        skus = {dice.choice(self.scarce if dice.random() < SCARCE_SHARE else self.plenty) for _ in range(dice.randint(1, 3))}
        return [Line(sku, dice.randint(1, 3)) for sku in sorted(skus)]

    async def _receive(self, shop: Shop, units: dict[str, int]) -> None:
        async with shop.database.transaction() as tx:
            await inventory.receive(tx, [Receipt(sku, quantity) for sku, quantity in units.items()])
        self.received.update(units)


def _product(sku: str) -> NewProduct:
    variants = [NewVariant(sku, {"USD": 100 + sum(sku.encode()) % 900})]
    return NewProduct(slug=sku.lower(), title=f"Goods {sku}", variants=variants, brand="Drill", categories=["Drill"])
