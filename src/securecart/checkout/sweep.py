"""Finish what was left open: orders whose payment nobody heard of, refunds that were never confirmed.

A crash between the two transactions of a checkout, a lost answer or a silent gateway leaves an order pending
with its stock reserved. The sweeper asks the gateway for the last word on it: money captured makes it paid,
anything else lets the stock go. Nothing is released before the gateway has ruled out a later charge.
"""

from __future__ import annotations

from msgspec import Struct

from securecart import orders, payments
from securecart.carts import Cart
from securecart.checkout.model import Settlement
from securecart.checkout.place import empty
from securecart.checkout.till import Till
from securecart.checkout.undo import give_back
from securecart.errors import GatewayAway
from securecart.orders import Pending
from securecart.telemetry import log

BATCH = 100
REFUND_GRACE_S = 30.0


class Swept(Struct, frozen=True):
    """What one sweep finished."""

    paid: int
    released: int
    refunds: int


async def sweep(till: Till) -> Swept:
    """Ask the gateway about every overdue order and refund, up to a batch of each; safe to run twice at once."""
    async with till.database.read() as read:
        pending = await orders.overdue(read, limit=BATCH)
        refunds = await payments.unfinished_refunds(read, older_than_s=REFUND_GRACE_S, limit=BATCH)
    outcomes: list[str] = []
    try:
        outcomes = [await _conclude(till, order) for order in pending]
        for refund in refunds:
            await give_back(till, refund)
    except GatewayAway:
        log.warning("gateway is away, the sweep goes on later", orders=len(pending), refunds=len(refunds))
    return Swept(paid=outcomes.count("captured"), released=len(outcomes) - outcomes.count("captured"), refunds=len(refunds))


async def _conclude(till: Till, order: Pending) -> str:
    charge = await till.gateway.conclude(order.number)
    if await till.settle(Settlement(order.id, charge)):
        log.info("swept a pending order", order=order.number, outcome=charge.status)
        if charge.status == "captured":
            await empty(till.dynamodb, order.shopper_id, Cart(order.lines, order.cart_version, order.cart_change))
    return charge.status
