"""The shop's own book of payments and refunds; the gateway is asked elsewhere, with no transaction open."""

from __future__ import annotations

from collections.abc import Mapping

from securecart.errors import BadInput
from securecart.payments.gateway import Charge
from securecart.payments.model import OpenRefund
from securecart.stores.postgres import Read, Transaction, one, rows, statements_of
from securecart.values import Money

SQL = statements_of(__package__)


async def expect(tx: Transaction, amounts: Mapping[int, Money], *, gateway: str) -> None:
    """Note that this money is about to be asked for, by order."""
    money = amounts.values()
    currencies, minor = [one.currency for one in money], [one.amount_minor for one in money]
    await tx.execute(SQL["expect_payments"], list(amounts), gateway, currencies, minor)


async def record(tx: Transaction, charges: Mapping[int, Charge]) -> None:
    """Note what the gateway said, by order: the money is the shop's, or none moved and none will."""
    words = charges.values()
    await tx.execute(
        SQL["record_charges"],
        list(charges),
        ["declined" if word.status == "closed" else word.status for word in words],
        [word.id for word in words],
        [word.card.brand for word in words],
        [word.card.last4 for word in words],
        [why_declined(word) for word in words],
    )


def why_declined(charge: Charge) -> str:
    """The reason as the shop keeps it: empty for money that was captured."""
    return "" if charge.status == "captured" else charge.decline_reason or "closed"


async def open_refund(tx: Transaction, order_id: int, *, key: str, amount_minor: int | None, reason: str) -> OpenRefund:
    """Decide on a refund (None: all that is left), or answer the one this key opened; `BadInput` when too much."""
    known = await one(tx, SQL["find_refund"], OpenRefund, order_id, key)
    if known is not None:
        return known
    opened = await one(tx, SQL["open_refund"], OpenRefund, order_id, key, amount_minor, reason)
    if opened is None:
        raise BadInput(field="amount_minor", problem="That much is not left of what was paid for this order.")
    return opened


async def finish_refund(tx: Transaction, refund_id: int, gateway_refund_id: str) -> bool:
    """Note that the gateway gave the money back; False when that was noted before."""
    return await tx.fetchval(SQL["finish_refund"], refund_id, gateway_refund_id) is not None


async def unfinished_refunds(read: Read, *, older_than_s: float, limit: int) -> list[OpenRefund]:
    """Refunds that were decided a while ago and never confirmed, oldest first."""
    return await rows(read, SQL["unfinished_refunds"], OpenRefund, older_than_s, limit)
