"""Ready-made orders, SKUs and shoppers, so that a test says only what it is about."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from securecart import inventory, orders
from securecart.checkout import PlaceOrder
from securecart.inventory import Hold, Receipt
from securecart.orders import NewOrder, OrderLine, new_number
from securecart.sessions import Session
from securecart.stores.postgres import Database, Transaction
from securecart.values import Address, Line, Money

ADDRESS = Address(name="Ada Okafor", line1="1 Market Street", city="Springfield", postcode="12345", country="US")


def a_sku() -> str:
    """A SKU that no other test uses."""
    return f"T-{secrets.token_hex(6).upper()}"


def a_guest() -> Session:
    """A guest's session that no other test uses."""
    shopper = f"guest:{secrets.token_hex(8)}"
    return Session(
        token=secrets.token_urlsafe(),
        shopper_id=shopper,
        account_id=None,
        email="",
        name="",
        staff=False,
        expires_at=2_000_000_000,
    )


def a_new_order(*lines: Line, key: str | None = None, shopper_id: str = "guest:tests") -> NewOrder:
    """An order of these lines at a dollar each, not yet written."""
    bought = tuple(
        OrderLine(line.sku, line.sku, line.quantity, Money(100, "USD"), Money(0, "USD"), Money(100 * line.quantity, "USD"))
        for line in lines
    )
    total = sum(line.total.amount_minor for line in bought)
    return NewOrder(
        number=new_number(),
        shopper_id=shopper_id,
        idempotency_key=key or secrets.token_hex(8),
        request_digest=b"",
        cart_version=1,
        cart_change="",
        email="ada@example.com",
        currency="USD",
        lines=bought,
        subtotal_minor=total,
        shipping_minor=0,
        tax_minor=0,
        tax_included=False,
        total_minor=total,
        shipping_method="pickup",
        shipping_address=ADDRESS,
        billing_address=ADDRESS,
        pending_until=datetime.now(UTC) + timedelta(minutes=1),
    )


async def a_pending_order(tx: Transaction, *lines: Line) -> int:
    """The id of a pending order of these lines."""
    (opened,) = await orders.open_all(tx, [a_new_order(*lines)])
    return opened.id


async def reserve(tx: Transaction, order_id: int, *lines: Line) -> None:
    """Hold what these lines want for the order, or `OutOfStock`."""
    shelves = await inventory.lock(tx, [line.sku for line in lines])
    await inventory.hold(tx, [Hold(order_id, shelves.take(lines))])


async def a_product(database: Database, *, price_minor: int = 100, stock: int = 1000, tax_class: str = "zero") -> str:
    """The SKU of a new product on sale, with this much stock in the main warehouse."""
    sku = a_sku()
    async with database.transaction() as tx:
        product = await tx.fetchval(
            "INSERT INTO product (slug, title, tax_class) VALUES ($1, $2, $3) RETURNING id",
            sku.lower(),
            f"Thing {sku}",
            tax_class,
        )
        await tx.execute("INSERT INTO variant (sku, product_id) VALUES ($1, $2)", sku, product)
        await tx.execute("INSERT INTO price (sku, currency, amount_minor) VALUES ($1, 'USD', $2)", sku, price_minor)
        if stock:
            await inventory.receive(tx, [Receipt(sku, stock)])
    return sku


def a_wish(*, token: str = "tok_visa", method: str = "pickup", expected_total_minor: int | None = None) -> PlaceOrder:
    """A wish to buy the cart, shipped to the usual address."""
    return PlaceOrder(
        email="ada@example.com",
        shipping_address=ADDRESS,
        shipping_method=method,
        payment_token=token,
        expected_total_minor=expected_total_minor,
    )
