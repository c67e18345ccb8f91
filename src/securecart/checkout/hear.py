"""Hear what happened to a payment outside of `place`: by a notice of the gateway, or because the buyer came back.

A notice is a hint. It may come before our own answer, late, twice, in any order or never, so nothing it says is believed:
it makes the shop ask the gateway, and the gateway's answer is what the order becomes.
"""

from __future__ import annotations

from securecart import fraud, orders, payments
from securecart.checkout import marks
from securecart.checkout.model import NOTHING_TO_PAY, Settlement
from securecart.checkout.ship import keep_word
from securecart.checkout.till import Till
from securecart.checkout.together import settle_in
from securecart.checkout.undo import note_refund, try_to_settle
from securecart.errors import NotFound
from securecart.events import OrderDisputed
from securecart.orders import Order, Paying, Record
from securecart.payments import Charge, Notice, OpenRefund, Wanted
from securecart.stores.postgres import Transaction
from securecart.stores.postgres import log as event_log
from securecart.telemetry import log
from securecart.values import Money

__all__ = ["HEARD", "conclude", "hear", "hear_of", "look_again"]

# the history's sentence where the gateway told of a payment by itself
HEARD = {
    "captured": "Payment received; the gateway sent word of it.",
    "authorised": "Payment authorised; the gateway sent word of it. It is captured when the goods are shipped.",
    "closed": "The payment was cancelled; nothing was charged.",
}
TAKEN_BACK = "The buyer's bank took the payment back (chargeback)."
WARNED = "The bank or the card network warned of fraud."
KNOWN_TO_BE_PAID = frozenset({"paid", "partially_refunded", "refunded"})


async def hear(till: Till, body: bytes, signature: str) -> None:
    """Act upon a gateway's notice, once. `BadSignature` when it is none; `GatewayAway` asks the gateway to send it again."""
    notice = till.gateway.notice(body, signature)
    if notice is not None:
        await hear_of(till, notice)


async def hear_of(till: Till, notice: Notice) -> None:
    """Ask the gateway what a notice hints at, and make the order that, once for each notice; `GatewayAway`."""
    async with till.database.fresh() as fresh:
        if await payments.was_seen(fresh, till.gateway.name, notice):
            return
    reference = notice.reference or await till.gateway.reference_of(notice.gateway_id) or ""
    async with till.database.fresh() as fresh:
        order = await orders.paying(fresh, reference)
    if order is None:
        log.warning("notice about an order that is not here", notice=notice.id, kind=notice.kind, order=reference)
        return
    if notice.kind in {"disputed", "contested", "suspected"}:
        await _note_dispute(till, order, notice)
        return
    if notice.kind == "charged" and order.status in KNOWN_TO_BE_PAID:
        async with till.database.transaction() as tx:  # most notices say what our own call was answered
            await payments.see(tx, till.gateway.name, notice)
        return
    charge = await conclude(till, order)
    owed: OpenRefund | Wanted | None = None
    async with till.database.transaction() as tx:
        if not await payments.see(tx, till.gateway.name, notice):
            return
        settlement = Settlement(order.id, charge, HEARD.get(charge.status, ""))
        decided = (await settle_in(tx, {order.id: settlement}, region=till.region, hold_s=till.pace.review_s)).get(order.id)
        if decided is None:
            owed = await _compare(tx, await orders.lock(tx, order.number), charge, notice)
    await try_to_settle(till, owed)


async def _note_dispute(till: Till, order: Paying, notice: Notice) -> None:
    """From now on the order is known to be fraud, where the bank says so; its money is between the bank and the shop's people."""
    async with till.database.transaction() as tx:
        if not await payments.see(tx, till.gateway.name, notice):
            return
        if notice.kind != "suspected":
            await orders.note(tx, order.id, TAKEN_BACK)
        if notice.kind != "contested":
            note = WARNED if notice.kind == "suspected" else TAKEN_BACK
            await fraud.mark(tx, [order.id], is_fraud=True, source="chargeback", said_by=till.gateway.name, note=note)
            await event_log.publish(tx, [OrderDisputed(order.id, order.shopper_id)])
    log.warning("the payment of an order is disputed", order=order.number, kind=notice.kind)


async def conclude(till: Till, order: Paying) -> Charge:
    """The last word on an order's payment; `GatewayAway` while there is none."""
    if order.total_minor == 0:
        return NOTHING_TO_PAY
    return await till.gateway.conclude(order.number, order.total, since=order.placed_at)


async def look_again(till: Till, number: str, *, shopper_id: str | None) -> Order:
    """Ask what became of a pending order's payment, because its buyer did what the bank wanted; `NotFound`, `GatewayAway`."""
    async with till.database.fresh() as fresh:
        order = await orders.paying(fresh, number)
    if order is None or shopper_id not in {None, order.shopper_id}:
        raise NotFound(noun="order", key=number)
    if order.status == "pending":
        charge = await till.gateway.look(number, order.total, since=order.placed_at)
        if charge.status == "declined":  # it could still be tried with another card, which would be another order
            charge = await conclude(till, order)
        if charge.status != "waiting":
            await till.settle(Settlement(order.id, charge))
    async with till.database.fresh() as fresh:
        found = await orders.find(fresh, number)
    if order.status == "pending":
        bought = found.status in {"authorised", "paid"}
        await marks.leave(till.cache, order.shopper_id, found, cart_change=order.cart_change if bought else "")
    return found


async def _compare(tx: Transaction, order: Record, charge: Charge, notice: Notice) -> OpenRefund | Wanted | None:
    """Bring the shop's book to what the gateway says of an order that was decided before; what is to be given back now."""
    if order.status == "authorised":
        return await keep_word(tx, order, charge, ships=False)
    has_money = charge.status in {"captured", "authorised"}
    if has_money and order.status in {"declined", "cancelled"} and await payments.wake(tx, order.id, charge):
        log.warning("money for an order that has ended", order=order.number, notice=notice.id, status=charge.status)
        await orders.note(tx, order.id, "Money arrived after the order had ended; it goes back.")
        if charge.status == "authorised":
            return await payments.want(tx, order.id, "void")
        return await payments.open_refund(tx, order.id, key="too-late", amount_minor=None, reason="the order had ended")
    outside = await payments.find_outside_refund(tx, order.id, charge.refunded_minor, reason="at the gateway")
    if outside:
        await note_refund(tx, order.id, outside, f"Refunded {Money(outside, order.currency)} at the gateway, not by the shop.")
    return None
