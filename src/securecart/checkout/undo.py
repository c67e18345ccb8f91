"""Take an order back: cancel it while nothing was shipped, or refund money.

The decision is written first, with the stock that returns; then the gateway is asked, with no transaction
open; then its word is noted. When it gives none, the decision stays open and the sweeper asks again.
"""

from __future__ import annotations

from securecart import fraud, inventory, orders, payments
from securecart.checkout.ship import try_to_finish
from securecart.checkout.till import Till
from securecart.errors import BadInput, GatewayAway, NotFound, OrderStateConflict
from securecart.events import OrderCancelled, OrderRefunded
from securecart.orders import Order, Record
from securecart.payments import OpenRefund, Wanted
from securecart.stores.postgres import Transaction
from securecart.stores.postgres import log as event_log
from securecart.telemetry import log
from securecart.values import Money


async def cancel(till: Till, number: str, *, shopper_id: str | None, key: str) -> Order:
    """Cancel a bought order: the units go back to stock, the money back to the card; repeated, it changes nothing.

    With a `shopper_id` only that shopper's order is found. `OrderStateConflict` when it is not bought, was shipped, or
    was partly refunded already; `NotFound`.
    """
    owed: OpenRefund | Wanted | None = None
    async with till.database.transaction() as tx:
        order = await orders.lock(tx, number)
        if shopper_id is not None and order.shopper_id != shopper_id:
            raise NotFound(noun="order", key=number)
        if order.status != "cancelled":
            owed = await take_back(tx, order, key=f"cancel:{key}", note="Cancelled; the goods are back in stock.")
            await fraud.decide_review(tx, order.id, "cancelled", said_by="the order was cancelled")
    await try_to_settle(till, owed)
    async with till.database.fresh() as fresh:
        return await orders.find(fresh, number)


async def take_back(tx: Transaction, order: Record, *, key: str, note: str) -> OpenRefund | Wanted | None:
    """Cancel a bought order that the caller has locked: what is owed for it now; `OrderStateConflict` when it cannot be."""
    wanted = await _release_money(tx, order)
    await inventory.restock(tx, order.id)
    await orders.change(tx, order.id, "cancelled", note)
    await event_log.publish(tx, [OrderCancelled(order.id, order.shopper_id)])
    if order.status == "paid" and order.total_minor:
        return await payments.open_refund(tx, order.id, key=key, amount_minor=None, reason="cancelled")
    return wanted


async def refund(till: Till, number: str, *, amount_minor: int | None, reason: str, key: str) -> Order:
    """Give back `amount_minor` of a paid order (None: all that is left), once per `key`; the goods stay sold.

    `BadInput` when that much is not left, `OrderStateConflict` when the order was never paid, `NotFound`.
    """
    async with till.database.transaction() as tx:
        order = await orders.lock(tx, number)
        if order.status not in {"paid", "partially_refunded", "refunded"}:
            raise OrderStateConflict(number=number, state=order.status, verb="refunded")
        opened = await payments.open_refund(tx, order.id, key=f"refund:{key}", amount_minor=amount_minor, reason=reason)
    await try_to_give_back(till, opened)
    async with till.database.fresh() as fresh:
        return await orders.find(fresh, number)


async def give_back(till: Till, refund: OpenRefund) -> None:
    """Ask the gateway for a decided refund and note what came of it; `GatewayAway` leaves it for later."""
    amount = Money(refund.amount_minor, refund.currency)
    try:
        done = await till.gateway.refund(refund.gateway_id, refund.amount_minor, reason=refund.reason, key=f"refund-{refund.id}")
    except BadInput as refused:
        log.error("gateway refused a refund", refund=refund.id, why=refused.message)
        async with till.database.transaction() as tx:
            if await payments.refuse_refund(tx, refund.id):
                await orders.note(tx, refund.order_id, f"The gateway refused to pay {amount} back: {refused.message}")
        return
    async with till.database.transaction() as tx:
        if await payments.finish_refund(tx, refund.id, done.id):
            await note_refund(tx, refund.order_id, refund.amount_minor, f"Refunded {amount}: {refund.reason}.")


async def try_to_give_back(till: Till, refund: OpenRefund | None) -> None:
    """The same; when the gateway gives no answer, the refund stays open."""
    if refund is None or refund.done:
        return
    try:
        await give_back(till, refund)
    except GatewayAway:
        log.warning("gateway gave no answer, the refund stays open", refund=refund.id)


async def try_to_settle(till: Till, owed: OpenRefund | Wanted | None) -> None:
    """Carry out what was decided about an order's money; what the gateway gives no answer to stays open."""
    await try_to_give_back(till, await try_to_finish(till, owed) if isinstance(owed, Wanted) else owed)


async def note_refund(tx: Transaction, order_id: int, amount_minor: int, note: str) -> None:
    """Note money that went back, in the order and in the event log."""
    shopper_id = await orders.record_refund(tx, order_id, amount_minor, note)
    await event_log.publish(tx, [OrderRefunded(order_id, shopper_id, amount_minor)])


async def _release_money(tx: Transaction, order: Record) -> Wanted | None:
    """Decide to give up what is only promised; `OrderStateConflict` when the order cannot be cancelled."""
    if order.shipped_at is not None:
        raise OrderStateConflict(number=order.number, state="shipped", verb="cancelled")
    if order.status == "paid":
        return None
    wanted = await payments.want(tx, order.id, "void") if order.status == "authorised" else None
    if wanted is None:
        status = "being shipped" if order.status == "authorised" else order.status.replace("_", " ")
        raise OrderStateConflict(number=order.number, state=status, verb="cancelled")
    return wanted
