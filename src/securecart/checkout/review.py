"""Orders that a person looks at before they go on: let them go, or take them back; and what is said of an order later.

A held order is bought: its stock is sold and its money promised, but neither taken nor shipped. When nobody decides in time,
the setting `fraud_review_lapse` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from securecart import fraud, orders, payments
from securecart.checkout.ship import try_to_finish
from securecart.checkout.till import Till
from securecart.checkout.undo import take_back, try_to_settle
from securecart.errors import OrderStateConflict
from securecart.events import OrderMarked
from securecart.fraud import Outcome
from securecart.orders import Order, Record
from securecart.stores.postgres import Transaction
from securecart.stores.postgres import log as event_log
from securecart.telemetry import log

__all__ = ["lapse", "mark", "refuse", "release"]

LAPSED_AT_ONCE = 100
NOBODY = "nobody, in time"


async def release(till: Till, number: str, *, said_by: str) -> Order:
    """Let a held order go on: where the shop takes money at once it is taken now, else when the goods are shipped.

    `OrderStateConflict` when the order does not wait, or not any more; `NotFound`.
    """
    async with till.database.transaction() as tx:
        order = await _decide(tx, number, "released", said_by)
        await orders.note(tx, order.id, "The order was checked and goes on.")
        takes = order.status == "authorised" and till.pace.captures_at_once
        wanted = await payments.want(tx, order.id, "take") if takes else None
    if wanted is not None:
        await try_to_finish(till, wanted)
    async with till.database.fresh() as fresh:
        return await orders.find(fresh, number)


async def refuse(till: Till, number: str, *, said_by: str) -> Order:
    """Take a held order back: the goods return to stock, the promise of money is given up; errors as for `release`."""
    async with till.database.transaction() as tx:
        order = await _decide(tx, number, "cancelled", said_by)
        owed = await take_back(
            tx, order, key=f"review:{number}", note="The order was checked and not accepted; nothing was charged."
        )
    await try_to_settle(till, owed)
    async with till.database.fresh() as fresh:
        return await orders.find(fresh, number)


async def lapse(till: Till) -> int:
    """Decide, as the shop has it, on held orders that nobody decided on in time; how many there were."""
    async with till.database.fresh() as fresh:
        numbers = await fraud.lapsed(fresh, limit=LAPSED_AT_ONCE)
    decide = release if till.pace.lapsed_go_on else refuse
    for number in numbers:
        try:
            await decide(till, number, said_by=NOBODY)
        except OrderStateConflict:
            continue  # somebody was quicker
        log.info("a held order lapsed", order=number, released=till.pace.lapsed_go_on)
    return len(numbers)


async def mark(till: Till, numbers: Sequence[str], *, is_fraud: bool, said_by: str, note: str = "") -> list[str]:
    """Say of orders that they are fraud, or are not, from now on; the numbers of those for which that is new. `NotFound`."""
    async with till.database.transaction() as tx:
        named = await orders.named(tx, numbers)
        changed = set(
            await fraud.mark(tx, [one.id for one in named], is_fraud=is_fraud, source="operator", said_by=said_by, note=note)
        )
        new = [one for one in named if one.id in changed]
        await event_log.publish(tx, [OrderMarked(one.id, one.shopper_id) for one in new])
    return [one.number for one in new]


async def _decide(tx: Transaction, number: str, outcome: Outcome, said_by: str) -> Record:
    order = await orders.lock(tx, number)
    if not await fraud.decide_review(tx, order.id, outcome, said_by=said_by):
        verb = "released" if outcome == "released" else "cancelled as a held one"
        raise OrderStateConflict(number=number, state=f"not held ({order.status.replace('_', ' ')})", verb=verb)
    return order
