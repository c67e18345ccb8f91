"""The facts that the shop publishes in its event log.

A fact says what happened and to which order or SKU, not what the world looks like afterwards: a reader that needs
the state asks the orders database for it, so reading a fact twice, or late, does no harm.
"""

from __future__ import annotations

from msgspec import Struct

__all__ = [
    "AccountMade",
    "Event",
    "OrderCancelled",
    "OrderDeclined",
    "OrderDisputed",
    "OrderEvent",
    "OrderMarked",
    "OrderPaid",
    "OrderPlaced",
    "OrderRefunded",
    "OrderShipped",
    "OrderWaits",
    "OrdersRestored",
    "ProductsChanged",
    "StockChanged",
]


class OrderEvent(Struct, frozen=True, tag_field="kind"):
    """Something happened to an order."""

    order_id: int
    shopper_id: str


class OrderPlaced(OrderEvent, frozen=True, tag="order_placed"):
    """Bought: the money is there or promised, the stock is sold. `cart` is the state of the cart that was bought.

    `region` sold it; empty in a shop of one region, and where the fact is older than the regions.
    """

    number: str
    cart_version: int
    cart_change: str
    region: str = ""


class OrderWaits(OrderEvent, frozen=True, tag="order_waits"):
    """The gateway has not said yet what became of the payment; the order stays pending."""


class OrderDeclined(OrderEvent, frozen=True, tag="order_declined"):
    """The card was declined, or no payment came in time; the stock is free again."""


class OrderPaid(OrderEvent, frozen=True, tag="order_paid"):
    """Money that was only promised when the order was placed is the shop's now."""


class OrderShipped(OrderEvent, frozen=True, tag="order_shipped"):
    """The goods left the house."""


class OrderCancelled(OrderEvent, frozen=True, tag="order_cancelled"):
    """Taken back after it was placed; the goods are in stock again."""


class OrderRefunded(OrderEvent, frozen=True, tag="order_refunded"):
    """Money went back to the buyer."""

    amount_minor: int


class OrderDisputed(OrderEvent, frozen=True, tag="order_disputed"):
    """The buyer's bank took the payment back, or asks to: known to be fraud from now on."""


class OrderMarked(OrderEvent, frozen=True, tag="order_marked"):
    """Somebody of the shop's staff said whether it is fraud."""


class AccountMade(Struct, frozen=True, tag_field="kind", tag="account_made"):
    """Somebody opened an account; `account_id` is its UUID."""

    account_id: str


class OrdersRestored(Struct, frozen=True, tag_field="kind", tag="orders_restored"):
    """These orders were lost or damaged in the orders database, and are there again as they were. Nothing was bought anew."""

    order_ids: tuple[int, ...]


class StockChanged(Struct, frozen=True, tag_field="kind", tag="stock_changed"):
    """Goods arrived for these SKUs, or their books were put right."""

    skus: tuple[str, ...]


class ProductsChanged(Struct, frozen=True, tag_field="kind", tag="products_changed"):
    """What the shop says of these products, or asks for these SKUs, is not what it was."""

    slugs: tuple[str, ...]
    skus: tuple[str, ...]


Event = (
    OrderPlaced
    | OrderWaits
    | OrderDeclined
    | OrderPaid
    | OrderShipped
    | OrderCancelled
    | OrderRefunded
    | OrderDisputed
    | OrderMarked
    | AccountMade
    | OrdersRestored
    | StockChanged
    | ProductsChanged
)
