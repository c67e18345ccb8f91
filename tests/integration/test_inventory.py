"""Stock against the real database: all or nothing, every location, and nothing oversold by a race."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from securecart import inventory
from securecart.errors import BadInput, OutOfStock
from securecart.inventory import Level, Receipt
from securecart.stores.postgres import Database
from securecart.values import Line
from tests.orders_for_tests import a_pending_order, a_sku, reserve


async def books(database: Database, sku: str) -> list[Level]:
    async with database.read() as read:
        return await inventory.levels(read, [sku])


async def receive(database: Database, *receipts: Receipt) -> None:
    async with database.transaction() as tx:
        await inventory.add_location(tx, "annex", "Annex")
        await inventory.receive(tx, receipts)


async def open_and_reserve(database: Database, *lines: Line) -> int:
    async with database.transaction() as tx:
        order = await a_pending_order(tx, *lines)
        await reserve(tx, order, *lines)
    return order


async def write(database: Database, statement: str, *arguments: object) -> None:
    async with database.transaction() as tx:
        await tx.execute(statement, *arguments)


async def test_a_reservation_draws_on_every_location(database: Database) -> None:
    sku = a_sku()
    await receive(database, Receipt(sku, 5), Receipt(sku, 3, "annex"))
    await open_and_reserve(database, Line(sku, 7))
    assert [(level.location, level.reserved) for level in await books(database, sku)] == [("main", 5), ("annex", 2)]


async def test_several_lines_of_one_sku_count_together(database: Database) -> None:
    sku = a_sku()
    await receive(database, Receipt(sku, 5))
    with pytest.raises(OutOfStock) as refused:
        await open_and_reserve(database, Line(sku, 3), Line(sku, 3))
    assert [(short.sku, short.wanted, short.available) for short in refused.value.facts["shortages"]] == [(sku, 6, 5)]


async def test_one_short_line_reserves_nothing_of_the_others(database: Database) -> None:
    plenty, scarce = a_sku(), a_sku()
    await receive(database, Receipt(plenty, 100), Receipt(scarce, 1))
    with pytest.raises(OutOfStock, match=scarce):
        await open_and_reserve(database, Line(plenty, 1), Line(scarce, 2))
    assert (await books(database, plenty))[0].reserved == 0


async def test_a_sku_that_never_had_stock_is_out_of_stock(database: Database) -> None:
    with pytest.raises(OutOfStock):
        await open_and_reserve(database, Line("NEVER-SEEN", 1))


async def test_selling_releasing_and_restocking_keep_the_books(database: Database) -> None:
    sku = a_sku()
    await receive(database, Receipt(sku, 4), Receipt(sku, 4, "annex"))
    async with database.transaction() as tx:
        kept, dropped = await a_pending_order(tx, Line(sku, 5)), await a_pending_order(tx, Line(sku, 2))
        await reserve(tx, kept, Line(sku, 5))
        await reserve(tx, dropped, Line(sku, 2))
    async with database.transaction() as tx:
        await inventory.lock_held(tx, [kept, dropped])
        await inventory.sell(tx, [kept])
        await inventory.release(tx, [dropped])
    assert [(level.sold, level.reserved, level.available) for level in await books(database, sku)] == [(4, 0, 0), (1, 0, 3)]
    async with database.transaction() as tx:
        await inventory.restock(tx, kept)
    assert [(level.sold, level.available) for level in await books(database, sku)] == [(0, 4), (0, 4)]


async def test_each_verb_done_twice_counts_once(database: Database) -> None:
    sku = a_sku()
    await receive(database, Receipt(sku, 9))
    order = await open_and_reserve(database, Line(sku, 4))
    for verb in (inventory.sell, inventory.sell, inventory.release):
        async with database.transaction() as tx:
            await verb(tx, [order])
    assert [(level.sold, level.reserved) for level in await books(database, sku)] == [(4, 0)]
    for _ in range(2):
        async with database.transaction() as tx:
            await inventory.restock(tx, order)
    assert [(level.sold, level.available) for level in await books(database, sku)] == [(0, 9)]


async def test_a_race_for_the_last_units_has_exactly_as_many_winners(database: Database) -> None:
    sku = a_sku()
    await receive(database, Receipt(sku, 7), Receipt(sku, 3, "annex"))

    async def buy() -> bool:
        try:
            await open_and_reserve(database, Line(sku, 1))
        except OutOfStock:
            return False
        return True

    won = await asyncio.gather(*(buy() for _ in range(40)))
    assert sum(won) == 10
    assert sum(level.reserved for level in await books(database, sku)) == 10


async def test_orders_that_want_the_same_skus_in_opposite_order_do_not_deadlock(database: Database) -> None:
    one, two = sorted((a_sku(), a_sku()))
    await receive(database, Receipt(one, 100), Receipt(two, 100))

    async def buy(*skus: str) -> None:
        lines = [Line(sku, 1) for sku in skus]
        async with database.transaction() as tx:
            order = await a_pending_order(tx, *lines)
            await reserve(tx, order, *lines)
        async with database.transaction() as tx:
            await inventory.lock_held(tx, [order])
            await inventory.sell(tx, [order])

    await asyncio.gather(*(buy(one, two) if n % 2 else buy(two, one) for n in range(40)))
    assert [level.sold for sku in (one, two) for level in await books(database, sku)] == [40, 40]


async def test_the_database_itself_refuses_to_oversell(database: Database) -> None:
    sku = a_sku()
    await receive(database, Receipt(sku, 1))
    with pytest.raises(asyncpg.CheckViolationError, match="stock_never_oversold"):
        await write(database, "UPDATE stock SET taken = 2 WHERE sku = $1", sku)


async def test_goods_for_an_unknown_location_name_the_field(database: Database) -> None:
    with pytest.raises(BadInput, match="moon") as refused:
        await receive(database, Receipt(a_sku(), 1, "moon"))
    assert refused.value.field == "location"
