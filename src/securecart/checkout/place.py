"""Place an order: the path from a cart to a paid order, phase by phase.

Two short transactions stand around the call to the card gateway, and none is open during it. Whatever
happens in between (a crash, a lost answer), the order is pending and holds its stock until `sweep` has asked
the gateway. The shopper's idempotency key opens one order at most; sent again, it is answered with that order.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import msgspec

from securecart import carts, orders, payments
from securecart.carts import Cart
from securecart.checkout import marks
from securecart.checkout.assess import assess, card_behind
from securecart.checkout.model import (
    HELD,
    NOT_ACCEPTED,
    NOTHING_TO_PAY,
    AskQuote,
    Opening,
    PlaceOrder,
    Question,
    Quote,
    Settlement,
    total_up,
)
from securecart.checkout.till import Till
from securecart.errors import BadInput, CartEmpty, Conflict, GatewayAway, IdempotencyKeyReused, TotalChanged
from securecart.events import OrderWaits
from securecart.fraud import Origin
from securecart.orders import NewOrder, Opened, Order, OrderLine, PaymentSeen
from securecart.payments import Charge
from securecart.sessions import Session
from securecart.stores.postgres import log as event_log
from securecart.telemetry import log
from securecart.values import Money

NOWHERE = Origin()


async def place(till: Till, shopper: Session, wish: PlaceOrder, key: str, *, currency: str, origin: Origin = NOWHERE) -> Order:
    """Buy what is in the shopper's cart, once per `key`, and each state of the cart once.

    The order comes back paid (or authorised, where money is taken on shipment), declined, or pending when the gateway gave
    no answer in time or the buyer has to act (then `payment.action` says what the browser needs). One that the judge wants
    reviewed is only authorised, and held; one that the judge refuses is declined, and no gateway is asked for money. Errors,
    which leave nothing behind: `CartEmpty`, `CartBought`, `OutOfStock`, `TotalChanged`, `BadInput`, `IdempotencyKeyReused`,
    `TooBusy`. What was bought is taken out of the cart a moment later, by a reader of the event log.
    """
    await till.intake.admit()
    cart = await carts.load(till.dynamodb, shopper.shopper_id)
    try:
        order, card = await asyncio.gather(
            _write_out(till, shopper, wish, key, cart, currency), card_behind(till, wish.payment_token)
        )
    except (BadInput, Conflict):
        # looked up after the cart was read: a cart that the first request has emptied means that its order is there
        first = await _first_answer(till, shopper, wish, key)
        if first is None:
            raise
        return first
    opening = Opening(order, await assess(till, order, origin, card))
    opened = await till.open(opening)
    if not opened.fresh:
        return await _answer_again(till, opened, wish)

    charge = await _charge(till, opened, opening, wish.payment_token)
    if charge is None or charge.status == "waiting":
        return await _wait(till, shopper, opened, charge)
    is_held = opening.verdict == "review" and charge.status == "authorised"
    settlement = Settlement(opened.id, charge, HELD if is_held else "")
    decided = await till.settle(settlement)
    if decided is None:  # by the sweeper, by a notice, or by this very call, whose commit was not heard of
        placed = await _find(till, opened)
    else:
        placed = orders.placed(order, opened, settlement.decision, decided, _seen(charge))
    bought = placed.status in orders.BOUGHT
    await marks.leave(till.cache, shopper.shopper_id, placed, cart_change=cart.change if bought else "")
    return placed


async def quote(till: Till, cart: Cart, ask: AskQuote) -> Quote:
    """What the cart costs now, by the orders database itself; `BadInput` when it cannot be sold or shipped so."""
    cost = await till.cost(Question(tuple(line.sku for line in cart.lines), ask.country, ask.currency))
    return total_up(cart.lines, cost.items, cost.rates.taxes, cost.rates.shipping, ask)


async def _write_out(till: Till, shopper: Session, wish: PlaceOrder, key: str, cart: Cart, currency: str) -> NewOrder:
    """The order as it will be written, at today's prices."""
    if not cart.lines:
        raise CartEmpty
    bill = await quote(till, cart, AskQuote(wish.shipping_address.country, wish.currency or currency, wish.shipping_method))
    if wish.expected_total_minor not in {None, bill.total.amount_minor}:
        raise TotalChanged(field="expected_total_minor", total=str(bill.total), total_minor=bill.total.amount_minor)
    return NewOrder(
        number=orders.new_number(),
        shopper_id=shopper.shopper_id,
        idempotency_key=key,
        request_digest=_digest(wish),
        cart_version=cart.version,
        cart_change=cart.change,
        email=wish.email,
        currency=bill.currency,
        lines=tuple(OrderLine(line.sku, line.title, line.quantity, line.unit_price, line.tax, line.total) for line in bill.lines),
        subtotal_minor=bill.subtotal.amount_minor,
        shipping_minor=bill.shipping.amount_minor,
        tax_minor=bill.tax.amount_minor,
        tax_included=bill.tax_included,
        total_minor=bill.total.amount_minor,
        shipping_method=bill.shipping_method,
        shipping_address=wish.shipping_address,
        billing_address=wish.billing_address or wish.shipping_address,
        pending_until=datetime.now(UTC) + timedelta(seconds=till.pace.reservation_s),
    )


async def _charge(till: Till, opened: Opened, opening: Opening, token: str) -> Charge | None:
    """The gateway's word, or None when it gave none in time and the order has to wait for the sweeper."""
    amount = Money(opening.order.total_minor, opening.order.currency)
    if amount.amount_minor == 0:
        return NOTHING_TO_PAY
    if opening.verdict == "decline":
        return NOT_ACCEPTED
    captures = till.pace.captures_at_once and opening.verdict == "accept"
    try:
        return await till.gateway.authorise(opened.number, amount, token, capture=captures)
    except GatewayAway:
        log.warning("gateway gave no answer, order stays pending", order=opened.number)
        return None
    except BadInput:
        return Charge(status="declined", decline_reason="invalid_card")


async def _wait(till: Till, shopper: Session, opened: Opened, charge: Charge | None) -> Order:
    """The pending order: it waits for the sweeper, or for the buyer, with its stock held for as long as a person may take."""
    async with till.database.transaction() as tx:
        if charge is not None:
            await orders.wait_longer(tx, opened.id, till.pace.buyer_s, "The bank wants the buyer to confirm the payment.")
            await payments.wait_for_buyer(tx, opened.id, charge)
        await event_log.publish(tx, [OrderWaits(opened.id, shopper.shopper_id)])
    pending = await _find(till, opened)
    await marks.leave(till.cache, shopper.shopper_id, pending)
    return pending


async def _first_answer(till: Till, shopper: Session, wish: PlaceOrder, key: str) -> Order | None:
    async with till.database.fresh() as fresh:
        opened = await orders.find_by_key(fresh, shopper.shopper_id, key)
    return None if opened is None else await _answer_again(till, opened, wish)


async def _answer_again(till: Till, opened: Opened, wish: PlaceOrder) -> Order:
    if opened.request_digest != _digest(wish):
        raise IdempotencyKeyReused(field="Idempotency-Key")
    return await _find(till, opened)


async def _find(till: Till, opened: Opened) -> Order:
    async with till.database.fresh() as fresh:
        return await orders.find(fresh, opened.number)


def _seen(charge: Charge) -> PaymentSeen:
    status = "declined" if charge.status == "closed" else charge.status
    return PaymentSeen(status, charge.card.brand, charge.card.last4, payments.why_declined(charge))


def _digest(wish: PlaceOrder) -> bytes:
    return hashlib.sha256(msgspec.json.encode(wish, order="deterministic")).digest()
