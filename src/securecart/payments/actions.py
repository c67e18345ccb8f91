"""The shop's own book of payments and refunds; the gateway is asked elsewhere, with no transaction open."""

from __future__ import annotations

from collections.abc import Mapping

from securecart.errors import BadInput
from securecart.payments.model import Charge, Decision, Notice, OpenRefund, Wanted
from securecart.stores.postgres import Fresh, Transaction, one, rows, statements_of
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
        [word.card.fingerprint for word in words],
        [why_declined(word) for word in words],
        [word.card.country for word in words],
    )


def why_declined(charge: Charge) -> str:
    """The reason as the shop keeps it: empty for money that was captured or promised."""
    return "" if charge.status in {"captured", "authorised"} else charge.decline_reason or "closed"


async def wait_for_buyer(tx: Transaction, order_id: int, charge: Charge) -> None:
    """Note what the buyer's browser needs, so that the buyer can go on."""
    await tx.execute(SQL["keep_action"], order_id, charge.id, charge.action)


async def want(tx: Transaction, order_id: int, decision: Decision) -> Wanted | None:
    """Decide about promised money; None when none is promised, or the opposite was decided before."""
    return await one(tx, SQL["want"], Wanted, order_id, decision)


async def unfinished(fresh: Fresh, gateway: str, *, older_than_s: float, limit: int) -> list[Wanted]:
    """Decisions about promised money that this gateway has not confirmed, oldest first."""
    return await rows(fresh, SQL["unfinished"], Wanted, older_than_s, limit, gateway)


async def keep_promise(tx: Transaction, order_id: int, charge: Charge) -> bool:
    """Note that promised money was taken, or that the promise has ended; False when that was noted before."""
    became = "captured" if charge.status == "captured" else "voided"
    return await tx.fetchval(SQL["keep_promise"], order_id, became) is not None


async def wake(tx: Transaction, order_id: int, charge: Charge) -> bool:
    """Note money that came for a payment which had ended without any; False when it had not."""
    return await tx.fetchval(SQL["wake_payment"], order_id, charge.status, charge.id) is not None


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


async def refuse_refund(tx: Transaction, refund_id: int) -> bool:
    """Note that the gateway will never give this money back; False when its outcome was noted before."""
    return await tx.fetchval(SQL["refuse_refund"], refund_id) is not None


async def find_outside_refund(tx: Transaction, order_id: int, refunded_minor: int, *, reason: str) -> int:
    """Note what the gateway gave back without the shop, given all that it gave back; the difference in minor units."""
    return await tx.fetchval(SQL["find_outside_refund"], order_id, refunded_minor, reason) or 0


async def see(tx: Transaction, gateway: str, notice: Notice) -> bool:
    """Note that this transaction acts upon a notice; False when another has done so."""
    return await tx.fetchval(SQL["see_notice"], gateway, notice.id) is not None


async def was_seen(fresh: Fresh, gateway: str, notice: Notice) -> bool:
    """Whether a notice was acted upon."""
    return bool(await fresh.fetchval(SQL["was_seen"], gateway, notice.id))


async def forget_notices(tx: Transaction, *, older_than_days: int) -> None:
    """Drop the notes of notices that no gateway sends again."""
    await tx.execute(SQL["forget_notices"], older_than_days)


async def unfinished_refunds(fresh: Fresh, gateway: str, *, older_than_s: float, limit: int) -> list[OpenRefund]:
    """Refunds that were decided a while ago and that this gateway never confirmed, oldest first."""
    return await rows(fresh, SQL["unfinished_refunds"], OpenRefund, older_than_s, limit, gateway)
