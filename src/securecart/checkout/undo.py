"""Take an order back: cancel it while nothing was shipped, or refund money.

The decision is written first, with the stock that returns; then the gateway is asked, with no transaction
open; then its word is noted. When it gives none, the refund stays open and the sweeper asks again.
"""

from __future__ import annotations

from securecart import inventory, orders, payments
from securecart.checkout.till import Till
from securecart.errors import GatewayAway, NotFound, OrderStateConflict
from securecart.orders import Order
from securecart.payments import OpenRefund
from securecart.telemetry import log
from securecart.values import Money


async def cancel(till: Till, number: str, *, shopper_id: str | None, key: str) -> Order:
    """Cancel a paid order: the units go back to stock, the money back to the card; repeated, it changes nothing.

    With a `shopper_id` only that shopper's order is found. `OrderStateConflict` when it is not paid, or was
    partly refunded already; `NotFound`.
    """
    async with till.database.transaction() as tx:
        order = await orders.lock(tx, number)
        if shopper_id is not None and order.shopper_id != shopper_id:
            raise NotFound(noun="order", key=number)
        if order.status not in {"paid", "cancelled"}:
            raise OrderStateConflict(number=number, status=order.status.replace("_", " "), verb="cancelled")
        opened: OpenRefund | None = None
        if order.status == "paid":
            await inventory.restock(tx, order.id)
            await orders.cancel(tx, order.id, "Cancelled; the goods are back in stock.")
            if order.total_minor:
                opened = await payments.open_refund(tx, order.id, key=f"cancel:{key}", amount_minor=None, reason="cancelled")
    await _try_to_give_back(till, opened)
    async with till.database.read() as read:
        return await orders.find(read, number)


async def refund(till: Till, number: str, *, amount_minor: int | None, reason: str, key: str) -> Order:
    """Give back `amount_minor` of a paid order (None: all that is left), once per `key`; the goods stay sold.

    `BadInput` when that much is not left, `OrderStateConflict` when the order was never paid, `NotFound`.
    """
    async with till.database.transaction() as tx:
        order = await orders.lock(tx, number)
        if order.status not in {"paid", "partially_refunded", "refunded"}:
            raise OrderStateConflict(number=number, status=order.status, verb="refunded")
        opened = await payments.open_refund(tx, order.id, key=f"refund:{key}", amount_minor=amount_minor, reason=reason)
    await _try_to_give_back(till, opened)
    async with till.database.read() as read:
        return await orders.find(read, number)


async def give_back(till: Till, refund: OpenRefund) -> None:
    """Ask the gateway for a decided refund and note that it was done; `GatewayAway` leaves it for later."""
    done = await till.gateway.refund(refund.gateway_id, refund.amount_minor, reason=refund.reason, key=f"refund-{refund.id}")
    async with till.database.transaction() as tx:
        if await payments.finish_refund(tx, refund.id, done.id):
            amount = Money(refund.amount_minor, refund.currency)
            await orders.record_refund(tx, refund.order_id, refund.amount_minor, f"Refunded {amount}: {refund.reason}.")


async def _try_to_give_back(till: Till, refund: OpenRefund | None) -> None:
    if refund is None or refund.done:
        return
    try:
        await give_back(till, refund)
    except GatewayAway:
        log.warning("gateway gave no answer, the refund stays open", refund=refund.id)
