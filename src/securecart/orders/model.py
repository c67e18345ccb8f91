"""The nouns of an order's life."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from securecart.values import Address, Line, Money

# an order that has just been decided is its buyer's in these
BOUGHT = frozenset({"authorised", "paid"})
Status = Literal["pending", "authorised", "paid", "declined", "cancelled", "partially_refunded", "refunded"]

RECEIVED = "Order received."
# Crockford's base 32: no I, L, O or U, so a number survives being read out over the telephone.
NUMBER_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_number() -> str:
    """A fresh order number such as `SC-4K7QM-9XR2D`: 50 random bits, so nobody can guess a neighbour's."""
    drawn = secrets.randbits(50)
    letters = "".join(NUMBER_ALPHABET[drawn >> shift & 31] for shift in range(0, 50, 5))
    return f"SC-{letters[:5]}-{letters[5:]}"


class OrderLine(Struct, frozen=True):
    """One SKU of an order, priced at the moment of purchase; `tax` is of the whole line."""

    sku: str
    title: str
    quantity: int
    unit_price: Money
    tax: Money
    total: Money


class NewOrder(Struct, frozen=True):
    """All that is known about an order before its payment."""

    number: str
    shopper_id: str
    idempotency_key: str
    request_digest: bytes
    cart_version: int
    cart_change: str
    email: str
    currency: str
    lines: tuple[OrderLine, ...]
    subtotal_minor: int
    shipping_minor: int
    tax_minor: int
    tax_included: bool
    total_minor: int
    shipping_method: str
    shipping_address: Address
    billing_address: Address
    pending_until: datetime


class Opened(Struct, frozen=True):
    """What became of an attempt to open an order.

    `fresh`: it is this attempt's own. `was_there`: it was written before, by another attempt with the `same_key` or for the
    same state of the cart; or by this very attempt, whose commit was not heard of.
    """

    id: int
    number: str
    status: Status
    request_digest: bytes
    placed_at: datetime
    fresh: bool
    was_there: bool = False
    same_key: bool = True


class Decision(Struct, frozen=True):
    """What a pending order is to become, with the sentence for its history."""

    order_id: int
    status: Status
    note: str


class Decided(Struct, frozen=True):
    """An order that has just left the pending state, and the state of the cart that it bought."""

    id: int
    number: str
    shopper_id: str
    status: Status
    cart_version: int
    cart_change: str
    at: datetime

    @property
    def is_bought(self) -> bool:
        """Whether its goods are the buyer's now."""
        return self.status in BOUGHT


class Named(Struct, frozen=True):
    """An order by its id and its number, and whose it is."""

    id: int
    number: str
    shopper_id: str


class Record(Struct, frozen=True):
    """The part of an order that a verb needs to decide what may be done with it."""

    id: int
    number: str
    shopper_id: str
    status: Status
    currency: str
    total_minor: int
    refunded_minor: int
    shipped_at: datetime | None


class Paying(Struct, frozen=True):
    """An order about whose payment the gateway is asked, and the state of the cart that it bought."""

    id: int
    number: str
    shopper_id: str
    status: Status
    cart_version: int
    cart_change: str
    placed_at: datetime
    currency: str
    total_minor: int
    lines: tuple[Line, ...]

    @property
    def total(self) -> Money:
        """What is to be paid."""
        return Money(self.total_minor, self.currency)


class BoughtCart(Struct, frozen=True):
    """The state of a cart that an order has bought, and what was in it."""

    shopper_id: str
    cart_version: int
    cart_change: str
    lines: tuple[Line, ...]


class OrderChange(Struct, frozen=True):
    """One step of an order's life."""

    at: datetime
    status: Status
    note: str


class PaymentSeen(Struct, frozen=True):
    """What a shopper may see of the payment; never a card number. `action` is there while the buyer has to act."""

    status: str
    card_brand: str
    card_last4: str
    decline_reason: str
    action: dict[str, Any] | None = None


class Order(Struct, frozen=True):
    """An order as its buyer sees it."""

    number: str
    status: Status
    email: str
    currency: str
    subtotal: Money
    shipping: Money
    tax: Money
    tax_included: bool
    total: Money
    refunded: Money
    shipping_method: str
    shipping_address: Address
    billing_address: Address
    placed_at: datetime
    lines: tuple[OrderLine, ...]
    changes: tuple[OrderChange, ...]
    payment: PaymentSeen | None
    shipped_at: datetime | None = None


class OrderSummary(Struct, frozen=True):
    """An order as a line of a list; `items` counts units."""

    number: str
    status: Status
    total: Money
    items: int
    placed_at: datetime


def placed(order: NewOrder, opened: Opened, decision: Decision, decided: Decided, payment: PaymentSeen) -> Order:
    """The order as it stands in the database right after it was decided, without asking for it."""
    currency = order.currency
    return Order(
        number=order.number,
        status=decision.status,
        email=order.email,
        currency=currency,
        subtotal=Money(order.subtotal_minor, currency),
        shipping=Money(order.shipping_minor, currency),
        tax=Money(order.tax_minor, currency),
        tax_included=order.tax_included,
        total=Money(order.total_minor, currency),
        refunded=Money(0, currency),
        shipping_method=order.shipping_method,
        shipping_address=order.shipping_address,
        billing_address=order.billing_address,
        placed_at=opened.placed_at,
        lines=order.lines,
        changes=(
            OrderChange(opened.placed_at, "pending", RECEIVED),
            OrderChange(decided.at, decision.status, decision.note),
        ),
        payment=payment,
    )
