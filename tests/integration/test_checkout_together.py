"""Orders that are opened and settled together: one commit for all, and each judged as if it came alone."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg
import msgspec
import pytest

from securecart import checkout, inventory, orders, payments
from securecart.app import Shop
from securecart.checkout import Till
from securecart.checkout.model import Opening, Settlement
from securecart.errors import BadInput, CartBought
from securecart.inventory import Level, Receipt
from securecart.orders import Decided, NewOrder, Opened
from securecart.payments import Charge
from securecart.settings import Settings
from securecart.values import Line, Money
from tests.forced_moments import Bystander, DeafDatabase, HeldGateway, Moment, a_bystander, a_till
from tests.orders_for_tests import a_new_order, a_sku
from tests.shopping import stock_of

PAID, DECLINED = Charge(status="captured", id="pay_1"), Charge(status="declined", decline_reason="card_declined")


@pytest.fixture
async def bystander(engines: Settings) -> AsyncIterator[Bystander]:
    async with a_bystander(engines) as beside:
        yield beside


async def goods(shop: Shop, units: int, *, location: str = "main") -> str:
    """A new SKU of which so many units arrived."""
    sku = a_sku()
    async with shop.database.transaction() as tx:
        await inventory.receive(tx, [Receipt(sku, units, location)])
    return sku


def wish(sku: str, quantity: int = 1, **other: Any) -> NewOrder:
    return msgspec.structs.replace(a_new_order(Line(sku, quantity)), **other)


async def open_together(till: Till, *wishes: NewOrder) -> list[Any]:
    """Asked in one turn of the loop, they are one group."""
    return await asyncio.gather(*(till.open(Opening(one)) for one in wishes), return_exceptions=True)


async def settle_together(till: Till, *settlements: Settlement) -> list[Any]:
    return await asyncio.gather(*(till.settle(one) for one in settlements), return_exceptions=True)


def opened(outcome: Any) -> Opened:
    assert isinstance(outcome, Opened), outcome
    return outcome


def what(outcomes: Sequence[Any]) -> list[str]:
    """Each outcome in a word: opened, there already, or the error's name."""
    return [
        type(one).__name__ if isinstance(one, BaseException) else "opened" if one.fresh else "there already" for one in outcomes
    ]


async def transactions_of(shop: Shop, wishes: Sequence[NewOrder]) -> int:
    """How many transactions wrote these orders last."""
    async with shop.database.read() as read:
        count: int = await read.fetchval(
            "SELECT count(DISTINCT xmin::text) FROM orders WHERE number = ANY ($1)", [one.number for one in wishes]
        )
    return count


async def written(shop: Shop, *wishes: NewOrder) -> list[tuple[int, ...]]:
    """Of each order: how often it is there, with lines, how many reservations, and with a payment."""
    async with shop.database.read() as read:
        rows = await read.fetch(
            """
            SELECT count(orders.id),
                count(orders.id) FILTER (WHERE EXISTS (SELECT FROM order_line WHERE order_id = orders.id)),
                coalesce(sum((SELECT count(*) FROM hold JOIN allocation USING (order_id) WHERE order_id = orders.id)), 0)::int,
                count(orders.id) FILTER (WHERE EXISTS (SELECT FROM payment WHERE order_id = orders.id))
            FROM unnest($1::text[]) WITH ORDINALITY AS wish (number, position)
            LEFT JOIN orders USING (number)
            GROUP BY position
            ORDER BY position
            """,
            [one.number for one in wishes],
        )
    return [tuple(row) for row in rows]


async def facts_of(shop: Shop, ids: Sequence[int]) -> list[tuple[str, int]]:
    async with shop.database.read() as read:
        rows = await read.fetch(
            "SELECT body, xid::text AS xid FROM event WHERE (body ->> 'order_id')::bigint = ANY ($1) ORDER BY id", list(ids)
        )
    return [(row["body"]["kind"], row["body"]["order_id"]) for row in rows]


ONCE = (1, 1, 1, 1)
NOT_THERE = (0, 0, 0, 0)


async def test_orders_that_come_together_share_one_commit_for_each_of_their_transactions(shop: Shop) -> None:
    sku, till = await goods(shop, 100), a_till(shop)
    wishes = [wish(sku) for _ in range(20)]
    outcomes = await open_together(till, *wishes)
    assert await transactions_of(shop, wishes) == 1
    decided = await settle_together(till, *(Settlement(one.id, PAID) for one in outcomes))
    assert [one.status for one in decided] == ["paid"] * 20
    assert await transactions_of(shop, wishes) == 1
    assert await stock_of(shop, sku) == (20, 0, 80)


async def test_with_grouping_off_each_order_has_a_commit_of_its_own(shop: Shop) -> None:
    sku, till = await goods(shop, 100), a_till(shop, group_most=1)
    wishes = [wish(sku) for _ in range(10)]
    assert what(await open_together(till, *wishes)) == ["opened"] * 10
    assert await transactions_of(shop, wishes) == 10


async def test_an_order_without_stock_is_refused_alone(shop: Shop) -> None:
    sku = await goods(shop, 3)
    wishes = [wish(sku, 2), wish(sku, 2), wish(sku, 1)]
    outcomes = await open_together(a_till(shop), *wishes)
    assert what(outcomes) == ["opened", "OutOfStock", "opened"]
    assert [(one.wanted, one.available) for one in outcomes[1].facts["shortages"]] == [(2, 1)]
    assert await written(shop, *wishes) == [ONCE, NOT_THERE, ONCE]


async def test_an_order_short_of_one_thing_takes_nothing_of_the_others_from_those_behind_it(shop: Shop) -> None:
    plenty, scarce = await goods(shop, 2), await goods(shop, 1)
    both = a_new_order(Line(plenty, 1), Line(scarce, 2))
    assert what(await open_together(a_till(shop), both, wish(plenty, 2), wish(scarce, 1))) == ["OutOfStock", "opened", "opened"]


async def test_several_lines_of_one_sku_are_summed_and_several_places_drawn_on(shop: Shop) -> None:
    sku = await goods(shop, 5)
    async with shop.database.transaction() as tx:
        await inventory.add_location(tx, "annex", "Annex")
        await inventory.receive(tx, [Receipt(sku, 3, "annex")])
    twice = [a_new_order(Line(sku, 3), Line(sku, 3)) for _ in range(2)]
    outcomes = await open_together(a_till(shop), *twice, wish(sku, 2))
    assert what(outcomes) == ["opened", "OutOfStock", "opened"]
    async with shop.database.read() as read:
        levels: list[Level] = await inventory.levels(read, [sku])
    assert [(one.location, one.reserved) for one in levels] == [("main", 5), ("annex", 3)]


async def test_one_key_twice_in_a_group_opens_one_order(shop: Shop) -> None:
    sku = await goods(shop, 10)
    first, again = (wish(sku, 2, shopper_id=f"guest:{sku}", idempotency_key="k") for _ in range(2))
    other = wish(sku, 1)
    outcomes = await open_together(a_till(shop), first, again, other)
    assert what(outcomes) == ["opened", "there already", "opened"]
    assert opened(outcomes[1]).number == first.number
    assert await written(shop, first, again, other) == [ONCE, NOT_THERE, ONCE]
    assert await stock_of(shop, sku) == (0, 3, 7)


@pytest.mark.parametrize("together_", [True, False], ids=["in one group", "one after the other"])
async def test_one_cart_under_two_keys_is_bought_once(shop: Shop, together_: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    sku, till = await goods(shop, 10), a_till(shop)
    tabs = [wish(sku, 1, shopper_id=f"guest:{sku}", cart_change="c1") for _ in range(2)]
    outcomes = await open_together(till, *tabs) if together_ else [(await open_together(till, one))[0] for one in tabs]
    assert what(outcomes) == ["opened", "CartBought"]
    assert isinstance(outcomes[1], CartBought)
    assert outcomes[1].facts["number"] == tabs[0].number
    assert await stock_of(shop, sku) == (0, 1, 9)


async def test_a_declined_order_lets_the_same_cart_be_bought_again(shop: Shop) -> None:
    sku, till = await goods(shop, 1), a_till(shop)
    declined, second = (wish(sku, 1, shopper_id=f"guest:{sku}", cart_change="c1") for _ in range(2))
    order = opened((await open_together(till, declined))[0])
    await till.settle(Settlement(order.id, DECLINED))
    assert what(await open_together(till, second)) == ["opened"]


async def test_a_repeated_key_leaves_the_units_it_was_given_to_those_behind_it(shop: Shop) -> None:
    sku, till = await goods(shop, 5), a_till(shop)
    first, again = (wish(sku, 2, shopper_id=f"guest:{sku}", idempotency_key="k") for _ in range(2))
    await till.open(Opening(first))
    outcomes = await open_together(till, again, wish(sku, 3), wish(sku, 2))
    assert what(outcomes) == ["there already", "opened", "OutOfStock"]
    assert await stock_of(shop, sku) == (0, 5, 0)


async def test_a_repeated_key_finds_its_order_when_nothing_is_left(shop: Shop) -> None:
    sku, till = await goods(shop, 2), a_till(shop)
    first, again = (wish(sku, 2, shopper_id=f"guest:{sku}", idempotency_key="k") for _ in range(2))
    await till.open(Opening(first))
    outcomes = await open_together(till, again, wish(sku, 1))
    assert what(outcomes) == ["there already", "OutOfStock"]


def with_a_wrong_line(order: NewOrder) -> NewOrder:
    (line,) = order.lines
    return msgspec.structs.replace(order, lines=(msgspec.structs.replace(line, total=Money(7, "USD")),))


POISON: dict[str, tuple[Callable[[NewOrder], NewOrder], type[Exception]]] = {
    "a total that does not add up": (functools.partial(msgspec.structs.replace, total_minor=5), asyncpg.CheckViolationError),
    "a line that does not add up": (with_a_wrong_line, asyncpg.CheckViolationError),
    "a text with NUL": (functools.partial(msgspec.structs.replace, email="a\x00@example.com"), BadInput),
}


@pytest.mark.parametrize("name", POISON)
async def test_a_poisoned_order_fails_alone(shop: Shop, name: str) -> None:
    poison, error = POISON[name]
    sku = await goods(shop, 10)
    wishes = [wish(sku), poison(wish(sku)), wish(sku)]
    outcomes = await open_together(a_till(shop), *wishes)
    assert isinstance(outcomes[1], error)
    assert await written(shop, *wishes) == [ONCE, NOT_THERE, ONCE]
    assert await stock_of(shop, sku) == (0, 2, 8)


async def test_a_group_whose_connection_dies_is_done_again(shop: Shop, bystander: Bystander) -> None:
    sku, database = await goods(shop, 2), DeafDatabase(shop.database)
    wishes = [wish(sku) for _ in range(3)]
    await bystander.hold_stock(sku)
    asked = asyncio.ensure_future(open_together(a_till(shop, database=database), *wishes))
    (session,) = await bystander.until_queued(1)
    await bystander.end(session)
    await bystander.until_queued(1)
    await bystander.let_go()
    outcomes = await asked
    assert sorted(what(outcomes)) == ["OutOfStock", "opened", "opened"]
    assert sorted(await written(shop, *wishes)) == [NOT_THERE, ONCE, ONCE]
    assert (database.failures, database.commits) == (["StoreAway"], 1)


@pytest.mark.parametrize("units", [10, 3], ids=["plenty", "the last units"])
async def test_orders_whose_commit_nobody_heard_of_are_known_as_their_own(shop: Shop, units: int) -> None:
    sku, database = await goods(shop, units), DeafDatabase(shop.database, deaf=1)
    wishes = [wish(sku) for _ in range(3)]
    outcomes = await open_together(a_till(shop, database=database), *wishes)
    assert what(outcomes) == ["opened"] * 3
    assert [opened(one).number for one in outcomes] == [one.number for one in wishes]
    assert await written(shop, *wishes) == [ONCE] * 3
    assert await stock_of(shop, sku) == (0, 3, units - 3)


async def test_settlements_whose_commit_nobody_heard_of_count_once(shop: Shop) -> None:
    sku, database = await goods(shop, 5), DeafDatabase(shop.database)
    till = a_till(shop, database=database)
    ids = [opened(one).id for one in await open_together(till, wish(sku, 2), wish(sku, 1))]
    database.deaf = 1
    assert await settle_together(till, Settlement(ids[0], PAID), Settlement(ids[1], DECLINED)) == [None, None]
    assert await stock_of(shop, sku) == (2, 0, 3)
    assert await facts_of(shop, ids) == [("order_placed", ids[0]), ("order_declined", ids[1])]


async def test_a_caller_who_goes_away_leaves_the_others_alone(shop: Shop, bystander: Bystander) -> None:
    sku, till = await goods(shop, 10), a_till(shop)
    wishes = [wish(sku) for _ in range(3)]
    await bystander.hold_stock(sku)
    tasks = [asyncio.ensure_future(till.open(Opening(one))) for one in wishes]
    await bystander.until_queued(1)
    tasks[1].cancel()
    await bystander.let_go()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one).__name__ for one in outcomes] == ["Opened", "CancelledError", "Opened"]
    # the one who left has a pending order, which the sweeper will ask the gateway about
    assert await written(shop, *wishes) == [ONCE] * 3
    assert await stock_of(shop, sku) == (0, 3, 7)


async def test_the_victim_of_a_deadlock_is_done_again(shop: Shop, bystander: Bystander) -> None:
    low, high = sorted((await goods(shop, 5), await goods(shop, 5)))
    database = DeafDatabase(shop.database)
    wishes = [a_new_order(Line(low, 1), Line(high, 1)), wish(high)]
    await bystander.hold_stock(high)
    asked = asyncio.ensure_future(open_together(a_till(shop, database=database), *wishes))
    await bystander.until_queued(1)
    await bystander.hold_stock(low)  # returns once the database has broken the deadlock
    await bystander.let_go()
    assert what(await asked) == ["opened", "opened"]
    assert await written(shop, *wishes) == [(1, 1, 2, 1), ONCE]
    assert (database.failures, database.commits) == (["StoreBusy"], 2)


async def test_two_groups_that_wait_for_each_others_keys_both_end(shop: Shop, bystander: Bystander) -> None:
    """Keys, unlike stock, are taken in order of arrival, so two processes can meet head on."""
    skus = [await goods(shop, 5) for _ in range(7)]
    shopper = f"guest:{skus[0]}"
    sides = [(skus[:3], ["k1", "gate 1", "k2"]), (skus[3:6], ["k2", "gate 2", "k1"])]
    # two processes with the same keys in opposite order, no stock in common, and each stopped between its two keys
    mine, theirs = (
        [wish(sku, shopper_id=shopper, idempotency_key=key) for sku, key in zip(*side, strict=True)] for side in sides
    )
    for gate in (mine[1], theirs[1]):
        await bystander.hold_key(wish(skus[6], shopper_id=shopper, idempotency_key=gate.idempotency_key))
    database = DeafDatabase(shop.database)
    asked = [asyncio.ensure_future(open_together(a_till(shop, database=database), *each)) for each in (mine, theirs)]
    await bystander.until_queued(2)
    await bystander.let_go()
    outcomes = [one for each in await asyncio.gather(*asked) for one in each]
    assert sorted(what(outcomes)) == ["opened"] * 4 + ["there already"] * 2
    assert database.failures == ["StoreBusy"]
    assert sorted(await written(shop, *mine, *theirs)) == [NOT_THERE] * 2 + [ONCE] * 4


@pytest.mark.parametrize("outcome", ["paid", "declined"])
async def test_a_key_repeated_while_its_order_is_settled_waits_and_stalls_nobody(
    shop: Shop, bystander: Bystander, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """Whoever repeats the key has the stock that settling needs, and waits for the order that settling changes."""
    sku, database = await goods(shop, 5), DeafDatabase(shop.database)
    first, again = (wish(sku, 1, shopper_id=f"guest:{sku}", idempotency_key="k") for _ in range(2))
    order = opened(await shop.till.open(Opening(first)))
    decided, record = Moment(), payments.record

    async def stopped(*arguments: Any) -> None:
        await decided.stop()
        await record(*arguments)

    monkeypatch.setattr(payments, "record", stopped)
    charge = PAID if outcome == "paid" else DECLINED
    settled = asyncio.ensure_future(a_till(shop, database=database).settle(Settlement(order.id, charge)))
    await decided.come()
    repeated = asyncio.ensure_future(open_together(a_till(shop, database=database), again, wish(sku)))
    await bystander.until_waiting(1)
    decided.opened.set()
    assert [one.status for one in [await settled] if one is not None] == [outcome]
    assert what(await repeated) == ["there already", "opened"]
    assert database.failures == []


async def test_a_key_repeated_while_its_order_is_cancelled_waits_and_stalls_nobody(
    shop: Shop, bystander: Bystander, monkeypatch: pytest.MonkeyPatch
) -> None:
    sku, database = await goods(shop, 5), DeafDatabase(shop.database)
    first, again = (wish(sku, 1, shopper_id=f"guest:{sku}", idempotency_key="k") for _ in range(2))
    order = opened(await shop.till.open(Opening(first)))
    await shop.till.settle(Settlement(order.id, PAID))
    changed, restock, change = Moment(), inventory.restock, orders.change

    async def stop_after_the_first(*arguments: Any, verb: Any) -> None:
        await verb(*arguments)
        if not changed.reached.is_set():
            await changed.stop()

    monkeypatch.setattr(inventory, "restock", functools.partial(stop_after_the_first, verb=restock))
    monkeypatch.setattr(orders, "change", functools.partial(stop_after_the_first, verb=change))
    till = a_till(shop, database=database, gateway=HeldGateway(shop, refuses_refunds=True))
    cancelled = asyncio.ensure_future(checkout.cancel(till, first.number, shopper_id=None, key="c"))
    await changed.come()
    repeated = asyncio.ensure_future(open_together(till, again))
    await bystander.until_waiting(1)
    changed.opened.set()
    assert (await cancelled).status == "cancelled"
    assert what(await repeated) == ["there already"]
    assert database.failures == []


async def test_the_same_order_settled_twice_in_a_group_is_decided_once(shop: Shop) -> None:
    sku, till = await goods(shop, 5), a_till(shop)
    order = opened(await till.open(Opening(wish(sku, 2))))
    first, second = await settle_together(till, Settlement(order.id, PAID), Settlement(order.id, DECLINED))
    assert (first.status, second) == ("paid", None)
    assert await stock_of(shop, sku) == (2, 0, 3)
    assert await facts_of(shop, [order.id]) == [("order_placed", order.id)]


async def test_paid_and_declined_orders_are_settled_in_one_group(shop: Shop) -> None:
    sku, till = await goods(shop, 10), a_till(shop)
    wishes = [wish(sku, units) for units in (1, 2, 3, 4)]
    ids = [opened(one).id for one in await open_together(till, *wishes)]
    charges = [PAID, DECLINED, PAID, DECLINED]
    decided: list[Decided] = await settle_together(till, *(Settlement(*pair) for pair in zip(ids, charges, strict=True)))
    assert [one.status for one in decided] == ["paid", "declined", "paid", "declined"]
    assert await transactions_of(shop, wishes) == 1
    assert await stock_of(shop, sku) == (4, 0, 6)
    assert await facts_of(shop, ids) == [
        *(("order_placed", ids[0]), ("order_declined", ids[1])),
        *(("order_placed", ids[2]), ("order_declined", ids[3])),
    ]


async def test_an_order_is_announced_once_by_the_transaction_that_decided_it(shop: Shop) -> None:
    sku, till = await goods(shop, 5), a_till(shop)
    one = wish(sku)
    order = opened(await till.open(Opening(one)))
    assert await facts_of(shop, [order.id]) == []
    for _ in range(3):
        await till.settle(Settlement(order.id, PAID))
    async with shop.database.read() as read:
        same = await read.fetchval(
            """
            SELECT count(*) FROM event JOIN orders ON (body ->> 'order_id')::bigint = orders.id
            WHERE orders.id = $1 AND mod(event.xid::text::numeric, 4294967296) = orders.xmin::text::numeric
            """,
            order.id,
        )
    assert same == 1
