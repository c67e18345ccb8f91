"""More sold than there was: each way that other shops know, forced. docs/races.md has the table."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from securecart import checkout, inventory, orders
from securecart.app import Shop
from securecart.checkout import Opening
from securecart.errors import OutOfStock
from securecart.inventory import Hold, Receipt, Taken
from securecart.orders import Order
from securecart.values import Line
from tests.forced_moments import Bystander, Moment, a_till
from tests.orders_for_tests import a_new_order, a_pending_order, a_product
from tests.shopping import a_buyer, buy, captured, orders_of, stock_of


async def test_concurrent_completions_sell_the_last_unit_once(shop: Shop, bystander: Bystander) -> None:
    """https://github.com/medusajs/medusa/issues/16825: two orders for one unit, the loser's without reservation or payment.

    Five buyers in five processes have all come as far as the stock's lock before the first may look.
    """
    sku = await a_product(shop.database, stock=1)
    buyers = [await a_buyer(shop, sku) for _ in range(5)]
    await bystander.hold_stock(sku)
    asked = [asyncio.ensure_future(buy(shop, buyer, till=a_till(shop))) for buyer in buyers]
    await bystander.until_queued(5)
    await bystander.let_go()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["Order"] + ["OutOfStock"] * 4
    written = [number for buyer in buyers for number in await orders_of(shop, buyer)]
    assert written == [one.number for one in outcomes if isinstance(one, Order) and one.status == "paid"]
    assert await captured(shop, *written) == [100]
    assert await stock_of(shop, sku) == (1, 0, 0)


async def test_nobody_comes_between_the_check_of_stock_and_its_allocation(
    shop: Shop, bystander: Bystander, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://github.com/vendurehq/vendure/issues/1738, https://github.com/saleor/saleor/issues/543: check, then write.

    The first is stopped when it has been promised the last units and has written nothing; the second, in another process,
    has to wait for it, and is judged by what is left.
    """
    sku = await a_product(shop.database, stock=3)
    first, second = await a_buyer(shop, sku, 2), await a_buyer(shop, sku, 2)
    judged, write = Moment(), orders.open_all

    async def stopped(*arguments: Any) -> Any:
        await judged.stop()
        return await write(*arguments)

    monkeypatch.setattr(orders, "open_all", stopped)
    ahead = asyncio.ensure_future(buy(shop, first, till=a_till(shop)))
    await judged.come()
    behind = asyncio.ensure_future(buy(shop, second, till=a_till(shop)))
    await bystander.until_waiting(1)
    judged.opened.set()
    assert (await ahead).status == "paid"
    with pytest.raises(OutOfStock) as refused:
        await behind
    assert [(short.wanted, short.available) for short in refused.value.facts["shortages"]] == [(2, 1)]
    assert await stock_of(shop, sku) == (2, 0, 1)


async def test_a_reservation_that_skips_the_lock_loses_no_update_and_cannot_oversell(shop: Shop, bystander: Bystander) -> None:
    """https://github.com/medusajs/medusa/issues/16569: reserved_quantity overwritten when the lock step is skipped.

    Two transactions hold units without having locked or judged; the second waits for the first, counts on top of it, and
    the table refuses what is too much.
    """
    sku = await a_product(shop.database, stock=5)
    written, going_on = Moment(), []

    async def hold_blindly(units: int, stop: Moment | None = None) -> None:
        async with shop.database.transaction() as tx:
            order = await a_pending_order(tx, Line(sku, units))
            place = await tx.fetchval("SELECT location_id FROM stock WHERE sku = $1", sku)
            await inventory.hold(tx, [Hold(order, [Taken(sku, place, units)])])
            if stop:
                await stop.stop()

    going_on.append(asyncio.ensure_future(hold_blindly(3, written)))
    await written.come()
    going_on += [asyncio.ensure_future(hold_blindly(2)), asyncio.ensure_future(hold_blindly(1))]
    await bystander.until_waiting(2)
    written.opened.set()
    outcomes = await asyncio.gather(*going_on, return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, BaseException)]
    assert [(type(one), "stock_never_oversold" in str(one)) for one in refused] == [(asyncpg.CheckViolationError, True)]
    sold, reserved, free = await stock_of(shop, sku)
    assert (sold, reserved + free, reserved) in {(0, 5, 5), (0, 5, 4)}
    async with shop.database.read() as read:
        assert (
            await read.fetchval("SELECT sum(quantity) FROM hold JOIN allocation USING (order_id) WHERE sku = $1", sku) == reserved
        )


async def test_two_lines_of_one_thing_are_checked_by_their_sum(shop: Shop) -> None:
    """https://github.com/medusajs/medusa/issues/16502: each line alone would find enough."""
    sku = await a_product(shop.database, stock=5)
    with pytest.raises(OutOfStock) as refused:
        await shop.till.open(Opening(a_new_order(Line(sku, 3), Line(sku, 3))))
    assert [(short.wanted, short.available) for short in refused.value.facts["shortages"]] == [(6, 5)]
    assert (await shop.till.open(Opening(a_new_order(Line(sku, 3), Line(sku, 2))))).fresh
    assert await stock_of(shop, sku) == (0, 5, 0)


async def test_what_is_promised_over_all_places_is_taken_from_all_places(shop: Shop) -> None:
    """https://github.com/medusajs/medusa/issues/14987: available summed over locations, reserved from the first alone."""
    sku = await a_product(shop.database, stock=2)
    async with shop.database.transaction() as tx:
        await inventory.add_location(tx, "annex", "Annex")
        await inventory.receive(tx, [Receipt(sku, 2, "annex")])
    first, second, third = [await a_buyer(shop, sku, units) for units in (3, 1, 1)]
    order = await buy(shop, first)
    assert await by_place(shop, sku) == {"main": (2, 0), "annex": (1, 1)}
    assert (await buy(shop, second)).status == "paid"
    with pytest.raises(OutOfStock):
        await buy(shop, third)
    await checkout.cancel(shop.till, order.number, shopper_id=None, key="c")
    assert await by_place(shop, sku) == {"main": (0, 2), "annex": (1, 1)}


async def by_place(shop: Shop, sku: str) -> dict[str, tuple[int, int]]:
    """Sold and available by location."""
    async with shop.database.read() as read:
        return {level.location: (level.sold, level.available) for level in await inventory.levels(read, [sku])}
