"""Placing an order against real stores and the real sandbox gateway: every way it can end, and end only once."""

from __future__ import annotations

import asyncio
import importlib
import secrets

import pytest

from securecart import carts, checkout, readers
from securecart.app import Shop
from securecart.errors import (
    BadInput,
    CartEmpty,
    IdempotencyKeyReused,
    NotFound,
    OrderStateConflict,
    OutOfStock,
    StoreAway,
    TotalChanged,
)
from securecart.orders import Order
from securecart.values import Line
from tests.orders_for_tests import a_guest, a_product
from tests.shopping import buy, fill, find, orders_of, overdue, stock_of

placing = importlib.import_module("securecart.checkout.place")  # the module, which the verb of its name hides


async def test_a_cart_becomes_a_paid_order_and_is_emptied(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, price_minor=250, stock=10)
    await fill(shop, shopper, Line(sku, 3))
    order = await buy(shop, shopper)
    assert (order.status, order.total.amount_minor) == ("paid", 750)
    assert [(line.sku, line.quantity, line.total.amount_minor) for line in order.lines] == [(sku, 3, 750)]
    assert [change.status for change in order.changes] == ["pending", "paid"]
    assert order.payment is not None
    assert order.payment.status == "captured"
    assert await stock_of(shop, sku) == (3, 0, 7)
    await readers.catch_up(shop.stores)
    assert (await carts.load(shop.dynamodb, shopper.shopper_id)).lines == ()


async def test_a_declined_card_leaves_stock_and_cart_as_they_were(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=10)
    await fill(shop, shopper, Line(sku, 2))
    order = await buy(shop, shopper, token="tok_declined")
    assert order.status == "declined"
    assert await stock_of(shop, sku) == (0, 0, 10)
    assert (await carts.load(shop.dynamodb, shopper.shopper_id)).lines == (Line(sku, 2),)
    retried = await buy(shop, shopper, key="another card")
    assert retried.status == "paid"


async def test_a_card_token_that_the_gateway_does_not_know_is_a_decline(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=1)
    await fill(shop, shopper, Line(sku, 1))
    order = await buy(shop, shopper, token="tok_made_up")
    assert order.status == "declined"
    assert await stock_of(shop, sku) == (0, 0, 1)


async def test_too_little_stock_leaves_nothing_behind(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=1)
    await fill(shop, shopper, Line(sku, 2))
    with pytest.raises(OutOfStock):
        await buy(shop, shopper)
    assert await orders_of(shop, shopper) == []
    assert await stock_of(shop, sku) == (0, 0, 1)


async def test_an_empty_cart_cannot_be_bought(shop: Shop) -> None:
    with pytest.raises(CartEmpty):
        await buy(shop, a_guest())


async def test_the_price_comes_from_the_catalogue_at_the_moment_of_purchase(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, price_minor=100)
    await fill(shop, shopper, Line(sku, 1))
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE price SET amount_minor = 175 WHERE sku = $1", sku)
    with pytest.raises(TotalChanged) as refused:
        await buy(shop, shopper, expected_total_minor=100)
    assert refused.value.facts["total_minor"] == 175
    assert (await buy(shop, shopper, expected_total_minor=175)).total.amount_minor == 175


async def test_a_repeated_key_is_answered_with_the_first_order(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=10)
    await fill(shop, shopper, Line(sku, 1))
    first = await buy(shop, shopper)
    again = await buy(shop, shopper)
    await fill(shop, shopper, Line(sku, 5))
    with_a_new_cart = await buy(shop, shopper)
    assert again == first == with_a_new_cart
    assert await stock_of(shop, sku) == (1, 0, 9)


async def test_a_repeated_key_is_answered_whatever_the_cart_holds_by_now(shop: Shop) -> None:
    shopper, sku, gone = a_guest(), await a_product(shop.database, price_minor=100), await a_product(shop.database)
    await fill(shop, shopper, Line(sku, 1))
    first = await buy(shop, shopper, expected_total_minor=100)
    await fill(shop, shopper, Line(sku, 3))
    assert await buy(shop, shopper, expected_total_minor=100) == first
    await fill(shop, shopper, Line(gone, 1))
    async with shop.database.transaction() as tx:
        await tx.execute("DELETE FROM price WHERE sku = $1", gone)
    assert await buy(shop, shopper, expected_total_minor=100) == first


async def test_a_key_used_for_another_request_is_refused(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    await fill(shop, shopper, Line(sku, 1))
    await buy(shop, shopper)
    with pytest.raises(IdempotencyKeyReused):
        await buy(shop, shopper, token="tok_mastercard")


async def test_two_tabs_with_one_key_make_one_order(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=10)
    await fill(shop, shopper, Line(sku, 1))
    answers = await asyncio.gather(*(buy(shop, shopper) for _ in range(8)))
    assert len({order.number for order in answers}) == 1
    assert await stock_of(shop, sku) == (1, 0, 9)


async def test_one_shoppers_key_is_not_anothers(shop: Shop) -> None:
    sku = await a_product(shop.database, stock=10)
    numbers = []
    for _ in range(2):
        shopper = a_guest()
        await fill(shop, shopper, Line(sku, 1))
        numbers.append((await buy(shop, shopper, key="1")).number)
    assert len(set(numbers)) == 2


async def test_a_lost_answer_leaves_the_order_pending_until_the_sweeper_finds_the_money(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=5)
    await fill(shop, shopper, Line(sku, 2))
    order = await buy(shop, shopper, token="tok_answer_lost")
    assert order.status == "pending"
    assert await stock_of(shop, sku) == (0, 2, 3)
    await overdue(shop, order.number)
    await checkout.sweep(shop.till)
    assert (await find(shop, order.number)).status == "paid"
    assert await stock_of(shop, sku) == (2, 0, 3)
    await readers.catch_up(shop.stores)
    assert (await carts.load(shop.dynamodb, shopper.shopper_id)).lines == ()


async def test_a_crash_before_the_charge_gives_the_stock_back_and_rules_out_a_later_charge(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=5)
    await fill(shop, shopper, Line(sku, 2))

    async def die(*_: object) -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(placing, "_charge", die)
    with pytest.raises(ConnectionAbortedError):
        await buy(shop, shopper)
    (number,) = await orders_of(shop, shopper)
    await overdue(shop, number)
    await checkout.sweep(shop.till)
    order = await find(shop, number)
    assert order.status == "cancelled"
    assert await stock_of(shop, sku) == (0, 0, 5)
    late = await shop.till.gateway.authorise(number, order.total, "tok_visa", capture=True)
    assert late.status != "captured"


async def test_a_crash_after_the_charge_ends_with_the_paid_order(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=5)
    await fill(shop, shopper, Line(sku, 2))

    async def die(*_: object) -> None:
        raise StoreAway(store="orders database", retry_after=1)

    with monkeypatch.context() as crash:
        crash.setattr(shop.till, "settle", die)
        with pytest.raises(StoreAway):
            await buy(shop, shopper)
    (number,) = await orders_of(shop, shopper)
    assert (await buy(shop, shopper)).status == "pending"
    await overdue(shop, number)
    await checkout.sweep(shop.till)
    assert (await buy(shop, shopper)).status == "paid"
    assert await stock_of(shop, sku) == (2, 0, 3)


async def test_a_crash_of_an_order_that_costs_nothing_ends_with_the_order(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, price_minor=0, stock=5)
    await fill(shop, shopper, Line(sku, 2))

    async def die(*_: object) -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(placing, "_charge", die)
    with pytest.raises(ConnectionAbortedError):
        await buy(shop, shopper)
    (number,) = await orders_of(shop, shopper)
    await overdue(shop, number)
    await checkout.sweep(shop.till)
    assert (await find(shop, number)).status == "paid"
    assert await stock_of(shop, sku) == (2, 0, 3)


async def test_the_sweeper_leaves_young_orders_alone(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    await fill(shop, shopper, Line(sku, 1))
    order = await buy(shop, shopper, token="tok_answer_lost")
    await checkout.sweep(shop.till)
    assert (await find(shop, order.number)).status == "pending"
    await overdue(shop, order.number)


async def test_two_sweepers_at_once_settle_an_order_once(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, stock=5)
    await fill(shop, shopper, Line(sku, 2))
    order = await buy(shop, shopper, token="tok_answer_lost")
    await overdue(shop, order.number)
    await asyncio.gather(*(checkout.sweep(shop.till) for _ in range(4)))
    assert [change.status for change in (await find(shop, order.number)).changes] == ["pending", "paid"]
    assert await stock_of(shop, sku) == (2, 0, 3)


async def test_a_cancelled_order_returns_goods_and_money_once(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, price_minor=300, stock=5)
    await fill(shop, shopper, Line(sku, 2))
    order = await buy(shop, shopper)
    for key in ("one", "one", "two"):
        cancelled = await checkout.cancel(shop.till, order.number, shopper_id=shopper.shopper_id, key=key)
        assert (cancelled.status, cancelled.refunded.amount_minor) == ("cancelled", 600)
    assert await stock_of(shop, sku) == (0, 0, 5)


async def test_somebody_elses_order_is_not_found(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    await fill(shop, shopper, Line(sku, 1))
    order = await buy(shop, shopper)
    with pytest.raises(NotFound):
        await checkout.cancel(shop.till, order.number, shopper_id=a_guest().shopper_id, key="x")


async def test_refunds_in_parts_end_when_the_money_is_back(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, price_minor=1000)
    await fill(shop, shopper, Line(sku, 1))
    number = (await buy(shop, shopper)).number

    async def refund(amount: int | None, key: str) -> Order:
        return await checkout.refund(shop.till, number, amount_minor=amount, reason="damaged", key=key)

    part = await refund(300, "a")
    assert (part.status, part.refunded.amount_minor) == ("partially_refunded", 300)
    assert (await refund(300, "a")).refunded.amount_minor == 300
    with pytest.raises(BadInput) as refused:
        await refund(701, "b")
    assert refused.value.field == "amount_minor"
    whole = await refund(None, "c")
    assert (whole.status, whole.refunded.amount_minor) == ("refunded", 1000)
    with pytest.raises(BadInput):
        await refund(1, "d")


async def test_refunds_at_once_never_exceed_what_was_paid(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database, price_minor=1000)
    await fill(shop, shopper, Line(sku, 1))
    number = (await buy(shop, shopper)).number
    attempts = [
        checkout.refund(shop.till, number, amount_minor=400, reason="damaged", key=secrets.token_hex(4)) for _ in range(6)
    ]
    done = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(outcome, Order) for outcome in done) == 2
    assert (await find(shop, number)).refunded.amount_minor == 800


async def test_a_pending_or_declined_order_cannot_be_cancelled_or_refunded(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    await fill(shop, shopper, Line(sku, 1))
    order = await buy(shop, shopper, token="tok_declined")
    with pytest.raises(OrderStateConflict):
        await checkout.cancel(shop.till, order.number, shopper_id=None, key="x")
    with pytest.raises(OrderStateConflict):
        await checkout.refund(shop.till, order.number, amount_minor=None, reason="x", key="x")
