"""What can be done with an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from securecart.errors import NotFound
from securecart.orders.model import (
    RECEIVED,
    BoughtCart,
    Decided,
    Decision,
    Named,
    NewOrder,
    Opened,
    Order,
    OrderLine,
    OrderSummary,
    Paying,
    PaymentSeen,
    Record,
    Status,
)
from securecart.stores.postgres import Fresh, Read, Transaction, one, rows, statements_of
from securecart.values import Money, decode_cursor, encode_cursor

SQL = statements_of(__package__)

NEWEST = 2**63 - 1
# the order in which the statement wants a new order's fields
OPENED_WITH = (
    *("number", "shopper_id", "idempotency_key", "request_digest", "cart_version", "cart_change", "email", "currency"),
    *("subtotal_minor", "shipping_minor", "tax_minor", "tax_included", "total_minor"),
    *("shipping_method", "shipping_address", "billing_address", "pending_until"),
)


async def open_all(tx: Transaction, orders: Sequence[NewOrder]) -> list[Opened]:
    """Write the orders as pending; what became of each says whether it is new, or which order was there before it."""
    lines = [(order.number, line) for order in orders for line in order.lines]
    written = await tx.fetch(
        SQL["open_orders"],
        *([getattr(order, name) for order in orders] for name in OPENED_WITH),
        [number for number, _ in lines],
        [line.sku for _, line in lines],
        [line.title for _, line in lines],
        [line.quantity for _, line in lines],
        [line.unit_price.amount_minor for _, line in lines],
        [line.tax.amount_minor for _, line in lines],
        [line.total.amount_minor for _, line in lines],
        RECEIVED,
    )
    fresh = {row["number"]: Opened(row["id"], row["number"], "pending", b"", row["placed_at"], fresh=True) for row in written}
    there = await find_opened(tx, [order for order in orders if order.number not in fresh])
    return [fresh.get(order.number) or there[order.number] for order in orders]


async def find_opened(fresh: Fresh, orders: Sequence[NewOrder]) -> dict[str, Opened]:
    """By the number of each of these: the order that its shopper opened before with its key, or bought its cart with."""
    if not orders:
        return {}
    shoppers, keys, carts = zip(*((order.shopper_id, order.idempotency_key, order.cart_change) for order in orders), strict=True)
    found = await fresh.fetch(SQL["find_opened"], shoppers, keys, carts)
    # an order that was written and whose commit was not heard of is found under the number it was given then
    return {
        (order := orders[row["position"]]).number: Opened(
            *(row["id"], row["number"], row["status"], row["request_digest"], row["placed_at"]),
            fresh=row["number"] == order.number,
            was_there=True,
            same_key=row["by_key"],
        )
        for row in found
    }


async def find_by_key(fresh: Fresh, shopper_id: str, idempotency_key: str) -> Opened | None:
    """The order that this shopper opened with this key, or None."""
    return await one(fresh, SQL["find_by_key"], Opened, shopper_id, idempotency_key)


async def decide_all(tx: Transaction, words: Sequence[Decision]) -> dict[int, Decided]:
    """Move pending orders to their next status, by id; one that was decided already is left out, and nothing changed."""
    ids, statuses, notes = zip(*((word.order_id, word.status, word.note) for word in words), strict=True)
    return {row.id: row for row in await rows(tx, SQL["decide_orders"], Decided, ids, statuses, notes)}


async def lock(tx: Transaction, number: str) -> Record:
    """The order's record, nobody else's to change until the transaction ends; `NotFound`."""
    record = await one(tx, SQL["lock_order"], Record, number)
    if record is None:
        raise NotFound(noun="order", key=number)
    return record


async def named(read: Read, numbers: Sequence[str]) -> list[Named]:
    """The orders with these numbers; `NotFound` names the first that is none."""
    found = await rows(read, SQL["name_orders"], Named, list(dict.fromkeys(numbers)))
    missing = set(numbers) - {one.number for one in found}
    if missing:
        raise NotFound(noun="order", key=min(missing, key=list(numbers).index))
    return found


async def change(tx: Transaction, order_id: int, status: Status, note: str, *, shipped: bool = False) -> None:
    """Note a step of an order's life; the caller holds its lock and sees to stock and money."""
    await tx.execute(SQL["change_order"], order_id, status, note, shipped)


async def note(tx: Transaction, order_id: int, sentence: str) -> None:
    """Add a sentence to an order's history and leave it as it is."""
    await tx.execute(SQL["note_order"], order_id, sentence)


async def wait_longer(tx: Transaction, order_id: int, seconds: float, note: str = "") -> None:
    """Leave a pending order alone for some seconds more."""
    await tx.execute(SQL["wait_longer"], order_id, seconds, note)


async def record_refund(tx: Transaction, order_id: int, amount_minor: int, note: str) -> str:
    """Note money that went back to the buyer, in minor units of the order's currency; the shopper's id."""
    return str(await tx.fetchval(SQL["record_refund"], order_id, amount_minor, note))


async def find(read: Read, number: str, *, shopper_id: str | None = None) -> Order:
    """The whole order; `NotFound` when there is none, or when `shopper_id` is given and it is somebody else's."""
    row = await read.fetchrow(SQL["find_order"], number)
    if row is None or (shopper_id is not None and row["shopper_id"] != shopper_id):
        raise NotFound(noun="order", key=number)
    return _order(dict(row))


async def list_of(read: Read, shopper_id: str, *, after: str | None, limit: int) -> tuple[list[OrderSummary], str | None]:
    """A page of the shopper's orders, newest first, and the cursor of the next page."""
    before: int = decode_cursor(after, int)[0] if after else NEWEST
    found = await read.fetch(SQL["list_orders"], shopper_id, before, limit + 1)
    page = [
        OrderSummary(
            number=row["number"],
            status=row["status"],
            total=Money(row["total_minor"], row["currency"]),
            items=row["items"],
            placed_at=row["placed_at"],
        )
        for row in found[:limit]
    ]
    return page, encode_cursor(found[limit - 1]["id"]) if len(found) > limit else None


async def paying(fresh: Fresh, number: str) -> Paying | None:
    """The order with this number, for asking the gateway about its payment, or None."""
    return await one(fresh, SQL["find_paying"], Paying, number)


async def overdue(fresh: Fresh, gateway: str, *, limit: int) -> list[Paying]:
    """Pending orders whose payment through this gateway should be known by now, the longest waiting first."""
    return await rows(fresh, SQL["overdue_orders"], Paying, limit, gateway)


async def bought_carts(fresh: Fresh, order_ids: Sequence[int]) -> list[BoughtCart]:
    """What each of these orders has bought, and in which state the cart was."""
    return await rows(fresh, SQL["bought_carts"], BoughtCart, list(order_ids)) if order_ids else []


async def buyers_of(fresh: Fresh, states: Sequence[tuple[str, str]]) -> list[int]:
    """The ids of the orders that have bought one of these carts, each given as its shopper and its last change."""
    shopper_ids, changes = [shopper for shopper, _ in states], [change for _, change in states]
    return [row["id"] for row in await fresh.fetch(SQL["buyers_of_carts"], shopper_ids, changes)] if states else []


def _order(row: dict[str, Any]) -> Order:
    def money(column: str, source: dict[str, Any] = row) -> Money:
        return Money(source[f"{column}_minor"], row["currency"])

    amounts = {name: money(name) for name in ("subtotal", "shipping", "tax", "total", "refunded")}
    bought = [
        OrderLine(
            line["sku"], line["title"], line["quantity"], money("unit_price", line), money("tax", line), money("total", line)
        )
        for line in row["lines"]
    ]
    paid = (
        PaymentSeen(row["payment_status"], row["card_brand"], row["card_last4"], row["decline_reason"], row["action"])
        if row["payment_status"]
        else None
    )
    return msgspec.convert({**row, **amounts, "lines": bought, "payment": paid}, Order)
