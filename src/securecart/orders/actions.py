"""What can be done with an order."""

from __future__ import annotations

from typing import Any

import msgspec

from securecart.errors import NotFound
from securecart.orders.model import (
    NewOrder,
    Opened,
    Order,
    OrderLine,
    OrderSummary,
    PaymentSeen,
    Pending,
    Record,
    Status,
)
from securecart.stores.postgres import Read, Transaction, one, rows, statements_of
from securecart.values import Money, decode_cursor, encode_cursor

SQL = statements_of(__package__)

NEWEST = 2**63 - 1


async def open_order(tx: Transaction, order: NewOrder) -> Opened:
    """Write the order as pending, or answer the one that the same key opened before."""
    lines = order.lines
    opened = await one(
        tx,
        SQL["open_order"],
        Opened,
        order.number,
        order.shopper_id,
        order.idempotency_key,
        order.request_digest,
        order.cart_version,
        order.cart_change,
        order.email,
        order.currency,
        order.subtotal_minor,
        order.shipping_minor,
        order.tax_minor,
        order.tax_included,
        order.total_minor,
        order.shipping_method,
        order.shipping_address,
        order.billing_address,
        order.pending_until,
        [line.sku for line in lines],
        [line.title for line in lines],
        [line.quantity for line in lines],
        [line.unit_price.amount_minor for line in lines],
        [line.tax.amount_minor for line in lines],
        [line.total.amount_minor for line in lines],
    )
    if opened is None:
        opened = await find_by_key(tx, order.shopper_id, order.idempotency_key)
    assert opened is not None, "a conflicting order is committed, so it can be read"
    return opened


async def find_by_key(read: Read, shopper_id: str, idempotency_key: str) -> Opened | None:
    """The order that this shopper opened with this key, or None."""
    return await one(read, SQL["find_by_key"], Opened, shopper_id, idempotency_key)


async def decide(tx: Transaction, order_id: int, status: Status, note: str) -> bool:
    """Move a pending order to its next status; False when it was decided already, and then nothing changed."""
    return await tx.fetchval(SQL["decide_order"], order_id, status, note) is not None


async def lock(tx: Transaction, number: str) -> Record:
    """The order's record, nobody else's to change until the transaction ends; `NotFound`."""
    record = await one(tx, SQL["lock_order"], Record, number)
    if record is None:
        raise NotFound(noun="order", key=number)
    return record


async def cancel(tx: Transaction, order_id: int, note: str) -> None:
    """Mark a paid order as cancelled; the caller holds its lock and sees to stock and money."""
    await tx.execute(SQL["cancel_order"], order_id, note)


async def record_refund(tx: Transaction, order_id: int, amount_minor: int, note: str) -> None:
    """Note money that went back to the buyer, in minor units of the order's currency."""
    await tx.execute(SQL["record_refund"], order_id, amount_minor, note)


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


async def overdue(read: Read, *, limit: int) -> list[Pending]:
    """Pending orders whose payment should be known by now, the longest waiting first."""
    return await rows(read, SQL["overdue_orders"], Pending, limit)


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
        PaymentSeen(row["payment_status"], row["card_brand"], row["card_last4"], row["decline_reason"])
        if row["payment_status"]
        else None
    )
    return msgspec.convert({**row, **amounts, "lines": bought, "payment": paid}, Order)
