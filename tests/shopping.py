"""What a shopper of a test does, and what the shop's books say afterwards."""

from __future__ import annotations

from typing import Any

from securecart import carts, checkout, inventory, orders
from securecart.app import Shop
from securecart.checkout import Till
from securecart.orders import Order
from securecart.promises import read_book
from securecart.sessions import Session
from securecart.values import Line
from tests.orders_for_tests import a_guest, a_wish

DAYS = 1


async def fill(shop: Shop, shopper: Session, *lines: Line) -> None:
    await carts.replace(shop.dynamodb, shopper.shopper_id, list(lines), days=DAYS)


async def buy(shop: Shop, shopper: Session, key: str = "key", *, till: Till | None = None, **wish: Any) -> Order:
    return await checkout.place(till or shop.till, shopper, a_wish(**wish), key, currency="USD")


async def stock_of(shop: Shop, sku: str) -> tuple[int, int, int]:
    """Sold, reserved, available; one location."""
    async with shop.database.read() as read:
        (level,) = await inventory.levels(read, [sku])
    return level.sold, level.reserved, level.available


async def orders_of(shop: Shop, shopper: Session) -> list[str]:
    async with shop.database.read() as read:
        page, _ = await orders.list_of(read, shopper.shopper_id, after=None, limit=100)
    return [summary.number for summary in page]


async def overdue(shop: Shop, *numbers: str) -> None:
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE orders SET pending_until = now() - interval '1 second' WHERE number = ANY ($1)", numbers)


async def find(shop: Shop, number: str) -> Order:
    async with shop.database.read() as read:
        return await orders.find(read, number)


async def captured(shop: Shop, *numbers: str) -> list[int]:
    """What the gateway's own book says was captured for these orders, capture by capture, in minor units."""
    book = await read_book(shop.settings)
    entries = zip(book.references, book.statuses, book.amounts_minor, strict=True)
    return [amount for reference, status, amount in entries if reference in numbers and status == "captured"]


async def a_buyer(shop: Shop, sku: str, quantity: int = 1) -> Session:
    """A guest with so much of this in the cart."""
    shopper = a_guest()
    await fill(shop, shopper, Line(sku, quantity))
    return shopper
