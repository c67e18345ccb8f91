"""Money taken and no order, or an order that waits for ever: each way that other shops know, forced.

docs/races.md has the table.
"""

from __future__ import annotations

import asyncio

import pytest

from securecart import carts, checkout
from securecart.app import Shop
from securecart.errors import OutOfStock
from securecart.values import Line
from tests.forced_moments import Bystander, DeafDatabase, HeldGateway, Moment, a_notice, a_till
from tests.orders_for_tests import a_product
from tests.shopping import a_buyer, buy, captured, find, orders_of, overdue, stock_of


async def test_a_refused_payment_that_nobody_heard_of_does_not_leave_the_order_pending(shop: Shop) -> None:
    """https://github.com/medusajs/medusa/issues/16398: notices of failed payments are ignored, orders stay pending."""
    sku = await a_product(shop.database, stock=5)
    shopper = await a_buyer(shop, sku, 2)
    order = await buy(shop, shopper, till=a_till(shop, gateway=HeldGateway(shop, loses=True)), token="tok_declined")
    assert order.status == "pending"
    assert await stock_of(shop, sku) == (0, 2, 3)
    await overdue(shop, order.number)
    await checkout.sweep(shop.till)
    assert [change.status for change in (await find(shop, order.number)).changes] == ["pending", "declined"]
    assert await stock_of(shop, sku) == (0, 0, 5)
    assert (await carts.load(shop.dynamodb, shopper.shopper_id)).lines == (Line(sku, 2),)
    assert (await buy(shop, shopper, "another try")).status == "paid"


async def test_a_notice_of_a_failed_payment_ends_the_order(shop: Shop) -> None:
    """https://github.com/medusajs/medusa/issues/16398, at the webhook's door: heard at once, and no sweeper needed."""
    sku = await a_product(shop.database, stock=5)
    shopper = await a_buyer(shop, sku, 2)
    till = a_till(shop, gateway=HeldGateway(shop, loses=True))
    order = await buy(shop, shopper, till=till, token="tok_declined")
    assert order.status == "pending"
    await checkout.hear(till, a_notice(order.number, "ended"), "")
    assert [change.status for change in (await find(shop, order.number)).changes] == ["pending", "declined"]
    assert await stock_of(shop, sku) == (0, 0, 5)


async def test_what_a_buyer_is_paying_for_is_sold_to_nobody_else(shop: Shop) -> None:
    """https://github.com/vendurehq/vendure/issues/3065: the buyer is charged, the stock is gone, the order is stuck.

    The first buyer is at the gateway, charged, and the shop has not heard; the second wants the same unit; then the first
    one's process dies.
    """
    sku = await a_product(shop.database, stock=1)
    first, second = await a_buyer(shop, sku), await a_buyer(shop, sku)
    charged = Moment()
    request = asyncio.ensure_future(buy(shop, first, till=a_till(shop, gateway=HeldGateway(shop, after=charged))))
    await charged.come()
    never = Moment()
    with pytest.raises(OutOfStock):
        await buy(shop, second, till=a_till(shop, gateway=HeldGateway(shop, before=never)))
    assert not never.reached.is_set(), "who gets nothing is not charged"
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    (number,) = await orders_of(shop, first)
    await overdue(shop, number)
    await checkout.sweep(shop.till)
    assert (await find(shop, number)).status == "paid"
    assert await captured(shop, number) == [100]
    assert await stock_of(shop, sku) == (1, 0, 0)


async def test_nobody_waits_for_a_gateway_that_another_buyer_is_waiting_for(shop: Shop, bystander: Bystander) -> None:
    """https://github.com/saleor/saleor/pull/11069: the payment was called inside the transaction that locks the stock."""
    sku = await a_product(shop.database, stock=5)
    slow, quick = await a_buyer(shop, sku), await a_buyer(shop, sku)
    paying, database = Moment(), DeafDatabase(shop.database)
    till = a_till(shop, gateway=HeldGateway(shop, before=paying), database=database)
    request = asyncio.ensure_future(buy(shop, slow, till=till))
    await paying.come()
    await bystander.hold("SELECT FROM stock WHERE sku = $1 FOR UPDATE NOWAIT", sku)
    assert (database.inside, database.commits) == (0, 1)
    await bystander.let_go()
    assert (await buy(shop, quick, till=a_till(shop))).status == "paid"
    paying.opened.set()
    assert (await request).status == "paid"
    assert await stock_of(shop, sku) == (2, 0, 3)


async def test_a_charge_that_comes_after_the_stock_was_released_takes_no_money(shop: Shop) -> None:
    """The mirror image of a stuck order: one that was given up, whose charge is still on its way."""
    sku = await a_product(shop.database, stock=1)
    shopper = await a_buyer(shop, sku)
    sending = Moment()
    request = asyncio.ensure_future(buy(shop, shopper, till=a_till(shop, gateway=HeldGateway(shop, before=sending))))
    await sending.come()
    (number,) = await orders_of(shop, shopper)
    await overdue(shop, number)
    await checkout.sweep(shop.till)
    assert await stock_of(shop, sku) == (0, 0, 1)
    sending.opened.set()
    assert (await request).status == "cancelled"
    assert await captured(shop, number) == []
    assert await stock_of(shop, sku) == (0, 0, 1)
