"""Send an order on its way, and keep what was decided about promised money.

An order whose money is only promised is shipped once the money is taken: the decision is written first, then the
gateway is asked with no transaction open, then its word is noted. Where it gives none, the sweeper goes on.
"""

from __future__ import annotations

from securecart import fraud, inventory, orders, payments
from securecart.checkout.till import Till
from securecart.errors import GatewayAway, OrderStateConflict
from securecart.events import OrderCancelled, OrderPaid, OrderShipped
from securecart.orders import Order, Record
from securecart.payments import Charge, OpenRefund, Wanted
from securecart.stores.postgres import Transaction
from securecart.stores.postgres import log as event_log
from securecart.telemetry import log

__all__ = ["finish", "keep_word", "ship", "try_to_finish"]


async def ship(till: Till, number: str) -> Order:
    """The goods leave the house; promised money is taken first. Repeated, it changes nothing.

    The order comes back shipped, or still authorised when the gateway gave no answer (the sweeper goes on), or cancelled
    when the promise had lapsed. `OrderStateConflict` when it is not bought or not any more; `NotFound`.
    """
    wanted: Wanted | None = None
    async with till.database.transaction() as tx:
        order = await orders.lock(tx, number)
        if order.shipped_at is None:
            wanted = await _let_go(tx, order)
    if wanted is not None:
        await try_to_finish(till, wanted)
    async with till.database.fresh() as fresh:
        return await orders.find(fresh, number)


async def finish(till: Till, wanted: Wanted) -> OpenRefund | None:
    """Ask the gateway for what was decided and note its word; `GatewayAway` leaves it for later.

    A promise that was to be given up and had been taken before comes back as a refund for the caller to carry out.
    """
    if wanted.decision in {"capture", "take"}:
        charge = await till.gateway.capture(wanted.gateway_id, amount_minor=wanted.amount_minor, key=f"capture-{wanted.number}")
    else:
        charge = await till.gateway.void(wanted.gateway_id, key=f"void-{wanted.number}")
    if charge.status in {"authorised", "waiting"}:
        log.error("gateway leaves a promise as it was", order=wanted.number, decision=wanted.decision)
    async with till.database.transaction() as tx:
        order = await orders.lock(tx, wanted.number)
        return await keep_word(tx, order, charge, ships=wanted.decision == "capture")


async def try_to_finish(till: Till, wanted: Wanted) -> OpenRefund | None:
    """The same; when the gateway gives no answer, the decision stays open."""
    try:
        return await finish(till, wanted)
    except GatewayAway:
        log.warning("gateway gave no answer, the decision stays open", order=wanted.number, decision=wanted.decision)
        return None


async def keep_word(tx: Transaction, order: Record, charge: Charge, *, ships: bool) -> OpenRefund | None:
    """Note what became of an order's promised money, whoever decided it; the caller holds the order's lock.

    `ships`: the goods leave once the money is there. Money that came for an order which has ended is to be given back.
    """
    if charge.status in {"authorised", "waiting"} or not await payments.keep_promise(tx, order.id, charge):
        return None
    taken, ended = charge.status == "captured", order.status == "cancelled"
    if taken and ended:
        await orders.note(tx, order.id, "The payment was captured before it could be given up; it goes back.")
        return await payments.open_refund(tx, order.id, key="too-late", amount_minor=None, reason="the order was cancelled")
    if ended:
        await orders.note(tx, order.id, "The promised payment was given up; nothing was charged.")
    elif taken and ships:
        await orders.change(tx, order.id, "paid", "Payment received, and the goods are on their way.", shipped=True)
        await event_log.publish(tx, [OrderPaid(order.id, order.shopper_id), OrderShipped(order.id, order.shopper_id)])
    elif taken:
        await orders.change(tx, order.id, "paid", "Payment received; it was captured at the gateway.")
        await event_log.publish(tx, [OrderPaid(order.id, order.shopper_id)])
    else:
        note = "The promised payment has ended at the gateway; nothing was charged, and the goods are back in stock."
        await inventory.restock(tx, order.id)
        await fraud.decide_review(tx, order.id, "cancelled", said_by="the gateway")
        await orders.change(tx, order.id, "cancelled", note)
        await event_log.publish(tx, [OrderCancelled(order.id, order.shopper_id)])
    return None


async def _let_go(tx: Transaction, order: Record) -> Wanted | None:
    """Mark a paid order as shipped, or decide to take the money of one that is authorised."""
    if await fraud.is_held(tx, order.id):
        raise OrderStateConflict(number=order.number, state="held for review", verb="shipped")
    if order.status in {"paid", "partially_refunded"}:
        await orders.change(tx, order.id, order.status, "The goods are on their way.", shipped=True)
        await event_log.publish(tx, [OrderShipped(order.id, order.shopper_id)])
        return None
    wanted = await payments.want(tx, order.id, "capture") if order.status == "authorised" else None
    if wanted is None:
        raise OrderStateConflict(number=order.number, state=order.status.replace("_", " "), verb="shipped")
    return wanted
