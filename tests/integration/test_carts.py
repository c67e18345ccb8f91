"""Carts against the real store: what each change leaves behind, what is refused, and when a cart ends."""

from __future__ import annotations

import secrets
import time
from collections import Counter

import pytest
from aiodynamo.expressions import F
from hypothesis import given, settings
from hypothesis import strategies as st

from securecart import carts
from securecart.app import Shop
from securecart.carts import LINES_MAX, Cart
from securecart.carts import actions as cart_actions
from securecart.carts.model import BEGIN, TRAIL_MAX, joined, with_quantity, without
from securecart.errors import BadInput, CartChanged
from securecart.stores.dynamodb import DynamoDB
from securecart.values import Line
from tests.lost_answers import Network

DAYS = 1


def a_shopper(kind: str = "guest") -> str:
    return f"{kind}:{secrets.token_hex(8)}"


def held(cart: Cart) -> dict[str, int]:
    return {line.sku: line.quantity for line in cart.lines}


async def add_often(shop: Shop, shopper: str, times: int) -> None:
    for _ in range(times):
        await carts.add(shop.dynamodb, shopper, Line("B", 1), days=DAYS)


async def set_expiry(shop: Shop, shopper: str, expires_at: int) -> None:
    async with shop.dynamodb.table(carts.TABLE) as table:
        await table.update_item({"shopper_id": shopper}, F("expires_at").set(expires_at))


async def expiry(shop: Shop, shopper: str) -> int:
    async with shop.dynamodb.table(carts.TABLE) as table:
        return int((await table.get_item({"shopper_id": shopper}, consistent_read=True))["expires_at"])


async def test_lines_keep_the_order_in_which_they_came(shop: Shop) -> None:
    shopper = a_shopper()
    assert await carts.load(shop.dynamodb, shopper) == Cart()
    await carts.replace(shop.dynamodb, shopper, [Line("B", 1), Line("A", 1), Line("B", 2)], days=DAYS)
    await carts.add(shop.dynamodb, shopper, Line("C", 1), days=DAYS)
    await carts.set_quantity(shop.dynamodb, shopper, "B", 7, days=DAYS)
    cart = await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    assert cart.lines == (Line("B", 7), Line("A", 2), Line("C", 1))
    assert await carts.load(shop.dynamodb, shopper) == cart
    cart = await carts.set_quantity(shop.dynamodb, shopper, "B", 0, days=DAYS)
    assert cart.lines == (Line("A", 2), Line("C", 1))


async def test_each_change_raises_the_version_and_has_its_own_name(shop: Shop) -> None:
    shopper = a_shopper()
    seen = [await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS) for _ in range(20)]
    seen.append(await carts.replace(shop.dynamodb, shopper, [], days=DAYS))
    seen.append(await carts.set_quantity(shop.dynamodb, shopper, "B", 1, days=DAYS))
    first = seen[0].version
    assert [cart.version for cart in seen] == list(range(first, first + 22))
    assert len({cart.change for cart in seen}) == 22
    assert len(seen[19].trail) == TRAIL_MAX


async def test_what_changes_nothing_is_not_written(shop: Shop) -> None:
    shopper = a_shopper()
    before = await carts.add(shop.dynamodb, shopper, Line("A", 2), days=DAYS)
    network = Network(shop.dynamodb)
    assert await carts.set_quantity(network.dynamodb, shopper, "A", 2, days=DAYS) == before
    assert await carts.set_quantity(network.dynamodb, shopper, "never there", 0, days=DAYS) == before
    assert network.sent == ["GetItem", "GetItem"]


async def test_a_change_for_another_version_is_refused_and_says_which_it_is_now(shop: Shop) -> None:
    shopper = a_shopper()
    old = await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    now = await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    for version in (0, old.version, now.version + 1):
        for change in (
            carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS, if_version=version),
            carts.set_quantity(shop.dynamodb, shopper, "A", 9, days=DAYS, if_version=version),
            carts.replace(shop.dynamodb, shopper, [], days=DAYS, if_version=version),
        ):
            with pytest.raises(CartChanged) as refused:
                await change
            assert refused.value.facts == {"version": now.version}
    assert await carts.load(shop.dynamodb, shopper) == now
    assert held(await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS, if_version=now.version)) == {"A": 3}


async def test_version_0_stands_for_a_cart_that_does_not_exist(shop: Shop) -> None:
    shopper = a_shopper()
    cart = await carts.replace(shop.dynamodb, shopper, [Line("A", 1)], days=DAYS, if_version=0)
    assert held(cart) == {"A": 1}
    with pytest.raises(CartChanged):
        await carts.replace(shop.dynamodb, shopper, [], days=DAYS, if_version=0)


async def test_a_new_cart_never_has_a_version_of_the_old_one(shop: Shop) -> None:
    shopper = a_shopper()
    old = await carts.replace(shop.dynamodb, shopper, [Line("A", 1)], days=DAYS)
    await carts.take_out(shop.dynamodb, shopper, old)
    new = await carts.replace(shop.dynamodb, shopper, [Line("B", 1)], days=DAYS)
    assert new.version > old.version
    with pytest.raises(CartChanged):
        await carts.set_quantity(shop.dynamodb, shopper, "B", 0, days=DAYS, if_version=old.version)


@pytest.mark.parametrize("quantity", [0, -1, 1000])
async def test_a_quantity_outside_1_to_999_is_refused(shop: Shop, quantity: int) -> None:
    shopper = a_shopper()
    for change in (
        carts.add(shop.dynamodb, shopper, Line("A", quantity), days=DAYS),
        carts.replace(shop.dynamodb, shopper, [Line("A", quantity)], days=DAYS),
    ):
        with pytest.raises(BadInput) as refused:
            await change
        assert refused.value.field == "quantity"
    assert await carts.load(shop.dynamodb, shopper) == Cart()


async def test_adding_beyond_999_is_refused_and_leaves_what_was_there(shop: Shop) -> None:
    shopper = a_shopper()
    before = await carts.add(shop.dynamodb, shopper, Line("A", 990), days=DAYS)
    with pytest.raises(BadInput):
        await carts.add(shop.dynamodb, shopper, Line("A", 10), days=DAYS)
    with pytest.raises(BadInput):
        await carts.set_quantity(shop.dynamodb, shopper, "A", -1, days=DAYS)
    assert await carts.load(shop.dynamodb, shopper) == before


async def test_250_different_things_fit_and_one_more_does_not(shop: Shop) -> None:
    shopper = a_shopper()
    many = [Line(f"SKU-{'x' * 56}{number:03}", 999) for number in range(LINES_MAX)]
    await carts.replace(shop.dynamodb, shopper, many, days=DAYS)
    for change in (
        carts.add(shop.dynamodb, shopper, Line("one more", 1), days=DAYS),
        carts.set_quantity(shop.dynamodb, shopper, "one more", 1, days=DAYS),
        carts.replace(shop.dynamodb, shopper, [*many, Line("one more", 1)], days=DAYS),
    ):
        with pytest.raises(BadInput) as refused:
            await change
        assert refused.value.field == "lines"
    assert (await carts.load(shop.dynamodb, shopper)).lines == tuple(many)


async def test_an_expired_cart_is_empty_while_the_store_still_has_it(shop: Shop) -> None:
    shopper = a_shopper()
    old = await carts.add(shop.dynamodb, shopper, Line("A", 5), days=DAYS)
    await set_expiry(shop, shopper, int(time.time()))
    assert await carts.load(shop.dynamodb, shopper) == Cart()
    new = await carts.add(shop.dynamodb, shopper, Line("B", 1), days=DAYS, if_version=0)
    assert held(new) == {"B": 1}
    assert new.version > old.version
    assert await expiry(shop, shopper) > time.time() + 86_000


async def test_replacing_an_expired_cart_makes_a_living_one(shop: Shop) -> None:
    shopper = a_shopper()
    await carts.add(shop.dynamodb, shopper, Line("A", 5), days=DAYS)
    await set_expiry(shop, shopper, int(time.time()) - 100)
    await carts.replace(shop.dynamodb, shopper, [Line("B", 1)], days=DAYS, if_version=0)
    assert held(await carts.load(shop.dynamodb, shopper)) == {"B": 1}


async def test_merging_sums_both_carts_and_repeating_it_adds_nothing(shop: Shop) -> None:
    guest, account = a_shopper(), a_shopper("account")
    await carts.replace(shop.dynamodb, account, [Line("A", 990), Line("B", 1)], days=DAYS)
    await carts.replace(shop.dynamodb, guest, [Line("C", 3), Line("A", 20)], days=DAYS)
    for _ in range(3):
        await carts.merge(shop.dynamodb, guest, account, days=DAYS)
        assert (await carts.load(shop.dynamodb, account)).lines == (Line("B", 1), Line("C", 3), Line("A", 999))
        assert await carts.load(shop.dynamodb, guest) == Cart()


async def test_merging_into_no_cart_makes_one_and_merging_nothing_makes_none(shop: Shop) -> None:
    guest, account = a_shopper(), a_shopper("account")
    await carts.merge(shop.dynamodb, guest, account, days=DAYS)
    assert await carts.load(shop.dynamodb, account) == Cart()
    await carts.add(shop.dynamodb, guest, Line("A", 2), days=DAYS)
    await carts.merge(shop.dynamodb, guest, account, days=DAYS)
    assert held(await carts.load(shop.dynamodb, account)) == {"A": 2}


async def test_what_was_added_during_the_order_stays_and_so_does_its_expiry(shop: Shop) -> None:
    shopper = a_shopper()
    bought = await carts.replace(shop.dynamodb, shopper, [Line("A", 2), Line("B", 1)], days=DAYS)
    await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    await carts.add(shop.dynamodb, shopper, Line("C", 1), days=7)
    before = await expiry(shop, shopper)
    await carts.take_out(shop.dynamodb, shopper, bought)
    assert held(await carts.load(shop.dynamodb, shopper)) == {"A": 1, "C": 1}
    assert await expiry(shop, shopper) == before


async def test_who_knows_only_the_bought_lines_takes_just_those(shop: Shop) -> None:
    shopper = a_shopper()
    order = Cart(lines=(Line("A", 2), Line("gone already", 5)), version=-1, change="")
    await carts.take_out(shop.dynamodb, shopper, order)
    assert await carts.load(shop.dynamodb, shopper) == Cart()
    await carts.replace(shop.dynamodb, shopper, [Line("A", 3), Line("B", 1)], days=DAYS)
    await carts.take_out(shop.dynamodb, shopper, order)
    assert held(await carts.load(shop.dynamodb, shopper)) == {"A": 1, "B": 1}


@pytest.mark.parametrize("others", [2, TRAIL_MAX - 1])
async def test_a_lost_answer_never_doubles_though_others_go_on(shop: Shop, others: int) -> None:
    shopper = a_shopper()
    await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    network = Network(shop.dynamodb, meanwhile=lambda: add_often(shop, shopper, others))
    await carts.add(network.dynamodb, shopper, Line("A", 1), days=DAYS)
    assert held(await carts.load(shop.dynamodb, shopper)) == {"A": 2, "B": others}
    assert network.lost == 1


async def test_when_nobody_can_tell_any_more_the_shopper_is_asked_to_look(shop: Shop) -> None:
    shopper = a_shopper()
    await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    network = Network(shop.dynamodb, meanwhile=lambda: add_often(shop, shopper, TRAIL_MAX))
    with pytest.raises(CartChanged):
        await carts.add(network.dynamodb, shopper, Line("A", 1), days=DAYS)
    assert held(await carts.load(shop.dynamodb, shopper)) == {"A": 2, "B": TRAIL_MAX}


async def test_who_adds_while_the_cart_is_bought_begins_a_new_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shopper = a_shopper()
    bought = await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    read_really = cart_actions._read

    async def read_and_be_overtaken(dynamodb: DynamoDB, shopper_id: str) -> tuple[Cart, int]:
        found = await read_really(dynamodb, shopper_id)
        monkeypatch.undo()
        await carts.take_out(shop.dynamodb, shopper, bought)
        return found

    monkeypatch.setattr(cart_actions, "_read", read_and_be_overtaken)
    cart = await carts.add(shop.dynamodb, shopper, Line("B", 1), days=DAYS)
    assert held(cart) == held(await carts.load(shop.dynamodb, shopper)) == {"B": 1}


@given(versions=st.lists(st.booleans(), max_size=40), start=st.integers(1, 10**13))
@settings(deadline=None)
def test_a_trail_knows_exactly_the_changes_that_it_still_names(versions: list[bool], start: int) -> None:
    made = [Cart()]
    for number, replaced in enumerate(versions):
        after = made[-1].after(str(number), (), first_version=start)
        made.append(Cart((), after.version, after.change, (after.change,)) if replaced else after)
    now = made[-1]
    for number, earlier in enumerate(made):
        since = [cart.change for cart in made[number + 1 :]]
        if now.knows_since(earlier.version):
            assert set(since) <= set(now.trail)
        else:
            assert since[0] not in now.trail or BEGIN not in now.trail


LINES = st.lists(st.tuples(st.sampled_from("ABCDEFG"), st.integers(1, 999)), unique_by=lambda line: line[0]).map(
    lambda pairs: tuple(Line(sku, quantity) for sku, quantity in pairs)
)


@given(account=LINES, guest=LINES)
def test_joined_carts_hold_the_sum_up_to_the_cap_and_end_with_the_guest_s(
    account: tuple[Line, ...], guest: tuple[Line, ...]
) -> None:
    both = joined(account, guest)
    sums = Counter({line.sku: line.quantity for line in account})
    sums.update({line.sku: line.quantity for line in guest})
    assert {line.sku: line.quantity for line in both} == {sku: min(total, 999) for sku, total in sums.items()}
    assert [line.sku for line in both][len(both) - len(guest) :] == [line.sku for line in guest]


def test_of_too_many_things_the_account_s_oldest_stay_behind() -> None:
    account = tuple(Line(f"old-{number}", 1) for number in range(LINES_MAX))
    guest = (Line("new", 1), Line("old-0", 1))
    both = joined(account, guest)
    assert len(both) == LINES_MAX
    assert both[0] == Line("old-2", 1)
    assert both[-2:] == (Line("new", 1), Line("old-0", 2))


@given(lines=LINES, bought=LINES)
def test_taking_out_subtracts_and_never_leaves_less_than_nothing(lines: tuple[Line, ...], bought: tuple[Line, ...]) -> None:
    gone = {line.sku: line.quantity for line in bought}
    left = {line.sku: line.quantity - gone.get(line.sku, 0) for line in lines}
    assert without(lines, bought) == tuple(Line(sku, quantity) for sku, quantity in left.items() if quantity > 0)


@given(lines=LINES, sku=st.sampled_from("ABXY"), quantity=st.integers(0, 999))
def test_setting_a_quantity_touches_no_other_line(lines: tuple[Line, ...], sku: str, quantity: int) -> None:
    after = with_quantity(lines, sku, quantity)
    assert [line for line in after if line.sku != sku] == [line for line in lines if line.sku != sku]
    assert {line.sku: line.quantity for line in after}.get(sku, 0) == quantity
