"""A shop that takes the money when the goods leave the house, with the sandbox, down to a gateway that never answers."""

from __future__ import annotations

from typing import Any

import pytest

from securecart import checkout, payments
from securecart.app import Shop
from securecart.checkout import Pace, Till
from securecart.errors import GatewayAway, NotFound, OrderStateConflict
from securecart.orders import Order
from securecart.payments import Charge
from securecart.values import Line
from tests.orders_for_tests import a_guest, a_product
from tests.shopping import buy, fill, find, stock_of


class Silent:
    """The sandbox; the answers to captures, voids and refunds get lost while `loses` says so."""

    def __init__(self, shop: Shop) -> None:
        self._gateway = shop.till.gateway
        self.loses = False

    async def capture(self, *asked: Any, **more: Any) -> Any:
        return await self._lost(await self._gateway.capture(*asked, **more))

    async def void(self, *asked: Any, **more: Any) -> Any:
        return await self._lost(await self._gateway.void(*asked, **more))

    async def refund(self, *asked: Any, **more: Any) -> Any:
        return await self._lost(await self._gateway.refund(*asked, **more))

    async def _lost(self, answer: Any) -> Any:
        if self.loses:
            raise GatewayAway(store="card gateway", retry_after=2)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)


def a_till(shop: Shop, gateway: Any = None) -> Till:
    pace = Pace(30, captures_at_once=False)
    return Till(shop.database, shop.dynamodb, shop.cache, gateway or shop.till.gateway, shop.till.intake, pace)


async def order_of_three(shop: Shop, till: Till) -> tuple[Order, str]:
    buyer, sku = a_guest(), await a_product(shop.database, price_minor=500, stock=10)
    await fill(shop, buyer, Line(sku, 3))
    return await buy(shop, buyer, till=till), sku


async def long_ago(shop: Shop) -> None:
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE payment SET wanted_at = now() - interval '1 hour' WHERE wanted IS NOT NULL")
        await tx.execute("UPDATE refund SET created_at = now() - interval '1 hour' WHERE status = 'pending'")


async def by_hand(shop: Shop, order: Order, amount_minor: int) -> None:
    """Somebody refunds at the gateway, and the shop does not know."""
    charge = await shop.till.gateway.look(order.number, order.total, since=order.placed_at)
    await shop.till.gateway.refund(charge.id, amount_minor, reason="by hand", key="theirs")


async def facts_of(shop: Shop, number: str) -> list[str]:
    sql = """
        SELECT event.body ->> 'kind' AS kind FROM event JOIN orders ON orders.id = (event.body ->> 'order_id')::bigint
        WHERE orders.number = $1 ORDER BY event.xid, event.id
    """
    async with shop.database.fresh() as read:
        return [row["kind"] for row in await read.fetch(sql, number)]


async def test_goods_are_sold_with_the_promise_and_paid_with_the_shipment(shop: Shop) -> None:
    till = a_till(shop)
    order, sku = await order_of_three(shop, till)
    assert (order.status, order.shipped_at) == ("authorised", None)
    assert await stock_of(shop, sku) == (3, 0, 7)
    shipped = await checkout.ship(till, order.number)
    assert (shipped.status, shipped.shipped_at is None) == ("paid", False)
    assert await checkout.ship(till, order.number) == shipped
    assert await facts_of(shop, order.number) == ["order_placed", "order_paid", "order_shipped"]


async def test_an_order_that_was_paid_at_once_is_shipped_as_it_is(shop: Shop) -> None:
    order, _ = await order_of_three(shop, shop.till)
    shipped = await checkout.ship(shop.till, order.number)
    assert (shipped.status, shipped.changes[-1].note) == ("paid", "The goods are on their way.")
    assert await facts_of(shop, order.number) == ["order_placed", "order_shipped"]


async def test_a_shipped_order_is_refunded_not_cancelled(shop: Shop) -> None:
    till = a_till(shop)
    order, _ = await order_of_three(shop, till)
    await checkout.ship(till, order.number)
    with pytest.raises(OrderStateConflict, match="is shipped; it cannot be cancelled"):
        await checkout.cancel(till, order.number, shopper_id=None, key="c")
    refunded = await checkout.refund(till, order.number, amount_minor=None, reason="broken", key="r")
    assert (refunded.status, refunded.refunded.amount_minor) == ("refunded", 1500)
    assert (await facts_of(shop, order.number))[-1] == "order_refunded"


async def test_a_cancelled_promise_is_given_up_and_nothing_is_refunded(shop: Shop) -> None:
    till = a_till(shop)
    order, sku = await order_of_three(shop, till)
    for _ in range(2):
        cancelled = await checkout.cancel(till, order.number, shopper_id=None, key="c")
    assert (cancelled.status, cancelled.refunded.amount_minor) == ("cancelled", 0)
    assert cancelled.payment is not None
    assert cancelled.payment.status == "voided"
    assert await stock_of(shop, sku) == (0, 0, 10)
    assert await facts_of(shop, order.number) == ["order_placed", "order_cancelled"]
    with pytest.raises(OrderStateConflict):
        await checkout.ship(till, order.number)


async def test_a_promise_cannot_be_refunded(shop: Shop) -> None:
    till = a_till(shop)
    order, _ = await order_of_three(shop, till)
    with pytest.raises(OrderStateConflict):
        await checkout.refund(till, order.number, amount_minor=None, reason="x", key="r")


@pytest.mark.parametrize("verb", ["ship", "cancel"])
async def test_a_lost_answer_leaves_the_decision_open_until_the_sweeper_finishes_it(shop: Shop, verb: str) -> None:
    silent = Silent(shop)
    till = a_till(shop, silent)
    order, sku = await order_of_three(shop, till)
    silent.loses = True
    if verb == "ship":
        open_ = await checkout.ship(till, order.number)
        assert (open_.status, open_.shipped_at) == ("authorised", None)
        with pytest.raises(OrderStateConflict, match="being shipped"):
            await checkout.cancel(till, order.number, shopper_id=None, key="c")
    else:
        await checkout.cancel(till, order.number, shopper_id=None, key="c")
    await long_ago(shop)
    await checkout.sweep(till)
    assert (await find(shop, order.number)).payment.status == "authorised"  # type: ignore[union-attr]
    silent.loses = False
    for _ in range(2):
        await long_ago(shop)
        await checkout.sweep(till)
    ended = await find(shop, order.number)
    assert (ended.status, ended.shipped_at is None) == (("paid", False) if verb == "ship" else ("cancelled", True))
    assert len(ended.changes) == (3 if verb == "ship" else 4)
    assert await stock_of(shop, sku) == ((3, 0, 7) if verb == "ship" else (0, 0, 10))


async def test_one_order_that_the_gateway_cannot_answer_for_does_not_stop_the_others(shop: Shop) -> None:
    class HalfDeaf(Silent):
        async def conclude(self, reference: str, *asked: Any, **more: Any) -> Charge:
            if reference == deaf_to:
                raise GatewayAway(store="card gateway", retry_after=2)
            return await shop.till.gateway.conclude(reference, *asked, **more)

    numbers = []
    for _ in range(2):
        buyer, sku = a_guest(), await a_product(shop.database)
        await fill(shop, buyer, Line(sku, 1))
        numbers.append((await buy(shop, buyer, token="tok_answer_lost")).number)
    deaf_to = numbers[0]
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE orders SET pending_until = now() - interval '1 day' WHERE number = $1", numbers[0])
        await tx.execute("UPDATE orders SET pending_until = now() - interval '1 second' WHERE number = $1", numbers[1])
    await checkout.sweep(a_till(shop, HalfDeaf(shop)))
    assert [(await find(shop, number)).status for number in numbers] == ["pending", "paid"]


async def test_a_refund_that_the_gateway_will_never_pay_is_noted_and_not_asked_for_again(shop: Shop) -> None:
    order, _ = await order_of_three(shop, shop.till)
    await by_hand(shop, order, 1500)
    cancelled = await checkout.cancel(shop.till, order.number, shopper_id=None, key="c")
    assert cancelled.status == "cancelled"
    assert "The gateway refused to pay $15.00 back" in cancelled.changes[-1].note
    partly, _ = await order_of_three(shop, shop.till)
    await by_hand(shop, partly, 1500)
    refunded = await checkout.refund(shop.till, partly.number, amount_minor=100, reason="dent", key="r")
    assert (refunded.status, refunded.refunded.amount_minor) == ("paid", 0)
    async with shop.database.fresh() as read:
        open_ = await payments.unfinished_refunds(read, "sandbox", older_than_s=-60, limit=1000)
        record = await read.fetchval("SELECT id FROM orders WHERE number = $1", order.number)
    assert record not in {refund.order_id for refund in open_}


async def test_an_order_that_is_not_there_cannot_be_shipped(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await checkout.ship(shop.till, "SC-00000-00000")
