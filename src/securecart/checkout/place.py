"""Place an order: the path from a cart to a paid order, phase by phase.

Two short transactions stand around the call to the card gateway, and none is open during it. Whatever
happens in between (a crash, a lost answer), the order is pending and holds its stock until `sweep` has asked
the gateway. The shopper's idempotency key opens one order at most; sent again, it is answered with that order.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec

from securecart import carts, catalog, inventory, orders, payments
from securecart.carts import Cart
from securecart.checkout.model import AskQuote, PlaceOrder, Quote, Rates, Till, total_up
from securecart.errors import BadInput, CartEmpty, GatewayAway, IdempotencyKeyReused, StoreAway, TotalChanged
from securecart.orders import NewOrder, Opened, Order, OrderLine
from securecart.payments import Charge
from securecart.sessions import Session
from securecart.stores.dynamodb import DynamoDB
from securecart.stores.postgres import Database, Transaction, one, statements_of
from securecart.telemetry import log
from securecart.values import Line, Money

SQL = statements_of(__package__)


async def place(till: Till, shopper: Session, wish: PlaceOrder, key: str, *, currency: str) -> Order:
    """Buy what is in the shopper's cart, once per `key`.

    The order comes back paid, declined, or pending when the gateway gave no answer in time. Errors, which
    leave nothing behind: `CartEmpty`, `OutOfStock`, `TotalChanged`, `BadInput`, `IdempotencyKeyReused`.
    """
    cart = await carts.load(till.dynamodb, shopper.shopper_id)
    # looked up after the cart was read: a cart that the first request has emptied means that its order is there
    first = await _first_answer(till.database, shopper, wish, key)
    if first is not None:
        return first
    if not cart.lines:
        raise CartEmpty
    ask = AskQuote(wish.shipping_address.country, wish.currency or currency, wish.shipping_method)
    bill = await quote(till.database, cart, ask)
    if wish.expected_total_minor not in {None, bill.total.amount_minor}:
        raise TotalChanged(field="expected_total_minor", total=str(bill.total), total_minor=bill.total.amount_minor)

    opened = await _open(till, shopper, wish, key, cart, bill)
    if not opened.fresh:
        return await _find(till.database, opened, wish)
    charge = await _charge(till, opened, bill.total, wish.payment_token)
    if charge is not None:
        settled = await settle(till.database, opened.id, charge)
        if settled and charge.status == "captured":
            await empty(till.dynamodb, shopper.shopper_id, cart)
    async with till.database.read() as read:
        return await orders.find(read, opened.number)


async def quote(database: Database, cart: Cart, ask: AskQuote) -> Quote:
    """What the cart costs now, by the orders database itself; `BadInput` when it cannot be sold or shipped so."""
    async with database.read() as read:
        items = await catalog.price(read, [line.sku for line in cart.lines], ask.currency)
        rates = await one(read, SQL["rates"], Rates, ask.country, ask.currency)
    assert rates is not None, "a statement without FROM has one row"
    return total_up(cart.lines, items, rates.taxes, rates.shipping, ask)


async def settle(database: Database, order_id: int, charge: Charge) -> bool:
    """Transaction 2: make the gateway's word the order's state; False when that was done before."""
    async with database.transaction() as tx:
        if charge.status == "captured":
            return await _pay(tx, order_id, charge)
        return await _decline(tx, order_id, charge)


async def empty(dynamodb: DynamoDB, shopper_id: str, cart: Cart) -> None:
    """Take what was bought out of the cart; while DynamoDB is away it stays there, and the order stands."""
    try:
        await carts.take_out(dynamodb, shopper_id, cart)
    except StoreAway:
        log.warning("cart could not be emptied after the order", shopper=shopper_id)


async def _open(till: Till, shopper: Session, wish: PlaceOrder, key: str, cart: Cart, bill: Quote) -> Opened:
    """Transaction 1: the pending order and its reserved stock, both or neither."""
    until = datetime.now(UTC) + timedelta(seconds=till.reservation_s)
    order = NewOrder(
        number=orders.new_number(),
        shopper_id=shopper.shopper_id,
        idempotency_key=key,
        request_digest=_digest(wish),
        cart_version=cart.version,
        cart_change=cart.change,
        email=wish.email,
        currency=bill.currency,
        lines=tuple(msgspec.convert(line, OrderLine, from_attributes=True) for line in bill.lines),
        subtotal_minor=bill.subtotal.amount_minor,
        shipping_minor=bill.shipping.amount_minor,
        tax_minor=bill.tax.amount_minor,
        tax_included=bill.tax_included,
        total_minor=bill.total.amount_minor,
        shipping_method=bill.shipping_method,
        shipping_address=wish.shipping_address,
        billing_address=wish.billing_address or wish.shipping_address,
        pending_until=until,
    )
    async with till.database.transaction() as tx:
        opened = await orders.open_order(tx, order)
        if opened.fresh:
            await inventory.reserve(tx, opened.id, [Line(line.sku, line.quantity) for line in order.lines], until=until)
            await payments.expect(tx, opened.id, bill.total, gateway=till.gateway.name)
    return opened


async def _charge(till: Till, opened: Opened, amount: Money, token: str) -> Charge | None:
    """The gateway's word, or None when it gave none in time and the order has to wait for the sweeper."""
    if amount.amount_minor == 0:
        return Charge(status="captured", id="nothing-to-pay")
    try:
        return await till.gateway.authorise(opened.number, amount, token)
    except GatewayAway:
        log.warning("gateway gave no answer, order stays pending", order=opened.number)
        return None
    except BadInput:
        return Charge(status="declined", decline_reason="invalid_card")


async def _pay(tx: Transaction, order_id: int, charge: Charge) -> bool:
    if not await orders.decide(tx, order_id, "paid", "Payment received."):
        return False
    await payments.captured(tx, order_id, charge)
    await inventory.sell(tx, order_id)
    return True


async def _decline(tx: Transaction, order_id: int, charge: Charge) -> bool:
    closed = charge.status == "closed"
    note = "No payment arrived in time; nothing was charged." if closed else f"Payment declined: {charge.decline_reason}."
    if not await orders.decide(tx, order_id, "cancelled" if closed else "declined", note):
        return False
    await payments.declined(tx, order_id, charge)
    await inventory.release(tx, order_id)
    return True


async def _first_answer(database: Database, shopper: Session, wish: PlaceOrder, key: str) -> Order | None:
    async with database.read() as read:
        opened = await orders.find_by_key(read, shopper.shopper_id, key)
    return None if opened is None else await _find(database, opened, wish)


async def _find(database: Database, opened: Opened, wish: PlaceOrder) -> Order:
    if opened.request_digest != _digest(wish):
        raise IdempotencyKeyReused(field="Idempotency-Key")
    async with database.read() as read:
        return await orders.find(read, opened.number)


def _digest(wish: PlaceOrder) -> bytes:
    return hashlib.sha256(msgspec.json.encode(wish, order="deterministic")).digest()
