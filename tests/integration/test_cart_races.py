"""Carts under bad luck: tabs that write at once, answers that are lost, log-ins that race. Nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securecart import carts
from securecart.app import Shop
from securecart.carts import Bought, Cart
from securecart.carts import actions as cart_actions
from securecart.errors import CartChanged
from securecart.stores.dynamodb import DynamoDB
from securecart.values import Line
from tests.lost_answers import Network

DAYS = 1
SHARED = "SHARED"

# What one tab does, in order: ("add", n) puts n of the shared SKU in, ("set", n) sets the tab's own SKU to n.
Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["add", "set"]), st.integers(1, 9)), min_size=1, max_size=3)


def a_shopper() -> str:
    return f"guest:{secrets.token_hex(8)}"


def held(cart: Cart) -> dict[str, int]:
    return {line.sku: line.quantity for line in cart.lines}


async def cart_of(shop: Shop, shopper: str) -> dict[str, int]:
    return held(await carts.load(shop.dynamodb, shopper))


async def fill(shop: Shop, shopper: str, **quantities: int) -> Cart:
    lines = [Line(sku, quantity) for sku, quantity in quantities.items()]
    return await carts.replace(shop.dynamodb, shopper, lines, days=DAYS)


async def use_tab(dynamodb: DynamoDB, shopper: str, own: str, steps: list[Step]) -> None:
    for kind, quantity in steps:
        if kind == "add":
            await carts.add(dynamodb, shopper, Line(SHARED, quantity), days=DAYS)
        else:
            await carts.set_quantity(dynamodb, shopper, own, quantity, days=DAYS)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tabs=st.lists(STEPS, min_size=2, max_size=5), lost=st.sets(st.integers(0, 8), max_size=3))
async def test_no_tab_loses_or_doubles_a_change(shop: Shop, tabs: list[list[Step]], lost: set[int]) -> None:
    shopper = a_shopper()
    network = Network(shop.dynamodb, loses=lambda write: write in lost)
    await asyncio.gather(*(use_tab(network.dynamodb, shopper, f"TAB-{at}", steps) for at, steps in enumerate(tabs)))
    expected: Counter[str] = Counter()
    for at, steps in enumerate(tabs):
        for kind, quantity in steps:
            if kind == "add":
                expected[SHARED] += quantity
            else:
                expected[f"TAB-{at}"] = quantity
    assert await cart_of(shop, shopper) == expected


async def test_a_dozen_tabs_at_once_all_get_through(shop: Shop) -> None:
    shopper = a_shopper()
    answers = await asyncio.gather(*(carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS) for _ in range(12)))
    assert await cart_of(shop, shopper) == {"A": 12}
    assert len({cart.change for cart in answers}) == len({cart.version for cart in answers}) == 12


@pytest.mark.parametrize("before", [0, 3])
async def test_adding_counts_once_when_the_answer_is_lost(shop: Shop, before: int) -> None:
    shopper = a_shopper()
    if before:
        await fill(shop, shopper, A=before)
    network = Network(shop.dynamodb)
    cart = await carts.add(network.dynamodb, shopper, Line("A", 2), days=DAYS)
    assert network.lost == 1
    assert held(cart) == await cart_of(shop, shopper) == {"A": before + 2}


async def test_adding_counts_once_when_another_tab_writes_before_the_loss_is_noticed(shop: Shop) -> None:
    shopper = a_shopper()
    await fill(shop, shopper, A=1)
    network = Network(shop.dynamodb, meanwhile=lambda: carts.add(shop.dynamodb, shopper, Line("A", 10), days=DAYS))
    await carts.add(network.dynamodb, shopper, Line("A", 100), days=DAYS)
    assert await cart_of(shop, shopper) == {"A": 111}


async def test_a_change_with_a_version_recognises_its_own_write(shop: Shop) -> None:
    shopper = a_shopper()
    read = await fill(shop, shopper, A=1)
    network = Network(shop.dynamodb)
    cart = await carts.set_quantity(network.dynamodb, shopper, "A", 7, days=DAYS, if_version=read.version)
    assert (network.lost, held(cart)) == (1, {"A": 7})
    network = Network(shop.dynamodb)
    cart = await carts.replace(network.dynamodb, shopper, [Line("B", 1)], days=DAYS, if_version=cart.version)
    assert (network.lost, held(cart)) == (1, {"B": 1})


async def test_replacing_does_not_undo_what_was_added_before_the_loss_was_noticed(shop: Shop) -> None:
    shopper = a_shopper()
    await fill(shop, shopper, OLD=1)
    network = Network(shop.dynamodb, meanwhile=lambda: carts.add(shop.dynamodb, shopper, Line("B", 1), days=DAYS))
    await carts.replace(network.dynamodb, shopper, [Line("A", 5)], days=DAYS)
    assert await cart_of(shop, shopper) == {"A": 5, "B": 1}


async def test_a_cart_bought_and_begun_anew_before_the_loss_was_noticed_keeps_only_the_new(shop: Shop) -> None:
    shopper = a_shopper()

    async def buy_and_begin_anew() -> None:
        await carts.take_out(shop.dynamodb, shopper, await carts.load(shop.dynamodb, shopper))
        await carts.add(shop.dynamodb, shopper, Line("NEW", 1), days=DAYS)

    await fill(shop, shopper, A=1)
    network = Network(shop.dynamodb, meanwhile=buy_and_begin_anew)
    with pytest.raises(CartChanged):
        await carts.add(network.dynamodb, shopper, Line("A", 1), days=DAYS)
    assert await cart_of(shop, shopper) == {"NEW": 1}


async def test_of_two_changes_made_for_one_version_one_counts(shop: Shop) -> None:
    shopper = a_shopper()
    read = await fill(shop, shopper, A=1)
    changes = [
        carts.set_quantity(shop.dynamodb, shopper, "A", quantity, days=DAYS, if_version=read.version) for quantity in range(2, 8)
    ]
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Cart)]
    assert sum(isinstance(outcome, CartChanged) for outcome in outcomes) == 5
    assert held(winner) == await cart_of(shop, shopper)


async def test_a_merge_counts_once_when_the_answer_is_lost(shop: Shop) -> None:
    guest, account = a_shopper(), a_shopper()
    await fill(shop, guest, A=2, B=1)
    await fill(shop, account, A=3)
    network = Network(shop.dynamodb)
    await carts.merge(network.dynamodb, guest, account, days=DAYS)
    assert network.lost == 1
    assert await cart_of(shop, account) == {"A": 5, "B": 1}
    assert await cart_of(shop, guest) == {}


async def test_merges_at_once_count_once(shop: Shop) -> None:
    guest, account = a_shopper(), a_shopper()
    await fill(shop, guest, A=2)
    await asyncio.gather(*(carts.merge(shop.dynamodb, guest, account, days=DAYS) for _ in range(6)))
    assert await cart_of(shop, account) == {"A": 2}


@pytest.mark.parametrize("whose", ["guest", "account"])
async def test_what_is_added_to_either_cart_while_they_merge_is_not_lost(shop: Shop, whose: str) -> None:
    shoppers = {"guest": a_shopper(), "account": a_shopper()}
    await fill(shop, shoppers["guest"], A=1)
    await fill(shop, shoppers["account"], B=1)
    network = Network(
        shop.dynamodb,
        loses=lambda _: False,
        before=lambda: carts.add(shop.dynamodb, shoppers[whose], Line("LATE", 1), days=DAYS),
    )
    await carts.merge(network.dynamodb, shoppers["guest"], shoppers["account"], days=DAYS)
    assert await cart_of(shop, shoppers["account"]) == {"A": 1, "B": 1, "LATE": 1}
    assert await cart_of(shop, shoppers["guest"]) == {}


async def test_a_change_to_a_cart_that_is_merged_away_begins_a_new_one(shop: Shop) -> None:
    guest, account = a_shopper(), a_shopper()
    await fill(shop, guest, A=1)
    network = Network(shop.dynamodb, loses=lambda _: False, before=lambda: carts.merge(shop.dynamodb, guest, account, days=DAYS))
    await carts.add(network.dynamodb, guest, Line("LATE", 1), days=DAYS)
    assert (await cart_of(shop, guest), await cart_of(shop, account)) == ({"LATE": 1}, {"A": 1})


async def test_taking_out_what_was_bought_counts_once_when_the_answer_is_lost(shop: Shop) -> None:
    shopper = a_shopper()
    bought = await fill(shop, shopper, A=2)
    network = Network(shop.dynamodb, meanwhile=lambda: carts.add(shop.dynamodb, shopper, Line("A", 5), days=DAYS))
    await carts.take_out(network.dynamodb, shopper, bought)
    assert network.lost == 1
    assert await cart_of(shop, shopper) == {"A": 5}


async def test_taking_out_leaves_what_was_added_while_paying(shop: Shop) -> None:
    shopper = a_shopper()
    bought = await fill(shop, shopper, A=2, B=1)
    await carts.add(shop.dynamodb, shopper, Line("A", 3), days=DAYS)
    await carts.add(shop.dynamodb, shopper, Line("C", 1), days=DAYS)
    await carts.take_out(shop.dynamodb, shopper, bought)
    assert await cart_of(shop, shopper) == {"A": 3, "C": 1}


async def test_what_a_change_costs(shop: Shop) -> None:
    shopper = a_shopper()
    network = Network(shop.dynamodb, loses=lambda _: False)
    cart = await carts.replace(network.dynamodb, shopper, [Line("A", 1)], days=DAYS)
    cart = await carts.replace(network.dynamodb, shopper, [Line("A", 2)], days=DAYS, if_version=cart.version)
    assert network.sent == ["UpdateItem"] * 2
    await carts.add(network.dynamodb, shopper, Line("A", 1), days=DAYS)
    assert network.sent[2:] == ["GetItem", "PutItem"]
    await carts.take_out(network.dynamodb, shopper, await carts.load(shop.dynamodb, shopper))
    assert network.sent[4:] == ["DeleteItem"]


async def bought_by(shop: Shop, shopper: str, **quantities: int) -> Bought:
    cart = await fill(shop, shopper, **quantities)
    return Bought(shopper, cart.version, cart.change)


async def test_many_bought_carts_are_emptied_in_few_calls_and_the_changed_are_named(shop: Shop) -> None:
    bought = list(await asyncio.gather(*(bought_by(shop, a_shopper(), A=1) for _ in range(120))))
    added, gone = bought[7], bought[110]
    await carts.add(shop.dynamodb, added.shopper_id, Line("B", 1), days=DAYS)
    await carts.take_out(shop.dynamodb, gone.shopper_id, await carts.load(shop.dynamodb, gone.shopper_id))
    network = Network(shop.dynamodb, loses=lambda _: False)
    assert await carts.take_out_many(network.dynamodb, bought) == [added]
    # two parts, each once more without the one that is not as it was bought, and for each of these what became of it
    assert network.sent == ["TransactWriteItems"] * 6
    held_now = [await cart_of(shop, one.shopper_id) for one in bought]
    assert held_now == [{"A": 1, "B": 1} if one is added else {} for one in bought]
    assert await carts.take_out_many(shop.dynamodb, bought) == [added]  # again, as after a crash


async def test_two_orders_of_one_shopper_are_taken_out_in_order(shop: Shop) -> None:
    shopper = a_shopper()
    first = await bought_by(shop, shopper, A=1)
    await carts.take_out(shop.dynamodb, shopper, await carts.load(shop.dynamodb, shopper))
    second = await bought_by(shop, shopper, B=1)
    assert await carts.take_out_many(shop.dynamodb, [first, second, second]) == [first]
    assert await cart_of(shop, shopper) == {}


async def test_an_emptied_cart_that_has_begun_anew_is_left_alone(shop: Shop) -> None:
    shopper = a_shopper()
    bought = await bought_by(shop, shopper, A=1)
    await carts.take_out_many(shop.dynamodb, [bought])
    await fill(shop, shopper, A=1)
    assert await carts.take_out_many(shop.dynamodb, [bought]) == [bought]
    await carts.take_out(shop.dynamodb, shopper, Cart((Line("A", 1),), bought.version, bought.change))
    assert await cart_of(shop, shopper) == {"A": 1}


async def test_the_bought_units_of_a_changed_cart_are_taken_out_once_however_often_it_is_tried(shop: Shop) -> None:
    shopper = a_shopper()
    bought = await fill(shop, shopper, A=2)
    await carts.add(shop.dynamodb, shopper, Line("A", 3), days=DAYS)
    for _ in range(3):
        await carts.take_out(shop.dynamodb, shopper, bought)
        assert await cart_of(shop, shopper) == {"A": 3}


async def test_emptying_many_counts_once_when_the_answer_is_lost(shop: Shop) -> None:
    bought = [await bought_by(shop, a_shopper(), A=1) for _ in range(3)]
    begins_anew = bought[1].shopper_id
    network = Network(shop.dynamodb, meanwhile=lambda: fill(shop, begins_anew, NEW=1))
    assert await carts.take_out_many(network.dynamodb, bought) in ([], [bought[1]])
    assert network.lost == 1
    assert [await cart_of(shop, one.shopper_id) for one in bought] == [{}, {"NEW": 1}, {}]


async def test_all_carts_can_be_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cart_actions, "SCAN_ITEMS", 10)
    shopper = a_shopper()
    cart = await fill(shop, shopper, A=1)
    seen = [one async for page in carts.look_at_all(shop.dynamodb) for one in page if one[0] == shopper]
    assert seen == [(shopper, cart)]
