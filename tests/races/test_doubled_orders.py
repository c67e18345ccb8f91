"""One purchase, two orders or two charges: each way that other shops know, forced. docs/races.md has the table."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from securecart import carts, checkout, payments
from securecart.app import Shop
from securecart.checkout.model import Opening, Settlement
from securecart.errors import CartBought
from securecart.orders import Order
from securecart.payments import Charge
from securecart.sessions import Session
from securecart.values import Line
from tests.forced_moments import Bystander, HeldGateway, Moment, a_notice, a_till
from tests.orders_for_tests import a_new_order, a_product
from tests.shopping import a_buyer, buy, captured, fill, find, orders_of, overdue, stock_of

PAID, EXPIRED = Charge(status="captured", id="pay_1"), Charge(status="declined", id="pay_1", decline_reason="expired")
BOUGHT_ONCE = ["pending", "paid"]


async def test_two_tabs_that_have_both_read_the_cart_buy_it_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://github.com/shopware/shopware/issues/19943: the cart is read outside the order's lock.

    Both tabs, with a key each, have read the full cart before either goes on.
    """
    sku = await a_product(shop.database, stock=10)
    shopper = await a_buyer(shop, sku, 2)
    both_have_read, load = asyncio.Barrier(2), carts.load

    async def read_and_wait(*arguments: Any) -> Any:
        cart = await load(*arguments)
        await asyncio.wait_for(both_have_read.wait(), 5)
        return cart

    monkeypatch.setattr(carts, "load", read_and_wait)
    tabs = [buy(shop, shopper, key, till=a_till(shop)) for key in ("left", "right")]
    outcomes = await asyncio.gather(*tabs, return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["CartBought", "Order"]
    (number,) = await orders_of(shop, shopper)
    assert [one.facts["number"] for one in outcomes if isinstance(one, CartBought)] == [number]
    assert await captured(shop, number) == [200]
    assert await stock_of(shop, sku) == (2, 0, 8)


async def test_a_second_attempt_while_the_first_is_paying_finds_its_order(shop: Shop) -> None:
    """https://github.com/woocommerce/woocommerce/issues/62659: the first order is written, its session does not know it yet.

    The buyer reloads and buys again: with a new key from the new page, with the old one from an impatient program.
    """
    sku = await a_product(shop.database, stock=10)
    shopper = await a_buyer(shop, sku)
    paying = Moment()
    first = asyncio.ensure_future(buy(shop, shopper, "first", till=a_till(shop, gateway=HeldGateway(shop, before=paying))))
    await paying.come()
    with pytest.raises(CartBought) as refused:
        await buy(shop, shopper, "second", till=a_till(shop))
    again = await buy(shop, shopper, "first", till=a_till(shop))
    assert again.status == "pending"
    paying.opened.set()
    order = await first
    assert order.status == "paid"
    assert order.number == again.number == refused.value.facts["number"]
    assert await orders_of(shop, shopper) == [order.number]
    assert await captured(shop, order.number) == [100]


async def test_a_second_tab_may_buy_once_the_first_was_declined(shop: Shop) -> None:
    """The other side of the same rule: a cart whose order came to nothing is not bought."""
    sku = await a_product(shop.database, stock=10)
    shopper = await a_buyer(shop, sku)
    paying = Moment()
    till = a_till(shop, gateway=HeldGateway(shop, after=paying))
    first = asyncio.ensure_future(buy(shop, shopper, "first", till=till, token="tok_declined"))
    await paying.come()
    with pytest.raises(CartBought):
        await buy(shop, shopper, "second")
    paying.opened.set()
    assert (await first).status == "declined"
    assert (await buy(shop, shopper, "second")).status == "paid"
    assert await stock_of(shop, sku) == (1, 0, 9)


async def test_one_key_sent_to_several_processes_at_once_opens_one_order(shop: Shop, bystander: Bystander) -> None:
    """https://github.com/medusajs/medusa/issues/13301: the same purchase confirmed twice makes two orders, or two captures.

    A client's impatient retries: all four have come as far as the stock's lock before the first may look.
    """
    sku = await a_product(shop.database, stock=10)
    shopper = await a_buyer(shop, sku)
    await bystander.hold_stock(sku)
    asked = [asyncio.ensure_future(buy(shop, shopper, till=a_till(shop))) for _ in range(4)]
    await bystander.until_queued(4)
    await bystander.let_go()
    answers = await asyncio.gather(*asked)
    assert {one.number for one in answers} == set(await orders_of(shop, shopper))
    assert len(await orders_of(shop, shopper)) == 1
    assert await captured(shop, answers[0].number) == [100]
    assert await stock_of(shop, sku) == (1, 0, 9)


async def test_one_key_with_a_cart_that_changed_meanwhile_opens_one_order(
    shop: Shop, bystander: Bystander, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, where the cart does not tell: the first request has written its order, and the retry reads another cart."""
    sku, other = await a_product(shop.database, stock=10), await a_product(shop.database, stock=10)
    shopper = await a_buyer(shop, sku)
    written, expect = Moment(), payments.expect

    async def stopped(*arguments: Any, **more: Any) -> None:
        await written.stop()
        await expect(*arguments, **more)

    monkeypatch.setattr(payments, "expect", stopped)
    first = asyncio.ensure_future(buy(shop, shopper, till=a_till(shop)))
    await written.come()
    await fill(shop, shopper, Line(other, 5))
    again = asyncio.ensure_future(buy(shop, shopper, till=a_till(shop)))
    await bystander.until_waiting(1)
    written.opened.set()
    assert (await first).number == (await again).number
    assert await orders_of(shop, shopper) == [(await first).number]
    assert [await stock_of(shop, one) for one in (sku, other)] == [(1, 0, 9), (0, 0, 10)]


async def test_the_buyer_who_never_returns_has_bought_all_the_same(shop: Shop) -> None:
    """https://github.com/medusajs/medusa/issues/13301: the order was only to be made when the buyer came back: 1 in 20 lost."""
    sku = await a_product(shop.database, stock=5)
    shopper = await a_buyer(shop, sku, 2)
    charged = Moment()
    request = asyncio.ensure_future(buy(shop, shopper, till=a_till(shop, gateway=HeldGateway(shop, after=charged))))
    await charged.come()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    (number,) = await orders_of(shop, shopper)
    assert (await find(shop, number)).status == "pending"
    await overdue(shop, number)
    await checkout.sweep(shop.till)
    await assert_bought_once(shop, shopper, await find(shop, number), sku, (2, 0, 3))


async def test_the_gateways_word_from_two_sides_counts_once(shop: Shop) -> None:
    """https://github.com/saleor/saleor/issues/12652: the notice of a payment against the request that completes it.

    The request has its answer from the gateway and is stopped; the sweeper hears the same word and settles first.
    """
    sku = await a_product(shop.database, stock=5)
    shopper = await a_buyer(shop, sku, 2)
    charged = Moment()
    request = asyncio.ensure_future(buy(shop, shopper, till=a_till(shop, gateway=HeldGateway(shop, after=charged))))
    await charged.come()
    await overdue(shop, *await orders_of(shop, shopper))
    await checkout.sweep(shop.till)
    assert await stock_of(shop, sku) == (2, 0, 3)
    charged.opened.set()
    await assert_bought_once(shop, shopper, await request, sku, (2, 0, 3))


@pytest.mark.parametrize("comes", ["before the answer", "after the answer", "twice at once"])
async def test_a_notice_of_the_payment_and_the_request_make_one_order_and_one_capture(shop: Shop, comes: str) -> None:
    """https://github.com/medusajs/medusa/issues/13301: the webhook against the confirmation; double captures, lost orders."""
    sku = await a_product(shop.database, stock=5)
    shopper = await a_buyer(shop, sku, 2)
    charged = Moment(open_=comes == "after the answer")
    till = a_till(shop, gateway=HeldGateway(shop, after=charged))
    request = asyncio.ensure_future(buy(shop, shopper, till=till))
    await charged.come()
    if comes == "after the answer":
        await request
    (number,) = await orders_of(shop, shopper)
    notice = a_notice(number)
    for _ in range(2):  # and it comes again, as notices do
        times = 3 if comes == "twice at once" else 1
        await asyncio.gather(*(checkout.hear(a_till(shop, gateway=HeldGateway(shop)), notice, "") for _ in range(times)))
        assert await stock_of(shop, sku) == (2, 0, 3)
    charged.opened.set()
    await assert_bought_once(shop, shopper, await request, sku, (2, 0, 3))
    async with shop.database.read() as read:
        assert await read.fetchval("SELECT count(*) FROM gateway_notice WHERE id = $1", msgspec.json.decode(notice)["id"]) == 1


@pytest.mark.parametrize("second", [PAID, EXPIRED], ids=["same word", "another word"])
async def test_two_who_settle_an_order_at_one_moment_decide_it_once(shop: Shop, bystander: Bystander, second: Charge) -> None:
    """https://github.com/medusajs/medusa/issues/13301: confirmation and webhook at once; both are inside their transaction."""
    sku = await a_product(shop.database, stock=5)
    new = a_new_order(Line(sku, 2))
    order = await shop.till.open(Opening(new))
    await bystander.hold_order(new.number)
    asked = []
    for settlers, word in enumerate((PAID, second), 1):
        asked.append(asyncio.ensure_future(a_till(shop).settle(Settlement(order.id, word))))
        await bystander.until_queued(settlers)
    await bystander.let_go()
    decided = await asyncio.gather(*asked)
    assert [one.status if one else None for one in decided] == ["paid", None]
    assert [change.status for change in (await find(shop, new.number)).changes] == BOUGHT_ONCE
    assert await stock_of(shop, sku) == (2, 0, 3)
    async with shop.database.read() as read:
        told = await read.fetch("SELECT body ->> 'kind' AS kind FROM event WHERE (body ->> 'order_id')::bigint = $1", order.id)
    assert [one["kind"] for one in told] == ["order_placed"]


async def assert_bought_once(shop: Shop, shopper: Session, order: Order, sku: str, stock: tuple[int, int, int]) -> None:
    assert order.status == "paid"
    assert [change.status for change in (await find(shop, order.number)).changes] == BOUGHT_ONCE
    assert await orders_of(shop, shopper) == [order.number]
    assert await captured(shop, order.number) == [order.total.amount_minor]
    assert await stock_of(shop, sku) == stock
