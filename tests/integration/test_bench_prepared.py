"""Carts that a bench prepares are carts as shoppers fill them: the rooms read them, and each can be bought once."""

from __future__ import annotations

import pytest

from bench.goods import Goods
from bench.prepared import Pile
from securecart import carts, checkout, sessions
from securecart.app import Shop
from securecart.errors import CartBought, CartEmpty
from securecart.values import Line
from tests.orders_for_tests import a_product, a_wish


async def goods(shop: Shop, price_minor: int) -> Goods:
    sku = await a_product(shop.database, price_minor=price_minor)
    return Goods(sku.lower(), f"Thing {sku}", sku, price_minor)


async def test_a_prepared_cart_is_read_by_the_rooms_and_bought_at_its_price(shop: Shop) -> None:
    first, second = await goods(shop, 250), await goods(shop, 1_000)
    pile = Pile(shop.dynamodb, lambda: {first: 2, second: 1})
    await pile.top_up(3)
    filled = pile.take()
    shopper = await sessions.find(shop.dynamodb, filled.token)
    assert shopper is not None
    assert shopper.shopper_id == filled.shopper_id
    assert (await carts.load(shop.dynamodb, filled.shopper_id)).lines == (Line(first.sku, 2), Line(second.sku, 1))
    wish = a_wish(expected_total_minor=filled.total_minor)
    order = await checkout.place(shop.till, shopper, wish, "once", currency="USD")
    assert (order.status, order.total.amount_minor) == ("paid", 1_500)
    with pytest.raises((CartBought, CartEmpty)):
        await checkout.place(shop.till, shopper, wish, "twice", currency="USD")


async def test_who_has_bought_gets_another_cart_and_who_has_not_keeps_theirs(shop: Shop) -> None:
    thing = await goods(shop, 100)
    pile = Pile(shop.dynamodb, lambda: {thing: 1})
    await pile.top_up(120)  # more than one transaction holds
    buyer, *others = list(pile.filled)
    bought = await carts.load(shop.dynamodb, buyer.shopper_id)
    pile.settle({buyer.shopper_id})
    assert list(pile.filled) == others
    await pile.top_up(120)
    assert {one.token for one in pile.filled} == {buyer.token, *(one.token for one in others)}, "no session is made in vain"
    again = await carts.load(shop.dynamodb, buyer.shopper_id)
    assert again.change not in {"", bought.change}, "it is a new cart, which can be bought again"
