"""A crowd buys as many carts as it was told to, at a real shop, and stops when it is told to."""

from __future__ import annotations

import asyncio
import io

import pytest

from bench.acknowledged import Acknowledged
from bench.crowd import Book, Crowd
from bench.goods import Goods
from bench.harness import RunningShop
from bench.lag import Lag, catch_up, lag_of
from bench.prepared import Pile
from securecart import settings
from securecart.app import Shop
from tests.orders_for_tests import a_product

PAID = "SELECT count(*) FROM orders WHERE number = ANY ($1::text[]) AND status = 'paid'"


async def a_crowd(shop: Shop, wanted: int) -> tuple[Crowd, Book]:
    sku = await a_product(shop.database, price_minor=250, stock=10_000)
    book = Book(wanted, io.StringIO())
    pile = Pile(shop.dynamodb, lambda: {Goods(sku.lower(), sku, sku, 250): 2})
    return Crowd(RunningShop(settings.load(shop.settings.home), {}), pile, book), book


async def paid(shop: Shop, told: list[Acknowledged]) -> int:
    async with shop.database.read() as read:
        count: int = await read.fetchval(PAID, [one.number for one in told])
    return count


async def test_it_buys_just_as_many_as_wanted_and_the_readers_follow(shop: Shop, shop_url: str) -> None:
    assert shop_url
    crowd, book = await a_crowd(shop, 60)
    await crowd.buy_all(8)
    told = list(book.told())
    assert len({one.shopper_id for one in told}) == len({one.number for one in told}) == 60
    assert {one.total_minor for one in told} == {500}
    assert await paid(shop, told) == 60
    await catch_up(shop.database)
    assert await lag_of(shop.database) == Lag()


async def test_told_to_stop_it_hears_the_last_answers_and_begins_no_more(
    shop: Shop, shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop_url
    crowd, book = await a_crowd(shop, 400)
    write = book.write

    def stop_after_eight(one: Acknowledged, took_ns: int) -> None:
        write(one, took_ns)
        if book.count == 8:
            crowd.stop()

    monkeypatch.setattr(book, "write", stop_after_eight)
    async with asyncio.timeout(60):
        await crowd.buy_all(4)
    told = list(book.told())
    assert 8 <= len(told) == book.count <= 8 + 4
    assert await paid(shop, told) == book.count
