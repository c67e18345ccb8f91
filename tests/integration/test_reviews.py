"""Orders that are judged before their payment: refused, held, let go, taken back, lapsed, marked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from securecart import checkout, fraud, orders
from securecart.app import Shop
from securecart.checkout import Pace, Till
from securecart.errors import GatewayAway, NotFound, OrderStateConflict
from securecart.fraud import Attempt, Decision, Judgement, Origin, Reason
from securecart.orders import Order
from securecart.sessions import Session
from tests.integration.test_shipping import Silent, facts_of, long_ago
from tests.orders_for_tests import a_product, a_wish
from tests.shopping import a_buyer, buy, captured, find, overdue, stock_of

WHY = (Reason("device_frauds", "known fraud from this device: 2", 1.6),)


class Says:
    """A judge who says always the same, and remembers what about."""

    def __init__(self, verdict: Decision) -> None:
        self.judgement = Judgement(verdict, {"accept": 0.01, "review": 0.4, "decline": 0.9}[verdict], WHY, "model")
        self.attempts: list[Attempt] = []

    async def judge(self, attempt: Attempt) -> Judgement:
        self.attempts.append(attempt)
        return self.judgement


def a_till(shop: Shop, judge: Any, *, gateway: Any = None, **pace: Any) -> Till:
    own = shop.till
    chosen, paced = gateway or own.gateway, Pace(30, **pace)
    return Till(shop.database, shop.dynamodb, shop.cache, chosen, own.intake, paced, judge=judge, card_within_s=5)


async def held_order(shop: Shop, till: Till) -> tuple[Order, str, Session]:
    sku = await a_product(shop.database, price_minor=500, stock=10)
    buyer = await a_buyer(shop, sku, 3)
    order = await buy(shop, buyer, till=till)
    assert order.status == "authorised"
    return order, sku, buyer


async def queue(shop: Shop) -> list[str]:
    """All numbers in the queue, page by page."""
    numbers: list[str] = []
    after = None
    while True:
        async with shop.database.read() as read:
            page, after = await fraud.waiting(read, after=after, limit=2)
        numbers += [one.number for one in page]
        if after is None:
            return numbers


async def due(shop: Shop, *numbers: str) -> None:
    async with shop.database.transaction() as tx:
        sql = "UPDATE review SET due_at = now() - interval '1 s' FROM orders WHERE orders.id = order_id AND number = ANY ($1)"
        await tx.execute(sql, numbers)


async def risk(shop: Shop, number: str) -> fraud.Risk:
    async with shop.database.read() as read:
        return await fraud.risk_of(read, number)


async def test_an_accepted_order_is_paid_and_what_was_said_is_kept(shop: Shop) -> None:
    judge, sku = Says("accept"), await a_product(shop.database, price_minor=500, stock=10)
    buyer = await a_buyer(shop, sku)
    origin = Origin("0123456789abcdef01234567", "203.0.113.0/24", "DE")
    wish = a_wish(token="tok_visa")
    order = await checkout.place(a_till(shop, judge), buyer, wish, "key", currency="USD", origin=origin)
    assert order.status == "paid"
    (attempt,) = judge.attempts
    assert (attempt.account, attempt.amount_minor) == (buyer.shopper_id, order.total.amount_minor)
    assert (attempt.device, attempt.network, attempt.network_country) == (origin.device, origin.network, "DE")
    assert (attempt.address_country, attempt.card, attempt.card_country) == ("US", "fp_visa_4242", "US")
    kept = await risk(shop, order.number)
    assert (kept.verdict, kept.probability, kept.reasons, kept.judged_by) == ("accept", 0.01, WHY, "model")
    assert (kept.device, kept.network, kept.network_country) == (origin.device, origin.network, "DE")
    assert (kept.review, kept.mark, kept.is_held) == (None, None, False)


async def test_a_refused_order_is_declined_and_no_gateway_is_asked_for_money(shop: Shop) -> None:
    sku = await a_product(shop.database, price_minor=500, stock=10)
    order = await buy(shop, await a_buyer(shop, sku), till=a_till(shop, Says("decline")))
    assert order.status == "declined"
    assert order.payment is not None
    assert order.payment.decline_reason == "not_accepted"
    assert "fraud" not in msgspec.json.encode(order).decode()
    assert await stock_of(shop, sku) == (0, 0, 10)
    word = await shop.till.gateway.look(order.number, order.total, since=order.placed_at)
    assert word.status == "waiting"  # the gateway never heard of it
    assert (await risk(shop, order.number)).verdict == "decline"
    assert await facts_of(shop, order.number) == ["order_declined"]


async def test_a_held_order_is_bought_and_neither_captured_nor_shipped(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    order, sku, _ = await held_order(shop, till)
    assert await stock_of(shop, sku) == (3, 0, 7)
    assert await captured(shop, order.number) == []
    assert order.number in await queue(shop)
    assert order == await find(shop, order.number)
    with pytest.raises(OrderStateConflict, match="is held for review; it cannot be shipped"):
        await checkout.ship(till, order.number)
    assert (await risk(shop, order.number)).is_held


async def test_a_released_order_is_paid_at_once_and_not_shipped(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    order, sku, _ = await held_order(shop, till)
    released = await checkout.release(till, order.number, said_by="ada@shop.test")
    assert (released.status, released.shipped_at) == ("paid", None)
    assert await captured(shop, order.number) == [order.total.amount_minor]
    assert order.number not in await queue(shop)
    kept = (await risk(shop, order.number)).review
    assert kept is not None
    assert (kept.outcome, kept.decided_by) == ("released", "ada@shop.test")
    with pytest.raises(OrderStateConflict, match="not held"):
        await checkout.release(till, order.number, said_by="ada@shop.test")
    assert (await checkout.ship(till, order.number)).shipped_at is not None
    assert await stock_of(shop, sku) == (3, 0, 7)
    assert await facts_of(shop, order.number) == ["order_placed", "order_paid", "order_shipped"]


async def test_where_money_is_taken_on_shipment_a_released_order_waits_for_that(shop: Shop) -> None:
    till = a_till(shop, Says("review"), captures_at_once=False)
    order, _, _ = await held_order(shop, till)
    assert (await checkout.release(till, order.number, said_by="ada")).status == "authorised"
    assert await captured(shop, order.number) == []
    assert (await checkout.ship(till, order.number)).status == "paid"
    assert await captured(shop, order.number) == [order.total.amount_minor]


async def test_a_held_order_that_is_refused_gives_goods_and_promise_back(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    order, sku, _ = await held_order(shop, till)
    refused = await checkout.refuse(till, order.number, said_by="ada")
    assert refused.status == "cancelled"
    assert refused.payment is not None
    assert refused.payment.status == "voided"
    assert await stock_of(shop, sku) == (0, 0, 10)
    assert order.number not in await queue(shop)
    for verb in (checkout.refuse, checkout.release):
        with pytest.raises(OrderStateConflict, match="not held"):
            await verb(till, order.number, said_by="ada")


async def test_of_release_and_refusal_at_once_one_happens(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    order, sku, _ = await held_order(shop, till)
    outcomes = await asyncio.gather(
        checkout.release(till, order.number, said_by="ada"),
        checkout.refuse(till, order.number, said_by="eve"),
        return_exceptions=True,
    )
    assert sum(isinstance(one, OrderStateConflict) for one in outcomes) == 1
    state = await find(shop, order.number)
    sold = await stock_of(shop, sku)
    assert (state.status, sold) in {("paid", (3, 0, 7)), ("cancelled", (0, 0, 10))}


async def test_a_buyer_who_cancels_a_held_order_takes_it_out_of_the_queue(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    order, _, buyer = await held_order(shop, till)
    await checkout.cancel(till, order.number, shopper_id=buyer.shopper_id, key="c")
    assert order.number not in await queue(shop)
    with pytest.raises(OrderStateConflict):
        await checkout.release(till, order.number, said_by="ada")


async def test_an_order_that_only_the_sweeper_hears_of_is_held_all_the_same(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    sku = await a_product(shop.database, price_minor=500, stock=10)
    buyer = await a_buyer(shop, sku)
    order = await checkout.place(till, buyer, a_wish(token="tok_answer_lost"), "key", currency="USD")
    assert order.status == "pending"
    assert order.number not in await queue(shop)
    await overdue(shop, order.number)
    await checkout.sweep(till)
    assert (await find(shop, order.number)).status == "authorised"
    assert order.number in await queue(shop)


async def test_a_capture_whose_answer_was_lost_is_finished_by_the_sweeper_and_ships_nothing(shop: Shop) -> None:
    gateway = Silent(shop)
    till = a_till(shop, Says("review"), gateway=gateway)
    order, _, _ = await held_order(shop, till)
    gateway.loses = True
    assert (await checkout.release(till, order.number, said_by="ada")).status == "authorised"
    gateway.loses = False
    await long_ago(shop)
    await checkout.sweep(till)
    swept = await find(shop, order.number)
    assert (swept.status, swept.shipped_at) == ("paid", None)
    assert await captured(shop, order.number) == [order.total.amount_minor]


@pytest.mark.parametrize(("go_on", "status"), [(False, "cancelled"), (True, "paid")])
async def test_what_nobody_decides_on_lapses_as_the_shop_has_it(shop: Shop, go_on: bool, status: str) -> None:  # noqa: FBT001
    till = a_till(shop, Says("review"), lapsed_go_on=go_on)
    order, _, _ = await held_order(shop, till)
    other, _, _ = await held_order(shop, till)
    assert await checkout.lapse(till) == 0
    await due(shop, order.number)
    assert await checkout.lapse(till) == 1
    assert (await find(shop, order.number)).status == status
    assert (await find(shop, other.number)).status == "authorised"
    assert await checkout.lapse(till) == 0
    await checkout.refuse(till, other.number, said_by="ada")


async def test_the_soonest_due_comes_first_page_by_page(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    placed = [(await held_order(shop, till))[0].number for _ in range(5)]
    await due(shop, placed[3])
    ours = [number for number in await queue(shop) if number in placed]
    assert ours == [placed[3], *(number for number in placed if number != placed[3])]


async def test_a_free_order_is_judged_by_nobody(shop: Shop) -> None:
    judge, sku = Says("decline"), await a_product(shop.database, price_minor=0, stock=10)
    order = await buy(shop, await a_buyer(shop, sku), till=a_till(shop, judge))
    assert (order.status, judge.attempts) == ("paid", [])
    assert (await risk(shop, order.number)).verdict is None


async def test_a_request_sent_again_is_answered_with_the_held_order(shop: Shop) -> None:
    till = a_till(shop, Says("review"))
    order, _, buyer = await held_order(shop, till)
    again = await buy(shop, buyer, till=a_till(shop, Says("decline")))
    assert (again.number, again.status) == (order.number, "authorised")
    assert (await risk(shop, order.number)).verdict == "review"


async def test_a_gateway_that_does_not_name_the_card_stops_no_sale(shop: Shop) -> None:
    class Mute(Silent):
        async def cards(self, tokens: Sequence[str]) -> Any:
            assert tokens == ["tok_visa"]
            raise GatewayAway(store="card gateway", retry_after=2)

    judge, sku = Says("accept"), await a_product(shop.database, price_minor=500, stock=10)
    order = await buy(shop, await a_buyer(shop, sku), till=a_till(shop, judge, gateway=Mute(shop)))
    assert order.status == "paid"
    assert judge.attempts[0].card is None


async def test_an_answer_about_cards_that_is_none_stops_no_sale(shop: Shop) -> None:
    class Garbled(Silent):
        async def cards(self, tokens: Sequence[str]) -> Any:
            return msgspec.json.decode(b"{" * len(tokens))

    judge, sku = Says("accept"), await a_product(shop.database, price_minor=500, stock=10)
    order = await buy(shop, await a_buyer(shop, sku), till=a_till(shop, judge, gateway=Garbled(shop)))
    assert (order.status, judge.attempts[0].card) == ("paid", None)


async def marks_of(shop: Shop, numbers: Sequence[str]) -> list[bool | None]:
    found = [(await risk(shop, number)).mark for number in numbers]
    return [None if one is None else one.is_fraud for one in found]


async def test_a_mark_is_kept_told_once_and_can_be_taken_back(shop: Shop) -> None:
    till = a_till(shop, Says("accept"))
    sku = await a_product(shop.database, price_minor=500, stock=10)
    first, second = [(await buy(shop, await a_buyer(shop, sku), till=till)).number for _ in range(2)]
    assert await checkout.mark(till, [first, second], is_fraud=True, said_by="ada", note="stolen") == sorted(
        [first, second], key=[first, second].index
    )
    assert await checkout.mark(till, [first], is_fraud=True, said_by="eve") == []
    assert await checkout.mark(till, [second], is_fraud=False, said_by="ada") == [second]
    assert await marks_of(shop, [first, second]) == [True, False]
    assert await facts_of(shop, first) == ["order_placed", "order_marked"]
    assert await facts_of(shop, second) == ["order_placed", "order_marked", "order_marked"]
    with pytest.raises(NotFound, match="SC-NONE0-NONE0"):
        await checkout.mark(till, [first, "SC-NONE0-NONE0"], is_fraud=False, said_by="ada")
    assert await marks_of(shop, [first]) == [True]


async def test_an_order_that_is_none_has_no_risk(shop: Shop) -> None:
    async with shop.database.read() as read:
        with pytest.raises(NotFound):
            await fraud.risk_of(read, "SC-NONE0-NONE0")
        assert await orders.named(read, []) == []
