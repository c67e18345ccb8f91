"""Which orders, products and stock the rows belong to that come back, and how the rest of the shop hears of it.

Everything happens inside the transaction that brings the rows back: shelves are made anew from the catalogue, and the event
log tells the readers, so history and cache follow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from securecart import catalog
from securecart.events import Event, OrdersRestored, ProductsChanged, StockChanged
from securecart.ops.recovery.comparing import Key
from securecart.ops.recovery.deciding import links_of
from securecart.ops.recovery.schema import Shape
from securecart.stores.postgres import Fresh, Transaction, log, statements_of
from securecart.undo.policies import CATALOGUE, CHUNK_ORDERS, CHUNK_PRODUCTS, CHUNK_SKUS, SHELVES

__all__ = ["Concerned", "Spots", "Told", "tell_shop"]

SQL = statements_of(__package__)

T = TypeVar("T")

# by table: the keys of rows, and what each hung on
Spots = Mapping[str, Mapping[Key, tuple[Key | None, ...]]]


class Told(Struct, frozen=True):
    """How many orders, products and SKUs the event log told of, and how many products search has to learn anew."""

    orders: int = 0
    products: int = 0
    skus: int = 0
    shelves: int = 0


class Concerned(Struct, frozen=True):
    """What rows belong to: orders and payments by id, SKUs of stock, and parts of the catalogue.

    `anew`: products whose words may be others; `skus_priced`: whose prices alone may be.
    """

    orders: frozenset[int] = frozenset()
    payments: frozenset[int] = frozenset()
    skus: frozenset[str] = frozenset()
    stock: frozenset[str] = frozenset()
    products: frozenset[int] = frozenset()
    categories: frozenset[int] = frozenset()
    skus_priced: frozenset[str] = frozenset()
    whole_catalogue: bool = False

    @classmethod
    def by(cls, shape: Shape, spots: Spots, touched: Collection[str] = ()) -> Concerned:
        """By the rows' keys and what they hang on; `touched` are tables that an accident has touched."""

        def named(table: str, parent: str) -> Iterator[str]:
            """The keys of the parent on which rows of this table hang."""
            places = (
                [place for place, link in enumerate(links_of(shape, table)) if link.parent == parent] if table in spots else []
            )
            for links in spots.get(table, {}).values():
                for place in places:
                    link = links[place]
                    if link is not None:
                        yield link[0]

        def keys(table: str, place: int = 0) -> Iterator[str]:
            return (key[place] for key in spots.get(table, {}))

        hanging = [
            name for table in ("order_line", "order_change", "hold", "allocation", "payment") for name in named(table, "orders")
        ]
        stock = frozenset(keys("stock"))
        return cls(
            orders=frozenset(map(int, (*keys("orders"), *hanging))),
            payments=frozenset(map(int, named("refund", "payment"))),
            skus=stock.union(keys("allocation", 1)),
            stock=stock,
            products=frozenset(map(int, (*keys("product"), *named("variant", "product")))),
            categories=frozenset(map(int, keys("category"))),
            skus_priced=frozenset(keys("price")),
            whole_catalogue=bool(SHELVES.intersection(touched)) and not CATALOGUE.intersection(touched),
        )

    @property
    def is_catalogue(self) -> bool:
        """Whether anything of the catalogue is among it."""
        return bool(self.products or self.categories or self.skus_priced or self.whole_catalogue)

    async def all_orders(self, fresh: Fresh) -> list[int]:
        """The orders, those of the payments among them."""
        found = await fresh.fetch(SQL["orders_of_payments"], list(self.payments)) if self.payments else []
        return sorted(self.orders.union(row["order_id"] for row in found))


async def tell_shop(tx: Transaction, concerned: Concerned) -> Told:
    """Have search, history and cache follow what came back."""
    orders = await concerned.all_orders(tx)
    anew, products = await _products(tx, concerned)
    await catalog.refill_shelves(tx, anew)
    pages = await tx.fetch(SQL["pages_of_products"], products) if products else []
    facts: list[Event] = [OrdersRestored(tuple(part)) for part in _parts(orders, CHUNK_ORDERS)]
    facts += [
        ProductsChanged(tuple(row["slug"] for row in part), tuple(sku for row in part for sku in row["skus"]))
        for part in _parts(pages, CHUNK_PRODUCTS)
    ]
    facts += [StockChanged(tuple(part)) for part in _parts(sorted(concerned.stock), CHUNK_SKUS)]
    await log.publish(tx, facts)
    return Told(len(orders), len(pages), len(concerned.stock), len(anew))


async def _products(tx: Transaction, concerned: Concerned) -> tuple[list[int], list[int]]:
    """The products that search has to learn anew, and all whose pages or prices may be others."""
    if not concerned.is_catalogue:
        return [], []
    anew = set(concerned.products)
    if concerned.categories:
        anew |= {row["id"] for row in await tx.fetch(SQL["products_in_categories"], list(concerned.categories))}
    priced = {row["product_id"] for row in await tx.fetch(SQL["products_of_skus"], list(concerned.skus_priced))}
    if concerned.whole_catalogue:
        priced |= {row["id"] for row in await tx.fetch(SQL["all_products"])}
    outdated = await catalog.find_outdated_shelves(tx, sorted(priced - anew))
    return sorted(anew.union(outdated)), sorted(anew | priced)


def _parts(things: Sequence[T], most: int) -> Iterable[Sequence[T]]:
    return (things[start : start + most] for start in range(0, len(things), most))
