"""What happens between the shop and Stripe in the real world: each story ends with one order and one capture, or none.

Notices are Stripe's own signed ones, brought to the shop's door by the test: before the answer, late, twice, or never.
The orders that others lost this way: medusa #13301 (confirmation against webhook, buyer gone), #16398 (failed payments ignored).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
import stripe

from securecart import carts, checkout, fraud, readers
from securecart.app import Shop, open_shop
from securecart.checkout import Pace, Till
from securecart.errors import OrderStateConflict
from securecart.orders import Order
from securecart.settings import Settings
from securecart.values import Line
from tests.orders_for_tests import a_guest, a_product
from tests.shopping import buy, fill, find, orders_of, overdue, stock_of
from tests.stripe_for_tests import KEY, SECRET, Edge, a_notice, free_port, sign

SUCCEEDED, FAILED = "payment_intent.succeeded", "payment_intent.payment_failed"
CONFIRM, CREATE, RETRIEVE = r"POST .*/confirm$", r"POST /v1/payment_intents$", r"GET /v1/payment_intents/pi_"
ASKS_THE_BUYER, DECLINED = "4000002500003155", "4000000000000341"
LOST = 2  # the first try and the library's own second one


class Story:
    """A buyer with three units of something in the cart, and Stripe."""

    def __init__(self, shop: Shop, edge: Edge) -> None:
        self.shop, self.edge = shop, edge
        self.buyer = a_guest()
        self.till = shop.till
        self.sku = ""

    async def buy(self, token: str = "pm_card_visa", key: str = "key") -> Order:
        return await buy(self.shop, self.buyer, key, till=self.till, token=token)

    async def number(self) -> str:
        """The number of the only order."""
        (number,) = await orders_of(self.shop, self.buyer)
        return number

    async def sweep(self, *, after_days: int = 0) -> None:
        """The sweeper comes by when the order's time is up."""
        number = await self.number()
        if after_days:
            async with self.shop.database.transaction() as tx:
                sql = "UPDATE orders SET placed_at = placed_at - make_interval(days => $2) WHERE number = $1"
                await tx.execute(sql, number, after_days)
        await overdue(self.shop, number)
        await checkout.sweep(self.till)

    async def sweep_decisions(self) -> None:
        """The sweeper comes by a while after something was decided and not confirmed."""
        async with self.shop.database.transaction() as tx:
            await tx.execute("UPDATE payment SET wanted_at = now() - interval '1 hour' WHERE wanted IS NOT NULL")
            await tx.execute("UPDATE refund SET created_at = now() - interval '1 hour' WHERE status = 'pending'")
        await checkout.sweep(self.till)

    async def hear(self, kind: str) -> int:
        """Stripe's notice of this kind reaches the shop."""
        return await self.edge.deliver(await self.edge.notice(kind, await self.number()))

    async def ends(self, status: str, *, intent: str, refunded: int = 0, cart: tuple[Line, ...] | None = None) -> Order:
        """The order, once it is seen that there is one order, one intent in this state, and stock, cart and money that fit."""
        await readers.catch_up(self.shop.stores)
        order = await find(self.shop, await self.number())
        (one,) = await self.edge.intents(order.number)
        bought = status in {"paid", "authorised"}
        assert (order.status, one["status"]) == (status, intent)
        assert await stock_of(self.shop, self.sku) == ((3, 0, 7) if bought else (0, 0, 10))
        left = (() if bought else (Line(self.sku, 3),)) if cart is None else cart
        assert (await carts.load(self.shop.dynamodb, self.buyer.shopper_id)).lines == left
        assert order.refunded.amount_minor == refunded
        if one["latest_charge"] and intent == "succeeded":
            assert one["latest_charge"]["amount_refunded"] == refunded
        return order


def notes(order: Order) -> list[str]:
    return [change.note for change in order.changes]


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    edge = Edge()
    await edge.start()
    yield edge
    await edge.stop()


@pytest.fixture(scope="module")
def with_stripe(engines: Settings, edge: Edge) -> Settings:
    return msgspec.structs.replace(
        engines, gateway="stripe", stripe_key=KEY, stripe_webhook_secret=SECRET, stripe_url=edge.url, gateway_timeout_s=8
    )


@pytest.fixture(scope="module")
async def stripe_shop(with_stripe: Settings) -> AsyncIterator[Shop]:
    with pytest.MonkeyPatch.context() as hurried:
        hurried.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.02)  # s, between the library's tries
        async with open_shop(with_stripe) as opened:
            yield opened


@pytest.fixture(scope="module")
async def log(with_stripe: Settings, edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """What a web process of such a shop says; its HTTP door is where Stripe's notices arrive."""
    port, path = free_port(), tmp_path_factory.mktemp("web") / "log"
    given = {
        "HOME": with_stripe.home,
        "GATEWAY": "stripe",
        "STRIPE_KEY": KEY,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_URL": edge.url,
    }
    environ = {**os.environ, **{f"SECURECART_{name}": value for name, value in given.items()}, "SECURECART_LOG_LEVEL": "debug"}
    with path.open("wb") as written:
        command = [sys.executable, "-m", "securecart.web", "--port", str(port)]
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=written, stderr=written)
    async with asyncio.timeout(15):
        while not await answers(f"http://127.0.0.1:{port}/healthz"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    edge.door = f"http://127.0.0.1:{port}/api/webhooks/stripe"
    yield path
    process.terminate()
    await process.wait()


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


@pytest.fixture
async def story(stripe_shop: Shop, edge: Edge, log: Path) -> Story:
    assert log
    edge.forget()
    story = Story(stripe_shop, edge)
    story.sku = await a_product(stripe_shop.database, price_minor=500, stock=10)
    await fill(stripe_shop, story.buyer, Line(story.sku, 3))
    return story


@pytest.fixture
def on_shipment(story: Story) -> Story:
    """The same in a shop that takes the money when the goods leave the house."""
    shop = story.shop
    pace = Pace(30, captures_at_once=False)
    story.till = Till(shop.database, shop.dynamodb, shop.cache, shop.till.gateway, shop.till.intake, pace)
    return story


# bought at once


async def test_webhook_before_the_answer(story: Story) -> None:
    async def the_notice_is_faster() -> None:
        assert await story.hear(SUCCEEDED) == 204
        assert (await find(story.shop, await story.number())).status == "paid"

    story.edge.when(CONFIRM, after=the_notice_is_faster)
    assert (await story.buy()).status == "paid"
    order = await story.ends("paid", intent="succeeded")
    assert notes(order) == ["Order received.", "Payment received; the gateway sent word of it."]


async def test_one_lost_answer_is_repaired_by_asking_again_under_the_same_key(story: Story) -> None:
    story.edge.lose(CREATE)
    story.edge.lose(CONFIRM)
    assert (await story.buy()).status == "paid"
    await story.ends("paid", intent="succeeded")


async def test_answer_lost_and_webhook_lost(story: Story) -> None:
    story.edge.lose(CONFIRM, times=LOST)
    assert (await story.buy()).status == "pending"
    await story.sweep()
    order = await story.ends("paid", intent="succeeded")
    assert notes(order)[-1] == "Payment found when the gateway was asked again."


async def test_answer_lost_before_anything_was_charged(story: Story) -> None:
    story.edge.lose(CREATE, times=LOST)
    assert (await story.buy()).status == "pending"
    await story.sweep()
    order = await story.ends("cancelled", intent="canceled")
    assert notes(order)[-1] == "No payment arrived in time; nothing was charged."


async def test_call_lost_on_its_way_leaves_a_reference_that_can_never_be_charged(story: Story) -> None:
    story.edge.lose(CREATE, times=LOST, on_the_way="call")
    order = await story.buy()
    await story.sweep()
    await story.ends("cancelled", intent="canceled")
    late = await story.till.gateway.authorise(order.number, order.total, "pm_card_visa", capture=True)
    assert late.status == "declined"
    await story.ends("cancelled", intent="canceled")


async def test_webhook_twice(story: Story) -> None:
    story.edge.lose(CONFIRM, times=LOST)
    await story.buy()
    notice = await story.edge.notice(SUCCEEDED, await story.number())
    assert await asyncio.gather(*(story.edge.deliver(notice) for _ in range(4))) == [204] * 4
    calls = len(story.edge.calls)
    assert await story.edge.deliver(notice) == 204
    assert len(story.edge.calls) == calls  # known by its id: Stripe is not even asked
    assert len((await story.ends("paid", intent="succeeded")).changes) == 2


async def test_webhook_after_the_answer(story: Story) -> None:
    number = (await story.buy()).number
    assert await story.edge.deliver(a_notice(SUCCEEDED, number)) == 204
    assert len((await story.ends("paid", intent="succeeded")).changes) == 2


async def test_webhook_against_confirmation_at_the_same_moment(story: Story) -> None:
    """Both have heard from Stripe that the money is there before either has written it down."""
    both = asyncio.Barrier(2)
    hearing: list[asyncio.Task[int]] = []

    async def confirmed() -> None:
        notice = await story.edge.notice(SUCCEEDED, await story.number())
        story.edge.when(RETRIEVE, after=both.wait)
        hearing.append(asyncio.create_task(story.edge.deliver(notice)))
        await both.wait()

    story.edge.when(CONFIRM, after=confirmed)
    bought = await story.buy()
    assert (bought.status, await hearing[0]) == ("paid", 204)
    assert len((await story.ends("paid", intent="succeeded")).changes) == 2


async def test_two_tabs_confirm_one_cart_with_one_key(story: Story) -> None:
    tabs = await asyncio.gather(*(story.buy() for _ in range(4)))
    assert len({order.number for order in tabs}) == 1
    await story.ends("paid", intent="succeeded")


async def test_a_declined_card_ends_at_stripe_as_well(story: Story) -> None:
    assert (await story.buy(await story.edge.card(DECLINED))).status == "declined"
    order = await story.ends("declined", intent="canceled")
    assert notes(order)[-1] == "Payment declined: card declined."


async def test_a_failed_payment_webhook_ends_the_order(story: Story) -> None:
    story.edge.lose(CONFIRM, times=LOST)
    assert (await story.buy(await story.edge.card(DECLINED))).status == "pending"
    assert await story.hear(FAILED) == 204
    await story.ends("declined", intent="canceled")


async def test_an_amount_that_stripe_never_takes_is_declined_and_never_found(story: Story) -> None:
    async with story.shop.database.transaction() as tx:
        await tx.execute("UPDATE price SET amount_minor = 10 WHERE sku = $1", story.sku)
    order = await story.buy()
    assert order.status == "declined"
    assert notes(order)[-1] == "Payment declined: amount too small."
    last = await story.till.gateway.conclude(order.number, order.total, since=order.placed_at)
    assert (last.status, await story.edge.intents(order.number)) == ("closed", [])


# the bank asks the buyer


async def test_the_buyer_answers_the_bank_and_confirms_from_two_tabs(story: Story) -> None:
    waiting = await story.buy(await story.edge.card(ASKS_THE_BUYER))
    assert waiting.status == "pending"
    assert waiting.payment is not None
    assert waiting.payment.action is not None
    assert waiting.payment.action["client_secret"].startswith("pi_")
    await story.edge.answer_the_bank(waiting.number)
    owner = story.buyer.shopper_id
    tabs = await asyncio.gather(*(checkout.look_again(story.till, waiting.number, shopper_id=owner) for _ in range(2)))
    assert [order.status for order in tabs] == ["paid", "paid"]
    order = await story.ends("paid", intent="succeeded")
    assert notes(order) == ["Order received.", "The bank wants the buyer to confirm the payment.", "Payment received."]
    assert order.payment is not None
    assert order.payment.action is None


async def test_looking_before_the_bank_was_answered_changes_nothing(story: Story) -> None:
    waiting = await story.buy(await story.edge.card(ASKS_THE_BUYER))
    again = await checkout.look_again(story.till, waiting.number, shopper_id=story.buyer.shopper_id)
    assert again == waiting
    await story.edge.answer_the_bank(waiting.number)
    await checkout.look_again(story.till, waiting.number, shopper_id=None)
    await story.ends("paid", intent="succeeded")


async def test_buyer_gone_after_paying(story: Story) -> None:
    waiting = await story.buy(await story.edge.card(ASKS_THE_BUYER))
    await story.edge.answer_the_bank(waiting.number)
    assert await story.hear(SUCCEEDED) == 204
    await story.ends("paid", intent="succeeded")


async def test_buyer_gone_after_paying_and_webhook_lost(story: Story) -> None:
    waiting = await story.buy(await story.edge.card(ASKS_THE_BUYER))
    await story.edge.answer_the_bank(waiting.number)
    await story.sweep()
    await story.ends("paid", intent="succeeded")


async def test_buyer_gone_before_paying(story: Story) -> None:
    waiting = await story.buy(await story.edge.card(ASKS_THE_BUYER))
    await checkout.sweep(story.till)
    assert (await find(story.shop, waiting.number)).status == "pending"  # a person is given longer than a machine
    await story.sweep()
    await story.ends("cancelled", intent="canceled")


async def test_buyer_who_fails_at_the_bank_by_webhook_and_by_coming_back(story: Story) -> None:
    waiting = await story.buy(await story.edge.card(ASKS_THE_BUYER))
    await story.edge.answer_the_bank(waiting.number, approve=False)
    notice = a_notice(FAILED, waiting.number)
    back = checkout.look_again(story.till, waiting.number, shopper_id=None)
    assert (await asyncio.gather(story.edge.deliver(notice), back))[0] == 204
    await story.ends("declined", intent="canceled")


async def test_notices_in_any_order(story: Story) -> None:
    story.edge.lose(CONFIRM, times=LOST)
    await story.buy()
    number = await story.number()
    for kind in (FAILED, "payment_intent.canceled", SUCCEEDED, FAILED):  # what they say does not matter, what is there does
        assert await story.edge.deliver(a_notice(kind, number)) == 204
    assert len((await story.ends("paid", intent="succeeded")).changes) == 2


# taken back by the buyer's bank

DISPUTE = "charge.dispute.created"
FRAUDULENT = {"reason": "fraudulent", "status": "needs_response"}


async def intent_of(story: Story, number: str) -> str:
    async with story.shop.database.read() as read:
        sql = "SELECT gateway_id FROM payment JOIN orders ON orders.id = order_id WHERE number = $1"
        return str(await read.fetchval(sql, number))


async def mark_of(story: Story, number: str) -> fraud.Mark | None:
    async with story.shop.database.read() as read:
        return (await fraud.risk_of(read, number)).mark


async def facts_of(story: Story, number: str) -> list[str]:
    async with story.shop.database.read() as read:
        sql = """
            SELECT event.body ->> 'kind' AS kind FROM event JOIN orders ON orders.id = (event.body ->> 'order_id')::bigint
            WHERE orders.number = $1 ORDER BY event.xid, event.id
        """
        return [row["kind"] for row in await read.fetch(sql, number)]


async def test_a_chargeback_marks_the_order_as_fraud_once_and_takes_nothing_else(story: Story) -> None:
    number = (await story.buy()).number
    notice = a_notice(DISPUTE, "", intent=await intent_of(story, number), about=FRAUDULENT)
    assert [await story.edge.deliver(notice) for _ in range(3)] == [204] * 3
    order = await find(story.shop, number)
    assert (order.status, notes(order)[-1]) == ("paid", "The buyer's bank took the payment back (chargeback).")
    mark = await mark_of(story, number)
    assert mark is not None
    assert (mark.is_fraud, mark.source, mark.said_by) == (True, "chargeback", "stripe")
    assert (await facts_of(story, number)).count("order_disputed") == 1


async def test_a_warning_of_fraud_is_a_mark_that_the_buyer_does_not_read(story: Story) -> None:
    order = await story.buy()
    assert (
        await story.edge.deliver(a_notice("radar.early_fraud_warning.created", "", intent=await intent_of(story, order.number)))
        == 204
    )
    mark = await mark_of(story, order.number)
    assert mark is not None
    assert (mark.is_fraud, mark.note) == (True, "The bank or the card network warned of fraud.")
    assert notes(await find(story.shop, order.number)) == notes(order)


async def test_a_dispute_about_anything_but_fraud_is_noted_and_stains_nobody(story: Story) -> None:
    number = (await story.buy()).number
    late = {"reason": "product_not_received", "status": "needs_response"}
    assert await story.edge.deliver(a_notice(DISPUTE, "", intent=await intent_of(story, number), about=late)) == 204
    assert await mark_of(story, number) is None
    assert notes(await find(story.shop, number))[-1] == "The buyer's bank took the payment back (chargeback)."
    assert "order_disputed" not in await facts_of(story, number)


@pytest.mark.parametrize(("reason", "is_marked"), [("fraudulent", True), ("product_not_received", False)])
async def test_a_bank_that_only_asks_took_nothing_back(story: Story, reason: str, is_marked: bool) -> None:  # noqa: FBT001
    order = await story.buy()
    asks = {"reason": reason, "status": "warning_needs_response"}
    assert await story.edge.deliver(a_notice(DISPUTE, "", intent=await intent_of(story, order.number), about=asks)) == 204
    assert (await mark_of(story, order.number) is not None) == is_marked
    assert notes(await find(story.shop, order.number)) == notes(order)


async def test_a_chargeback_of_an_order_that_was_refunded_is_a_mark_all_the_same(story: Story) -> None:
    number = (await story.buy()).number
    intent = await intent_of(story, number)
    await checkout.refund(story.till, number, amount_minor=None, reason="broken", key="r")
    assert await story.edge.deliver(a_notice(DISPUTE, "", intent=intent, about=FRAUDULENT)) == 204
    assert (await find(story.shop, number)).status == "refunded"
    assert await mark_of(story, number) is not None


async def test_a_chargeback_of_somebody_elses_payment_is_taken_and_forgotten(story: Story) -> None:
    assert await story.edge.deliver(a_notice(DISPUTE, "", intent="pi_of_somebody_else", about=FRAUDULENT)) == 204


async def test_while_stripe_does_not_say_whose_it_is_the_notice_is_sent_again(story: Story) -> None:
    number = (await story.buy()).number
    notice = a_notice(DISPUTE, "", intent=await intent_of(story, number), about=FRAUDULENT)
    story.edge.lose(RETRIEVE, times=2 * LOST)  # a question that changes nothing is asked twice each time
    assert await story.edge.deliver(notice) == 503
    assert await mark_of(story, number) is None
    assert await story.edge.deliver(notice) == 204
    assert await mark_of(story, number) is not None


# the door


async def test_an_old_or_forged_notice_changes_nothing(story: Story) -> None:
    story.edge.lose(CONFIRM, times=LOST)
    await story.buy()
    number = await story.number()
    true = a_notice(SUCCEEDED, number)
    forged = [
        sign(true.body, secret="whsec_somebody_elses"),
        sign(true.body, age_s=600),
        msgspec.structs.replace(true, body=true.body.replace(b"succeeded", b"canceled ")),
        msgspec.structs.replace(true, signature=""),
        msgspec.structs.replace(true, signature="t=now,v1=nothing"),
        sign(b"not json"),
        msgspec.structs.replace(true, body=b"\xff\xfe"),
    ]
    calls = len(story.edge.calls)
    assert [await story.edge.deliver(one) for one in forged] == [400] * len(forged)
    assert len(story.edge.calls) == calls
    assert (await find(story.shop, number)).status == "pending"
    assert await story.edge.deliver(true) == 204
    await story.ends("paid", intent="succeeded")


async def test_a_bad_signature_is_told_as_a_problem(story: Story) -> None:
    async with aiohttp.ClientSession() as http, http.post(story.edge.door, data=b"{}") as answer:
        problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["code"]) == (400, "bad-signature")


async def test_a_notice_about_somebody_elses_order_or_of_another_kind_is_taken_and_forgotten(story: Story) -> None:
    assert await story.edge.deliver(a_notice(SUCCEEDED, "SC-OTHER-SHOPS")) == 204
    assert await story.edge.deliver(a_notice("customer.created", "SC-OTHER-SHOPS")) == 204
    assert story.edge.calls == []


async def test_a_notice_while_stripe_is_away_is_to_be_sent_again(story: Story) -> None:
    story.edge.lose(CONFIRM, times=LOST)
    await story.buy()
    notice = a_notice(SUCCEEDED, await story.number())
    story.edge.lose("", times=100)
    assert await story.edge.deliver(notice) == 503
    story.edge.forget()
    assert await story.edge.deliver(notice) == 204
    await story.ends("paid", intent="succeeded")


async def test_the_secrets_are_in_no_log(story: Story, log: Path) -> None:
    await story.edge.deliver(a_notice(SUCCEEDED, "SC-OTHER-SHOPS"))
    said = await asyncio.to_thread(log.read_text)
    assert "SC-OTHER-SHOPS" in said
    assert KEY not in said
    assert SECRET not in said


# what comes too late


async def test_after_a_day_a_payment_is_searched_for(story: Story) -> None:
    story.edge.lose(CONFIRM, times=LOST)
    await story.buy()
    await story.sweep(after_days=2)
    await story.ends("paid", intent="succeeded")


async def test_money_for_an_order_that_has_ended_goes_back(story: Story) -> None:
    waiting = await story.buy(await story.edge.card(ASKS_THE_BUYER))
    story.edge.hides_from_search = True  # the one way left in which an order ends while its payment lives on
    await story.sweep(after_days=2)
    assert (await find(story.shop, waiting.number)).status == "cancelled"
    await story.edge.answer_the_bank(waiting.number)
    story.edge.hides_from_search = False
    heard = await asyncio.gather(*(story.edge.deliver(a_notice(SUCCEEDED, waiting.number)) for _ in range(2)))
    assert list(heard) == [204, 204]
    order = await story.ends("cancelled", intent="succeeded", refunded=1500)
    assert notes(order)[-2:] == [
        "Money arrived after the order had ended; it goes back.",
        "Refunded $15.00: the order had ended.",
    ]


async def test_a_refund_in_stripes_dashboard_is_noted_once(story: Story) -> None:
    number = (await story.buy()).number
    (intent,) = await story.edge.intents(number)
    await checkout.refund(story.till, number, amount_minor=300, reason="damaged", key="ours")
    await story.edge.ask("POST", "/v1/refunds", payment_intent=intent["id"], amount=200)
    for _ in range(2):
        assert await story.edge.deliver(a_notice("charge.refunded", number)) == 204
    order = await find(story.shop, number)
    assert (order.status, order.refunded.amount_minor) == ("partially_refunded", 500)
    assert notes(order)[-1] == "Refunded $2.00 at the gateway, not by the shop."


async def test_a_refund_by_hand_just_before_the_shops_own_is_paid_once(story: Story) -> None:
    number = (await story.buy()).number
    (intent,) = await story.edge.intents(number)
    await story.edge.ask("POST", "/v1/refunds", payment_intent=intent["id"], amount=1500)
    cancelled = await checkout.cancel(story.till, number, shopper_id=None, key="c")
    assert "The gateway refused to pay $15.00 back" in notes(cancelled)[-1]
    assert await story.edge.deliver(a_notice("charge.refunded", number)) == 204
    order = await story.ends("cancelled", intent="succeeded", refunded=1500, cart=())
    assert notes(order)[-1] == "Refunded $15.00 at the gateway, not by the shop."


async def test_a_refund_whose_answer_is_lost_is_paid_once(story: Story) -> None:
    number = (await story.buy()).number
    story.edge.lose("POST /v1/refunds", times=LOST)
    cancelled = await checkout.cancel(story.till, number, shopper_id=None, key="c")
    assert (cancelled.status, cancelled.refunded.amount_minor) == ("cancelled", 0)
    await story.sweep_decisions()
    (intent,) = await story.edge.intents(number)
    assert intent["latest_charge"]["amount_refunded"] == 1500
    assert (await find(story.shop, number)).refunded.amount_minor == 1500


# captured on shipment


async def test_promised_money_is_taken_when_the_goods_leave(on_shipment: Story) -> None:
    assert (await on_shipment.buy()).status == "authorised"
    order = await on_shipment.ends("authorised", intent="requires_capture")
    assert order.shipped_at is None
    for _ in range(2):
        shipped = await checkout.ship(on_shipment.till, order.number)
        assert (shipped.status, shipped.shipped_at is None) == ("paid", False)
    order = await on_shipment.ends("paid", intent="succeeded")
    assert notes(order)[1:] == [
        "Payment authorised; it is captured when the goods are shipped.",
        "Payment received, and the goods are on their way.",
    ]
    with pytest.raises(OrderStateConflict):
        await checkout.cancel(on_shipment.till, order.number, shopper_id=None, key="c")


async def test_a_capture_whose_answer_is_lost_is_finished_by_the_sweeper(on_shipment: Story) -> None:
    number = (await on_shipment.buy()).number
    on_shipment.edge.lose("/capture", times=LOST)
    waiting = await checkout.ship(on_shipment.till, number)
    assert (waiting.status, waiting.shipped_at) == ("authorised", None)
    with pytest.raises(OrderStateConflict):
        await checkout.cancel(on_shipment.till, number, shopper_id=None, key="c")
    await on_shipment.sweep_decisions()
    order = await on_shipment.ends("paid", intent="succeeded")
    assert order.shipped_at is not None


async def test_shipping_and_cancelling_at_once_end_with_one_of_them(on_shipment: Story) -> None:
    number = (await on_shipment.buy()).number
    await asyncio.gather(
        checkout.ship(on_shipment.till, number),
        checkout.cancel(on_shipment.till, number, shopper_id=None, key="c"),
        checkout.ship(on_shipment.till, number),
        return_exceptions=True,
    )
    order = await find(on_shipment.shop, number)
    (intent,) = await on_shipment.edge.intents(number)
    assert (order.status, intent["status"], order.shipped_at is None) in {
        ("paid", "succeeded", False),
        ("cancelled", "canceled", True),
    }


async def test_cancelling_gives_the_promise_up(on_shipment: Story) -> None:
    number = (await on_shipment.buy()).number
    for _ in range(2):
        await checkout.cancel(on_shipment.till, number, shopper_id=None, key="c")
    order = await find(on_shipment.shop, number)
    (intent,) = await on_shipment.edge.intents(number)
    assert (order.status, intent["status"], order.refunded.amount_minor) == ("cancelled", "canceled", 0)
    assert await stock_of(on_shipment.shop, on_shipment.sku) == (0, 0, 10)
    assert notes(order)[2:] == [
        "Cancelled; the goods are back in stock.",
        "The promised payment was given up; nothing was charged.",
    ]


async def test_a_void_that_never_arrived_is_finished_by_the_sweeper(on_shipment: Story) -> None:
    number = (await on_shipment.buy()).number
    on_shipment.edge.lose("/cancel", times=LOST, on_the_way="call")
    await checkout.cancel(on_shipment.till, number, shopper_id=None, key="c")
    (intent,) = await on_shipment.edge.intents(number)
    assert intent["status"] == "requires_capture"
    await on_shipment.sweep_decisions()
    (intent,) = await on_shipment.edge.intents(number)
    assert intent["status"] == "canceled"
    assert notes(await find(on_shipment.shop, number))[-1] == "The promised payment was given up; nothing was charged."


async def test_a_promise_that_was_taken_before_it_could_be_given_up_goes_back(on_shipment: Story) -> None:
    number = (await on_shipment.buy()).number
    (intent,) = await on_shipment.edge.intents(number)
    await on_shipment.edge.ask("POST", f"/v1/payment_intents/{intent['id']}/capture")
    cancelled = await checkout.cancel(on_shipment.till, number, shopper_id=None, key="c")
    assert (cancelled.status, cancelled.refunded.amount_minor) == ("cancelled", 1500)
    (intent,) = await on_shipment.edge.intents(number)
    assert intent["latest_charge"]["amount_refunded"] == 1500


async def test_a_promise_that_lapsed_at_stripe_ends_the_order_and_nothing_is_shipped(on_shipment: Story) -> None:
    number = (await on_shipment.buy()).number
    (intent,) = await on_shipment.edge.intents(number)
    await on_shipment.edge.ask("POST", f"/v1/payment_intents/{intent['id']}/cancel")
    order = await checkout.ship(on_shipment.till, number)
    assert (order.status, order.shipped_at) == ("cancelled", None)
    assert await stock_of(on_shipment.shop, on_shipment.sku) == (0, 0, 10)


@pytest.mark.parametrize(("by_hand", "status"), [("capture", "paid"), ("cancel", "cancelled")])
async def test_what_is_done_by_hand_in_stripes_dashboard_is_heard(on_shipment: Story, by_hand: str, status: str) -> None:
    number = (await on_shipment.buy()).number
    (intent,) = await on_shipment.edge.intents(number)
    await on_shipment.edge.ask("POST", f"/v1/payment_intents/{intent['id']}/{by_hand}")
    kind = SUCCEEDED if by_hand == "capture" else "payment_intent.canceled"
    assert await on_shipment.edge.deliver(a_notice(kind, number)) == 204
    order = await find(on_shipment.shop, number)
    assert (order.status, order.shipped_at) == (status, None)


async def test_an_authorised_payment_found_by_the_sweeper_is_kept(on_shipment: Story) -> None:
    on_shipment.edge.lose(CONFIRM, times=LOST)
    assert (await on_shipment.buy()).status == "pending"
    await on_shipment.sweep()
    await on_shipment.ends("authorised", intent="requires_capture")
