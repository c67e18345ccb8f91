"""A checkout that asks the real graph, which learnt from the event log: a stolen card is known again, and no sale stops."""

from __future__ import annotations

import asyncio
import functools
import secrets
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from securecart import checkout, fraud, readers
from securecart.app import Shop
from securecart.checkout import Pace, Till
from securecart.cli import app
from securecart.fraud import Attempt, Judge, Origin, Risk
from securecart.orders import Order
from securecart.stores import graph
from securecart.stores.graph import Graph
from tests.orders_for_tests import ADDRESS, a_product, a_wish
from tests.shopping import a_buyer

BUDGET_S = 10.0  # what is known is tested here, not how fast
ATTEMPT = Attempt(1, "guest:learnt", 100, "USD")
NOWHERE = "http://127.0.0.1:9"


def a_till(shop: Shop, links: Graph, *, caution_amount: int = 200) -> Till:
    judge = Judge(
        functools.partial(fraud.ask_past, links), fraud.default_model(), budget_s=BUDGET_S, caution_amount=caution_amount
    )
    own = shop.till
    return Till(shop.database, shop.dynamodb, shop.cache, own.gateway, own.intake, Pace(30), judge=judge, card_within_s=5)


async def a_purchase(shop: Shop, till: Till, *, card: str, device: str | None = None, price_minor: int = 2_000) -> Order:
    """Somebody who was never here, at a door and with a mailbox of their own, buys with this card on this device."""
    sku = await a_product(shop.database, price_minor=price_minor, stock=10)
    one = secrets.token_hex(8)
    wish = msgspec.structs.replace(
        a_wish(token=f"tok_card_{card}"),
        email=f"{one}@example.com",
        shipping_address=msgspec.structs.replace(ADDRESS, line1=f"{one} Street"),
    )
    return await checkout.place(till, await a_buyer(shop, sku), wish, "key", currency="USD", origin=Origin(device))


async def risk(shop: Shop, order: Order) -> Risk:
    async with shop.database.read() as read:
        return await fraud.risk_of(read, order.number)


async def test_a_stolen_card_is_known_again(shop: Shop) -> None:
    till = a_till(shop, shop.graph)
    card, device = secrets.token_hex(8), secrets.token_hex(12)
    first = await a_purchase(shop, till, card=card, device=device)
    assert first.status == "paid"
    await readers.catch_up(shop.stores)
    again = await a_purchase(shop, till, card=card)  # shared, and not known to be fraud
    assert again.status == "paid"
    assert "other accounts that used this card before: 1" in [one.words for one in (await risk(shop, again)).reasons]

    await checkout.mark(till, [first.number], is_fraud=True, said_by="ada", note="the owner called")
    await readers.catch_up(shop.stores)
    held = await a_purchase(shop, till, card=card)
    assert held.status == "authorised"
    kept = await risk(shop, held)
    assert (kept.verdict, kept.judged_by, kept.is_held) == ("review", "model", True)
    assert "known fraud with this card: 1" in [one.words for one in kept.reasons]

    await checkout.mark(till, [again.number, held.number], is_fraud=True, said_by="ada")
    await readers.catch_up(shop.stores)
    refused = await a_purchase(shop, till, card=card, device=device)
    assert refused.status == "declined"
    assert (await risk(shop, refused)).verdict == "decline"
    # a verdict that was given stays as it was, whatever became known since
    assert (await risk(shop, first)).verdict == "accept"

    for one in (first, again, held):
        await checkout.mark(till, [one.number], is_fraud=False, said_by="eve", note="it was the owner's son")
    await readers.catch_up(shop.stores)
    assert "known fraud with this card" not in str((await risk(shop, await a_purchase(shop, till, card=card))).reasons)


async def test_without_the_graph_what_is_worth_much_is_held_and_the_rest_is_sold(shop: Shop) -> None:
    away = await graph.connect(NOWHERE)
    try:
        till = a_till(shop, away)
        cheap = await a_purchase(shop, till, card=secrets.token_hex(8))
        dear = await a_purchase(shop, till, card=secrets.token_hex(8), price_minor=20_001)
    finally:
        await away.close()
    assert (cheap.status, dear.status) == ("paid", "authorised")
    kept = await risk(shop, dear)
    assert (kept.judged_by, kept.probability, kept.is_held) == ("caution", None, True)
    assert kept.reasons[0].words == "the graph gave no answer, and the amount is above 200"


async def test_a_card_from_elsewhere_is_told_in_the_reasons(shop: Shop) -> None:
    order = await a_purchase(shop, a_till(shop, shop.graph), card=f"de_{secrets.token_hex(8)}")
    kept = await risk(shop, order)
    assert kept.card_country == "DE"
    assert "pairs of card, network and address in different countries: 1" in [one.words for one in kept.reasons]


async def test_a_shop_learns_from_its_own_orders_and_what_was_said_of_them(shop: Shop, shop_home: Path, tmp_path: Path) -> None:
    till, to = a_till(shop, shop.graph, caution_amount=10**6), tmp_path / "model.json"
    honest = [await a_purchase(shop, till, card=secrets.token_hex(8)) for _ in range(12)]
    stolen = secrets.token_hex(8)
    caught = [await a_purchase(shop, till, card=stolen, device="one-device-of-thieves-0") for _ in range(8)]
    await checkout.mark(till, [one.number for one in caught], is_fraud=True, said_by="ada")
    command = ["fraud", "train", "--model", "logistic", "--to", str(to), "--home", str(shop_home)]
    answer = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert answer.exit_code == 0, answer.output
    model = fraud.load_model(to)
    assert model.training.fraud >= len(caught)
    assert model.training.rows >= len(caught) + len(honest)
    assert model.training.source.startswith("the shop's own orders, outcomes known after")
    assert any(model.weights)  # which of them depends on what other tests have bought
    judge = Judge(functools.partial(fraud.ask_past, shop.graph), model, budget_s=BUDGET_S, caution_amount=200)
    assert (await judge.judge(msgspec.structs.replace(ATTEMPT, card=stolen))).judged_by == "model"
