"""A small stocked shop for the browser to walk through: departments, products, one of which is sold out."""

from __future__ import annotations

from msgspec import Struct

from securecart import inventory
from securecart.app import Shop
from securecart.catalog import NewProduct, NewVariant, import_products
from securecart.inventory import Receipt

__all__ = ["GOODS", "SHELVES", "Good", "stock_shelves"]


class Good(Struct, frozen=True):
    """A product on the shelves; `path` is its categories from the top, `minor` its price in cents."""

    sku: str
    title: str
    brand: str
    path: tuple[str, ...]
    minor: int
    size: str
    stock: int = 500

    @property
    def slug(self) -> str:
        """The product's name in addresses."""
        return self.title.lower().replace("&", "and").replace(" ", "-")


def _goods() -> list[Good]:
    table = """
        Sourdough Loaf            | Hearthside   | Bakery / Bread            | 449 | 24 oz
        Cinnamon Raisin Bagels    | Hearthside   | Bakery / Bread            | 389 | 6 pack
        Butter Croissants         | Hearthside   | Bakery / Pastry           | 529 | 4 pack
        Blueberry Muffins         | Hearthside   | Bakery / Pastry           | 475 | 4 pack
        Carrot Cake               | Hearthside   | Bakery / Pastry           | 1299 | 32 oz
        Cola Soft Drink           | Fizzwell     | Grocery / Soft Drinks     | 249 | 2 litre
        Ginger Ale                | Fizzwell     | Grocery / Soft Drinks     | 229 | 2 litre
        Lemon Lime Soda           | Fizzwell     | Grocery / Soft Drinks     | 599 | 12 pack
        Root Beer                 | Old Cask     | Grocery / Soft Drinks     | 649 | 12 pack
        Orange Soda               | Old Cask     | Grocery / Soft Drinks     | 199 | 2 litre
        Tomato Soup               | Ladle & Co   | Grocery / Soup            | 179 | 10.75 oz
        Chicken Noodle Soup       | Ladle & Co   | Grocery / Soup            | 219 | 10.75 oz
        Minestrone Soup           | Ladle & Co   | Grocery / Soup            | 245 | 18 oz
        Medium Roast Coffee       | North Pier   | Grocery / Coffee and Tea  | 1099 | 30 oz
        Breakfast Tea             | North Pier   | Grocery / Coffee and Tea  | 499 | 80 bags
        Peppermint Tea            | North Pier   | Grocery / Coffee and Tea  | 429 | 40 bags
        Peanut Butter             | Groundwork   | Grocery / Spreads         | 549 | 28 oz
        Strawberry Jam            | Groundwork   | Grocery / Spreads         | 419 | 18 oz
        Clover Honey              | Groundwork   | Grocery / Spreads         | 799 | 16 oz
        Chocolate Chip Cookies    | Crumb House  | Grocery / Snacks          | 369 | 14 oz
        Sea Salt Potato Chips     | Crumb House  | Grocery / Snacks          | 399 | 8 oz
        Last Box of Chocolates    | Crumb House  | Grocery / Snacks          | 1899 | 16 oz | 0
        Roasted Almonds           | Crumb House  | Grocery / Snacks          | 899 | 12 oz | 4
        Spaghetti                 | Molino       | Grocery / Pasta and Rice  | 159 | 16 oz
        Long Grain Rice           | Molino       | Grocery / Pasta and Rice  | 329 | 5 lb
        Crushed Tomatoes          | Molino       | Grocery / Pasta and Rice  | 189 | 28 oz
        Olive Oil                 | Molino       | Grocery / Pasta and Rice  | 1249 | 17 oz
        Corn Flakes Cereal        | Morningside  | Grocery / Breakfast       | 439 | 18 oz
        Rolled Oats               | Morningside  | Grocery / Breakfast       | 399 | 42 oz
        Maple Syrup               | Morningside  | Grocery / Breakfast       | 1149 | 12 oz
        Bananas                   | Fresh        | Produce / Fruit           | 59 | 1 lb
        Gala Apples               | Fresh        | Produce / Fruit           | 449 | 3 lb
        Strawberries              | Fresh        | Produce / Fruit           | 499 | 16 oz
        Navel Oranges             | Fresh        | Produce / Fruit           | 599 | 4 lb
        Carrots                   | Fresh        | Produce / Vegetables      | 189 | 2 lb
        Baby Spinach              | Fresh        | Produce / Vegetables      | 349 | 10 oz
        Whole Milk                | Meadowbank   | Dairy / Milk and Cream    | 379 | 1 gallon
        Greek Yogurt              | Meadowbank   | Dairy / Yogurt            | 599 | 32 oz
        Sharp Cheddar             | Meadowbank   | Dairy / Cheese            | 489 | 8 oz
        Large Eggs                | Meadowbank   | Dairy / Eggs              | 429 | 12 pack
        Atlantic Salmon Fillet    | Harbour      | Seafood / Fresh Fish      | 1399 | 1 lb
        Wild Shrimp               | Harbour      | Seafood / Fresh Fish      | 1199 | 1 lb
        Dish Soap                 | Bright       | Household / Cleaning      | 329 | 24 oz
        Paper Towels              | Bright       | Household / Paper         | 1099 | 6 rolls
        Bath Tissue               | Bright       | Household / Paper         | 999 | 12 rolls
        Tulip Bouquet             | Greenhouse   | Floral / Bouquets         | 1299 | 10 stems
        Lavender Candle           | Bright       | Household / Home          | 899 | 7 oz
        Dog Biscuits              | Good Boy     | Pets / Dogs               | 549 | 24 oz
    """
    goods = []
    for number, line in enumerate(table.strip().splitlines()):
        title, brand, path, minor, size, *stock = (cell.strip() for cell in line.split("|"))
        units = int(stock[0]) if stock else 500
        goods.append(Good(f"SHELF-{number:03d}", title, brand, tuple(path.split(" / ")), int(minor), size, units))
    return goods


GOODS = _goods()
SHELVES = {good.title: (good.sku, good.slug) for good in GOODS}


async def stock_shelves(shop: Shop) -> None:
    """Import every product and receive its stock; nothing happens when it was done before."""
    report = await import_products(shop.database, shop.cache, [_as_product(good) for good in GOODS])
    assert report.rejections == 0, report.rejected
    if not report.created:
        return
    async with shop.database.transaction() as tx:
        await inventory.receive(tx, [Receipt(good.sku, good.stock) for good in GOODS if good.stock])


def _as_product(good: Good) -> NewProduct:
    return NewProduct(
        slug=good.slug,
        title=good.title,
        variants=[NewVariant(good.sku, {"USD": good.minor})],
        description=f"{good.title} by {good.brand}, {good.size}.",
        brand=good.brand,
        categories=list(good.path),
        attributes={"Brand": good.brand, "Package size": good.size},
        tax_class="zero",
    )
