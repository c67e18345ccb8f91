"""One contract, two gateways: what the shop relies on holds for the sandbox and for Stripe alike."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import aiohttp
import msgspec
import pytest
from msgspec import Struct

from securecart import payments
from securecart.errors import BadInput, GatewayAway
from securecart.payments import Charge, Gateway
from securecart.settings import Settings
from securecart.values import Money
from tests.stripe_for_tests import KEY, SECRET, Edge, free_port

TEN = Money(1000, "USD")


class World(Struct, frozen=True):
    """A gateway, the cards it knows, and how its buyer answers the bank."""

    gateway: Gateway
    good: str
    bad: str
    asks: str
    answer_the_bank: Callable[[str], Awaitable[object]]

    async def authorise(self, reference: str, token: str = "", *, capture: bool = False, amount: Money = TEN) -> Charge:
        return await self.gateway.authorise(reference, amount, token or self.good, capture=capture)

    async def conclude(self, reference: str) -> Charge:
        return await self.gateway.conclude(reference, TEN, since=datetime.now(UTC))

    async def look(self, reference: str) -> Charge:
        return await self.gateway.look(reference, TEN, since=datetime.now(UTC))


def a_reference() -> str:
    return f"SC-{secrets.token_hex(5).upper()}"


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    edge = Edge()
    await edge.start()
    yield edge
    await edge.stop()


@pytest.fixture(scope="module", params=["sandbox", "stripe"])
async def world(request: pytest.FixtureRequest, engines: Settings, edge: Edge) -> AsyncIterator[World]:
    ours = msgspec.structs.replace(
        engines, gateway=request.param, stripe_key=KEY, stripe_webhook_secret=SECRET, stripe_url=edge.url, gateway_timeout_s=10
    )
    gateway = payments.connect(ours)

    async def approve(reference: str) -> None:
        """What the buyer's browser does with the sandbox."""
        action = (await gateway.look(reference, TEN, since=datetime.now(UTC))).action
        assert action is not None
        headers = {"Authorization": f"Bearer {engines.gateway_key}"}
        async with aiohttp.ClientSession(engines.gateway_url, headers=headers) as http:
            await http.post(action["approve"], json={"approved": True})

    if request.param == "sandbox":
        yield World(gateway, "tok_visa", "tok_declined", "tok_action_required", approve)
    else:
        declined, asking = await edge.card("4000000000000341"), await edge.card("4000002500003155")
        yield World(gateway, "pm_card_visa", declined, asking, edge.answer_the_bank)
    await gateway.close()


async def test_money_is_captured_at_once_or_promised(world: World) -> None:
    captured = await world.authorise(a_reference(), capture=True)
    promised = await world.authorise(a_reference())
    assert (captured.status, promised.status) == ("captured", "authorised")
    assert (captured.card.brand, captured.card.last4) == ("visa", "4242")
    assert captured.card.fingerprint == promised.card.fingerprint != ""
    assert captured.id != promised.id


async def test_a_token_tells_its_card_before_anything_is_charged(world: World) -> None:
    (looked,) = await world.gateway.cards([world.good])
    assert looked is not None
    assert (looked.brand, looked.last4, len(looked.country)) == ("visa", "4242", 2)
    charged = await world.authorise(a_reference(), capture=True)
    assert looked.fingerprint == charged.card.fingerprint != ""


async def test_a_card_that_will_be_declined_can_be_looked_at(world: World) -> None:
    bad, good = await world.gateway.cards([world.bad, world.good])
    assert bad is not None
    assert good is not None
    assert bad.fingerprint not in {"", good.fingerprint}


@pytest.mark.parametrize(
    "token", ["pm_made_up", "4242424242424242", "..", "../healthz", "a/b?c=d#e", "with space", "ü", "x" * 300]
)
async def test_there_is_no_card_behind_a_token_nobody_knows(world: World, token: str) -> None:
    assert await world.gateway.cards([token]) == [None]


async def test_a_gateway_that_gives_no_answer_is_away_and_not_without_that_card(engines: Settings, world: World) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    ours = msgspec.structs.replace(
        engines, gateway=world.gateway.name, gateway_url=nobody, stripe_key=KEY, stripe_webhook_secret=SECRET, stripe_url=nobody
    )
    gateway = payments.connect(ours)
    with pytest.raises(GatewayAway):
        await gateway.cards([world.good])
    await gateway.close()


async def test_one_reference_is_charged_once_whatever_is_repeated(world: World) -> None:
    reference = a_reference()
    first = await world.authorise(reference, capture=True)
    assert (await world.authorise(reference, capture=True)).id == first.id
    assert (await world.conclude(reference)).status == "captured"


async def test_a_declined_card_says_why_and_its_reference_is_closed(world: World) -> None:
    reference = a_reference()
    declined = await world.authorise(reference, world.bad, capture=True)
    assert (declined.status, declined.decline_reason) == ("declined", "card_declined")
    assert (await world.conclude(reference)).status == "declined"


async def test_a_promise_is_taken_once(world: World) -> None:
    promised = await world.authorise(a_reference())
    for _ in range(2):
        taken = await world.gateway.capture(promised.id, amount_minor=1000, key=f"capture-{promised.id}")
        assert (taken.status, taken.id) == ("captured", promised.id)
    assert (await world.gateway.capture(promised.id, amount_minor=1000, key="another")).status == "captured"


async def test_a_promise_is_given_up_and_cannot_be_taken_any_more(world: World) -> None:
    promised = await world.authorise(a_reference())
    for _ in range(2):
        assert (await world.gateway.void(promised.id, key=f"void-{promised.id}")).status == "closed"
    assert (await world.gateway.capture(promised.id, amount_minor=1000, key=f"late-{promised.id}")).status == "closed"


async def test_money_that_was_taken_cannot_be_voided(world: World) -> None:
    captured = await world.authorise(a_reference(), capture=True)
    assert (await world.gateway.void(captured.id, key=f"void-{captured.id}")).status == "captured"


async def test_a_refund_is_paid_once_for_each_key_and_seen(world: World) -> None:
    reference = a_reference()
    captured = await world.authorise(reference, capture=True)
    first = await world.gateway.refund(captured.id, 300, reason="damaged", key="one")
    assert (await world.gateway.refund(captured.id, 300, reason="damaged", key="one")).id == first.id
    assert (await world.gateway.refund(captured.id, 200, reason="late", key="two")).id != first.id
    assert (await world.look(reference)).refunded_minor == 500


async def test_a_refund_of_nothing_that_was_paid_is_refused(world: World) -> None:
    declined = await world.authorise(a_reference(), world.bad, capture=True)
    with pytest.raises(BadInput):
        await world.gateway.refund(declined.id or "pi_unknown", 1, reason="", key="x")


async def test_a_reference_that_was_concluded_can_never_be_charged(world: World) -> None:
    reference = a_reference()
    assert (await world.conclude(reference)).status == "closed"
    assert (await world.authorise(reference, capture=True)).status in {"closed", "declined"}
    assert (await world.conclude(reference)).status in {"closed", "declined"}


async def test_charging_and_concluding_at_once_agree_in_the_end(world: World) -> None:
    for _ in range(3):
        reference = a_reference()
        said = await asyncio.gather(world.authorise(reference, capture=True), world.conclude(reference), return_exceptions=True)
        words = {one.status for one in said if isinstance(one, Charge)}
        last = (await world.conclude(reference)).status
        assert ("captured" in words) == (last == "captured")


async def test_the_last_word_on_promised_money_is_the_promise(world: World) -> None:
    reference = a_reference()
    await world.authorise(reference)
    assert (await world.conclude(reference)).status == "authorised"


async def test_a_buyer_who_has_to_answer_the_bank_is_waited_for(world: World) -> None:
    reference = a_reference()
    waiting = await world.authorise(reference, world.asks, capture=True)
    assert waiting.status == "waiting"
    assert waiting.action
    assert (await world.look(reference)).status == "waiting"
    await world.answer_the_bank(reference)
    assert (await world.look(reference)).status == "captured"


async def test_a_buyer_who_never_answers_the_bank_is_not_charged(world: World) -> None:
    reference = a_reference()
    await world.authorise(reference, world.asks, capture=True)
    assert (await world.conclude(reference)).status == "closed"


async def test_looking_changes_nothing(world: World) -> None:
    reference = a_reference()
    assert (await world.look(reference)).status == "waiting"
    assert (await world.authorise(reference, capture=True)).status == "captured"


async def test_currencies_without_cents_are_charged_as_they_are(world: World) -> None:
    reference = a_reference()
    assert (await world.authorise(reference, capture=True, amount=Money(700, "JPY"))).status == "captured"


async def test_a_card_nobody_knows_is_declined_or_refused(world: World) -> None:
    try:
        said = await world.authorise(a_reference(), "pm_made_up", capture=True)
    except BadInput:
        return
    assert said.status == "declined"
