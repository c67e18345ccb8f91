"""What shoppers see of their orders and carts, wherever the readers of the event log happen to be."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from securecart import carts, checkout, orders, readers, sessions
from securecart.accounts import Account
from securecart.app import Shop
from securecart.checkout import Intake, marks
from securecart.errors import StoreAway, TooBusy
from securecart.orders import Order, history
from securecart.sessions import Session
from securecart.stores.postgres.log import Lookout
from securecart.values import Line
from securecart.web.my_orders import my_orders
from securecart.web.shoppers import cart_of, let_go_of_bought, sign_in
from tests.orders_for_tests import a_guest, a_product, a_wish
from tests.readers_for_tests import readers_held

DAYS = 1


async def fill(shop: Shop, shopper: Session, *lines: Line) -> None:
    await carts.replace(shop.dynamodb, shopper.shopper_id, list(lines), days=DAYS)


async def buy(shop: Shop, shopper: Session, sku: str, **wish: Any) -> Order:
    await fill(shop, shopper, Line(sku, 1))
    return await checkout.place(shop.till, shopper, a_wish(**wish), secrets.token_hex(8), currency="USD")


def lists_from(source: str) -> float:
    return REGISTRY.get_sample_value("securecart_order_lists_total", {"source": source}) or 0.0


async def seen(shop: Shop, shopper: Session, source: str, *, after: str | None = None, limit: int = 10) -> list[tuple[str, str]]:
    """The shopper's orders, which have to come from this source."""
    before = lists_from(source)
    fresh = msgspec.structs.replace(shop, lookout=Lookout(shop.database))
    page, _ = await my_orders(fresh, shopper, after=after, limit=limit)
    assert lists_from(source) == before + 1
    return [(one.number, one.status) for one in page]


async def test_orders_come_from_the_history_and_the_newest_from_the_database_until_it_is_there(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    first = await buy(shop, shopper, sku)
    await readers.catch_up(shop.stores)
    assert await seen(shop, shopper, "history") == [(first.number, "paid")]
    async with readers_held(shop):
        second = await buy(shop, shopper, sku)
        assert await seen(shop, shopper, "database") == [(second.number, "paid"), (first.number, "paid")]
        assert await seen(shop, shopper, "database", limit=1) == [(second.number, "paid")]
    await readers.catch_up(shop.stores)
    assert await seen(shop, shopper, "history") == [(second.number, "paid"), (first.number, "paid")]


async def test_who_begins_to_leaf_in_the_database_goes_on_there(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    bought = [await buy(shop, shopper, sku)]
    await readers.catch_up(shop.stores)
    async with readers_held(shop):
        bought += [await buy(shop, shopper, sku) for _ in range(4)]
        fresh = msgspec.structs.replace(shop, lookout=Lookout(shop.database))
        listed, after = await my_orders(fresh, shopper, after=None, limit=2)
        while after is not None:
            page, after = await my_orders(fresh, shopper, after=after, limit=2)
            listed += page
    assert [one.number for one in listed] == [order.number for order in reversed(bought)]


async def test_what_a_shopper_changed_is_seen_at_once(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    order = await buy(shop, shopper, sku)
    await readers.catch_up(shop.stores)
    async with readers_held(shop):
        cancelled = await checkout.cancel(shop.till, order.number, shopper_id=shopper.shopper_id, key="x")
        await marks.leave(shop.cache, shopper.shopper_id, cancelled)
        assert await seen(shop, shopper, "database") == [(order.number, "cancelled")]
    await readers.catch_up(shop.stores)
    assert await seen(shop, shopper, "history") == [(order.number, "cancelled")]


async def test_a_waiting_order_is_seen_in_both(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    async with readers_held(shop):
        order = await buy(shop, shopper, sku, token="tok_answer_lost")
        assert await seen(shop, shopper, "database") == [(order.number, "pending")]
    await readers.catch_up(shop.stores)
    assert await seen(shop, shopper, "history") == [(order.number, "pending")]


async def test_a_history_that_is_too_far_behind_is_not_asked(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    strict = msgspec.structs.replace(shop, settings=msgspec.structs.replace(shop.settings, history_lag_seconds=0.01))
    order = await buy(shop, shopper, sku)
    await readers.catch_up(shop.stores)
    assert await seen(strict, shopper, "history") == [(order.number, "paid")]
    async with readers_held(shop):
        await buy(shop, a_guest(), sku)  # somebody else's, unread
        await asyncio.sleep(0.02)
        assert await seen(strict, shopper, "database") == [(order.number, "paid")]


async def test_orders_are_seen_while_dynamodb_is_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    order = await buy(shop, shopper, sku)
    await readers.catch_up(shop.stores)

    async def away(*_: object, **__: object) -> None:
        raise StoreAway(store="cart and session store", retry_after=2)

    monkeypatch.setattr(history, "list_of", away)
    assert await seen(shop, shopper, "database") == [(order.number, "paid")]


async def test_a_bought_cart_looks_empty_before_any_reader_was_there(shop: Shop) -> None:
    shopper, sku, other = a_guest(), await a_product(shop.database), await a_product(shop.database)
    async with readers_held(shop):
        await buy(shop, shopper, sku)
        assert (await carts.load(shop.dynamodb, shopper.shopper_id)).lines == (Line(sku, 1),)
        assert (await cart_of(shop, shopper)).lines == ()
        await let_go_of_bought(shop, shopper)
        cart = await carts.add(shop.dynamodb, shopper.shopper_id, Line(other, 1), days=DAYS, if_version=0)
        assert cart.lines == (Line(other, 1),)
        assert await cart_of(shop, shopper) == cart
        await let_go_of_bought(shop, shopper)
    await readers.catch_up(shop.stores)
    assert await cart_of(shop, shopper) == cart


async def test_a_declined_order_leaves_its_cart_to_be_seen(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    await buy(shop, shopper, sku, token="tok_declined")
    assert (await cart_of(shop, shopper)).lines == (Line(sku, 1),)


async def test_logging_in_right_after_a_purchase_brings_nothing_bought_along(shop: Shop) -> None:
    guest, sku = await sessions.start_guest(shop.dynamodb, days=DAYS), await a_product(shop.database)
    account = Account(uuid.uuid4(), "ada@example.com", "Ada Okafor", staff=False)
    async with readers_held(shop):
        await buy(shop, guest, sku)
        signed_in = await sign_in(shop, guest, account)
        assert (await cart_of(shop, signed_in)).lines == ()
    await readers.catch_up(shop.stores)
    assert (await cart_of(shop, signed_in)).lines == ()


async def test_a_shop_whose_readers_are_far_behind_takes_no_order_and_takes_them_again_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    async with readers_held(shop):
        for _ in range(3):
            await buy(shop, a_guest(), sku)
        lookout = Lookout(shop.database)
        await lookout.look()
        monkeypatch.setattr(shop.till, "intake", Intake(lookout, readers=readers.essential_in(""), limit_events=1))
        with pytest.raises(TooBusy):
            await buy(shop, shopper, sku)
    async with shop.database.read() as read:
        assert await orders.list_of(read, shopper.shopper_id, after=None, limit=1) == ([], None)
    monkeypatch.undo()
    await readers.catch_up(shop.stores)
    order = await buy(shop, shopper, sku)
    assert order.status == "paid"


async def test_the_lag_of_every_reader_stands_among_the_metrics(shop_url: str, shop: Shop) -> None:
    async def lines() -> Sequence[str]:
        async with shop.dynamodb._session.get(f"{shop_url}/metrics") as response:
            assert response.status == 200
            return (await response.text()).splitlines()

    await lines()
    found = [line.partition(" ")[0] for line in await lines()]
    for reader in readers.READERS:
        for what in ("events", "seconds"):
            assert found.count(f'securecart_reader_behind_{what}{{reader="{reader.name}"}}') == 1
    assert not [name for name in found if "behind" in name and "pid=" in name]
