"""What search knows of each product on sale: filled by an import, and made anew from the catalogue's own tables.

Whoever writes shelves has taken the turn first, before any row of the catalogue is locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from securecart.catalog.model import NewProduct, NewVariant
from securecart.patience import POSTGRES_LONG
from securecart.stores.postgres import Fresh, Transaction, statements_of

__all__ = ["Shown", "columns", "fill_shelves", "find_outdated_shelves", "refill_shelves", "take_turn"]

SQL = statements_of(__package__)

FACET_LENGTH_MAX = 60
REFILL_PRODUCTS = 1_000
WHOLE_SHOP = 0


class Shown(Struct, frozen=True):
    """A product that is on sale, and the ids of its categories from the top down."""

    product_id: int
    product: NewProduct
    place: Sequence[int]


async def take_turn(tx: Transaction) -> None:
    """Wait until nobody else writes the catalogue's shelves, and keep others from it until the transaction ends."""
    await tx.execute(SQL["take_turn"], timeout=POSTGRES_LONG.answer_s)


async def fill_shelves(tx: Transaction, shown: Sequence[Shown]) -> None:
    """Let search know of these products; what it knew of them before is gone already."""
    pairs = sorted({pair for one in shown for pair in _facets(one.product)})
    await tx.execute(SQL["add_facets"], *columns(pairs, 2))
    facet_ids = {(row["name"], row["value"]): row["id"] for row in await tx.fetch(SQL["find_facets"], *columns(pairs, 2))}
    await tx.execute(SQL["fill_shelf"], [_shelf_row(one, facet_ids) for one in shown])
    lowest = [(one.product_id, *price) for one in shown for price in sorted(_lowest(one.product).items())]
    await tx.execute(SQL["fill_shelf_prices"], *columns(lowest, 3))


async def find_outdated_shelves(fresh: Fresh, product_ids: Sequence[int]) -> list[int]:
    """Those of the products that are on sale and not on the shelf, the other way round, or there with other prices."""
    found = await fresh.fetch(SQL["outdated_shelves"], list(product_ids), timeout=POSTGRES_LONG.answer_s)
    return [row["id"] for row in found]


async def refill_shelves(tx: Transaction, product_ids: Sequence[int]) -> None:
    """Make anew what search knows of these products, from what the catalogue says of them; their counts become outdated."""
    for start in range(0, len(product_ids), REFILL_PRODUCTS):
        ids = list(product_ids[start : start + REFILL_PRODUCTS])
        kept = await tx.fetch(SQL["products_as_given"], ids)
        stale = {WHOLE_SHOP, *(number for row in kept for number in (*row["category_ids"], *row["shown_in"]))}
        await tx.execute(SQL["mark_stale"], sorted(stale))
        await tx.execute(SQL["clear_shelf"], ids)
        await tx.execute(SQL["clear_left_prices"], ids)
        found = [Shown(row["id"], _product(row["product"]), row["category_ids"]) for row in kept]
        await fill_shelves(tx, [one for one in found if one.product.active])


def columns(table: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as a statement takes them, column by column."""
    return [list(column) for column in zip(*table, strict=True)] if table else [[] for _ in range(width)]


def _product(kept: dict[str, Any]) -> NewProduct:
    """A product as a source would give it; what is in the catalogue already is held against no rule."""
    return NewProduct(**{**kept, "variants": [NewVariant(**variant) for variant in kept["variants"]]})


def _facets(product: NewProduct) -> list[tuple[str, str]]:
    pairs = {"Brand": product.brand, **product.attributes}
    return [(name, value) for name, value in pairs.items() if 0 < len(value) <= FACET_LENGTH_MAX and "=" not in name]


def _shelf_row(one: Shown, known: dict[tuple[str, str], int]) -> dict[str, Any]:
    product, facet_ids = one.product, [known[pair] for pair in _facets(one.product)]
    return {
        "product_id": one.product_id,
        "category_ids": one.place,
        "facet_ids": facet_ids,
        "prices": _lowest(product),
        "title": " ".join((product.title, *(variant.title for variant in product.variants))),
        "kind": " ".join((product.brand, *product.categories)),
        "traits": " ".join((*product.attributes.values(), *(variant.sku for variant in product.variants))),
        "description": product.description,
        "marks": [*(f"Category/{number}" for number in one.place), *(f"Facet/{number}" for number in facet_ids)],
    }


def _lowest(product: NewProduct) -> dict[str, int]:
    lowest: dict[str, int] = {}
    for variant in product.variants:
        for currency, amount in variant.prices.items():
            lowest[currency] = min(amount, lowest.get(currency, amount))
    return lowest
