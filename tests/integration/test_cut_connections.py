"""The connection is cut at each step of a checkout, and at each commit: one order, one charge, and its buyer hears of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from securecart.app import Shop
from securecart.checkout import Till
from securecart.errors import StoreAway
from securecart.stores.postgres import Database, Fresh, Transaction
from tests.forced_moments import DeafDatabase, a_till
from tests.orders_for_tests import a_product
from tests.shopping import a_buyer, buy, captured, find, orders_of, stock_of

CALLS = frozenset({"fetch", "fetchrow", "fetchval", "execute"})


class CutDatabase(Database):
    """Cuts the connection before the statement number `cut_at`, counted from 1; `sent` counts them, those done again too."""

    def __init__(self, database: Database, *, cut_at: int) -> None:
        super().__init__(database._nodes)
        self.cut_at = cut_at
        self.sent = 0

    @asynccontextmanager
    async def fresh(self, *, within_s: float | None = None) -> AsyncIterator[Fresh]:
        async with super().fresh(within_s=within_s) as fresh:
            yield cast("Fresh", _Cut(self, fresh))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as tx:
            yield cast("Transaction", _Cut(self, tx))


class _Cut:
    def __init__(self, database: CutDatabase, connection: Any) -> None:
        self._database = database
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        if name in CALLS:
            self._database.sent += 1
            if self._database.sent == self._database.cut_at:
                self._connection.terminate()
        return getattr(self._connection, name)


async def bought_once(shop: Shop, till: Till, sku: str) -> None:
    """Buy, and hold every book to it; the key sent again is answered with the same order."""
    shopper = await a_buyer(shop, sku)
    order = await buy(shop, shopper, "key", till=till)
    assert order.status == "paid"
    assert await orders_of(shop, shopper) == [order.number]
    assert await captured(shop, order.number) == [100]
    assert (await buy(shop, shopper, "key")).number == order.number
    assert (await find(shop, order.number)).total.amount_minor == 100


@pytest.mark.parametrize("group_most", [256, 1])
async def test_cut_before_each_statement_of_a_checkout(shop: Shop, group_most: int) -> None:
    sku = await a_product(shop.database, stock=100)
    for cut_at in itertools.count(1):
        database = CutDatabase(shop.database, cut_at=cut_at)
        await bought_once(shop, a_till(shop, database=database, group_most=group_most), sku)
        if database.sent < cut_at:
            break
    assert cut_at > 8, "a checkout has more statements than that"
    assert await stock_of(shop, sku) == (cut_at, 0, 100 - cut_at)


@pytest.mark.parametrize("deaf", [1, 2, 3])
async def test_each_commit_unheard(shop: Shop, deaf: int) -> None:
    sku = await a_product(shop.database)
    await bought_once(shop, a_till(shop, database=DeafDatabase(shop.database, deaf=deaf)), sku)
    assert await stock_of(shop, sku) == (1, 0, 999)


class AwayDatabase(Database):
    """No transaction gets anywhere."""

    tries = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.tries += 1
        async with super().transaction() as tx:
            await tx.execute("SELECT 1")
            if self.tries:
                raise StoreAway(store="orders database", retry_after=2)
            yield tx


async def test_when_patience_is_over_everybody_is_told_and_nobody_tries_alone(shop: Shop) -> None:
    sku = await a_product(shop.database)
    database = AwayDatabase(shop.database._nodes)
    own = shop.till
    till = Till(database, shop.dynamodb, shop.cache, own.gateway, own.intake, own.pace, patience_s=0.4)
    with pytest.raises(StoreAway) as told:
        await buy(shop, await a_buyer(shop, sku), till=till)
    assert told.value.facts["retry_after"] == 2
    assert 1 < database.tries < 10
    assert await stock_of(shop, sku) == (0, 0, 1000)
