"""Finish what was left open: payments nobody heard of, and decisions that the gateway never confirmed.

A crash between the two transactions of a checkout, a lost answer or a silent gateway leaves an order pending
with its stock reserved. The sweeper asks the gateway for the last word on it: money captured or promised makes it
bought, anything else lets the stock go. Nothing is released before the gateway has ruled out a later charge.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from securecart import orders, payments
from securecart.checkout.hear import conclude
from securecart.checkout.model import Settlement
from securecart.checkout.ship import finish
from securecart.checkout.till import Till
from securecart.checkout.undo import give_back, try_to_give_back
from securecart.errors import GatewayAway
from securecart.orders import Paying
from securecart.payments import OpenRefund, Wanted
from securecart.telemetry import log

__all__ = ["Swept", "sweep"]

BATCH = 100
GRACE_S = 30.0  # whoever decided is given this long to hear the gateway's word
AWAY_MAX = 3  # calls in a row without an answer, and the gateway is left alone until the next sweep
ASK_AGAIN_S = 10.0
NOTICES_KEPT_DAYS = 30
FOUND = {
    "captured": "Payment found when the gateway was asked again.",
    "authorised": "Payment found authorised when the gateway was asked again; it is captured when the goods are shipped.",
}

Open = TypeVar("Open", Paying, OpenRefund, Wanted)


class Swept(Struct, frozen=True):
    """What one sweep finished."""

    paid: int
    released: int
    refunds: int
    promises: int


async def sweep(till: Till) -> Swept:
    """Ask the gateway about everything overdue, up to a batch of each kind; safe to run twice at once."""
    async with till.database.fresh() as fresh:
        pending = await orders.overdue(fresh, till.gateway.name, limit=BATCH)
        promises = await payments.unfinished(fresh, till.gateway.name, older_than_s=GRACE_S, limit=BATCH)
        refunds = await payments.unfinished_refunds(fresh, till.gateway.name, older_than_s=GRACE_S, limit=BATCH)
    outcomes = await _each(till, pending, _conclude)
    finished = await _each(till, promises, _finish)
    given_back = await _each(till, refunds, give_back)
    async with till.database.transaction() as tx:
        await payments.forget_notices(tx, older_than_days=NOTICES_KEPT_DAYS)
    bought = sum(status in FOUND for status in outcomes)
    return Swept(paid=bought, released=len(outcomes) - bought, refunds=len(given_back), promises=len(finished))


async def _each(till: Till, waiting: Sequence[Open], ask: Callable[[Till, Open], Awaitable[object]]) -> list[object]:
    """The outcome of each that the gateway answered; one that it cannot answer yet does not stop the others."""
    outcomes: list[object] = []
    away = 0
    for one in waiting:
        try:
            outcomes.append(await ask(till, one))
            away = 0
        except GatewayAway:
            away += 1
            if away == AWAY_MAX:
                log.warning("gateway is away, the sweep goes on later", waiting=len(waiting) - len(outcomes))
                break
    return outcomes


async def _conclude(till: Till, order: Paying) -> str:
    try:
        charge = await conclude(till, order)
    except GatewayAway:
        async with till.database.transaction() as tx:  # so that others come first the next time
            await orders.wait_longer(tx, order.id, ASK_AGAIN_S)
        raise
    if await till.settle(Settlement(order.id, charge, FOUND.get(charge.status, ""))):
        log.info("swept a pending order", order=order.number, outcome=charge.status)
    return charge.status


async def _finish(till: Till, wanted: Wanted) -> None:
    await try_to_give_back(till, await finish(till, wanted))
    log.info("finished what was decided about a promise", order=wanted.number, decision=wanted.decision)
