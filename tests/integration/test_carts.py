"""Carts against the real store: every change counts once, whoever else changes the cart and whatever answer is lost."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiodynamo.expressions import F
from aiodynamo.http.types import HttpImplementation, Request, RequestFailed, Response
from aiodynamo.models import StaticDelayRetry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securecart import carts
from securecart.app import Shop
from securecart.carts import LINES_MAX, Cart
from securecart.carts.model import BEGIN, TRAIL_MAX, joined, with_quantity, without
from securecart.errors import BadInput, CartChanged
from securecart.stores.dynamodb import DynamoDB
from securecart.values import Line

DAYS = 1


@dataclass
class Wire:
    """The way to DynamoDB: counts calls by action, and loses the answers to those writes that `loses` picks."""

    send: HttpImplementation
    loses: Callable[[int], bool] = lambda _: False
    calls: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    meanwhile: Callable[[], Any] | None = None

    async def __call__(self, request: Request) -> Response:
        action = (request.headers or {})["X-Amz-Target"].rpartition(".")[2]
        self.calls[action] += 1
        response = await self.send(request)
        if action == "GetItem":
            return response
        self.writes += 1
        if not self.loses(self.writes - 1):
            return response
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            await happens()
        raise RequestFailed(OSError("the answer was lost"))


def wired(shop: Shop, loses: Callable[[int], bool] = lambda _: False) -> tuple[DynamoDB, Wire]:
    wire = Wire(shop.dynamodb.client.http, loses)
    client = replace(shop.dynamodb.client, http=wire, throttle_config=StaticDelayRetry(time_limit_secs=5, delay=0.001))
    return DynamoDB(client, shop.dynamodb._session, shop.dynamodb._prefix), wire


def a_shopper(kind: str = "guest") -> str:
    return f"{kind}:{secrets.token_hex(8)}"


def held(cart: Cart) -> dict[str, int]:
    return {line.sku: line.quantity for line in cart.lines}


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
    dynamodb, wire = wired(shop)
    assert await carts.set_quantity(dynamodb, shopper, "A", 2, days=DAYS) == before
    assert await carts.set_quantity(dynamodb, shopper, "never there", 0, days=DAYS) == before
    assert wire.writes == 0


async def test_replacing_costs_one_write_and_no_read(shop: Shop) -> None:
    dynamodb, wire = wired(shop)
    shopper = a_shopper()
    for quantity in (1, 2):
        cart = await carts.replace(dynamodb, shopper, [Line("A", quantity)], days=DAYS)
    assert wire.calls == {"UpdateItem": 2}
    cart = await carts.replace(dynamodb, shopper, [Line("A", 3)], days=DAYS, if_version=cart.version)
    assert wire.calls == {"UpdateItem": 3}
    assert await carts.load(shop.dynamodb, shopper) == cart


async def test_a_change_costs_one_read_and_one_write(shop: Shop) -> None:
    dynamodb, wire = wired(shop)
    await carts.add(dynamodb, a_shopper(), Line("A", 1), days=DAYS)
    assert wire.calls == {"GetItem": 1, "PutItem": 1}


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


async def test_many_tabs_creating_a_cart_at_once_lose_nothing(shop: Shop) -> None:
    shopper = a_shopper()
    await asyncio.gather(*(carts.add(shop.dynamodb, shopper, Line(f"S{n % 3}", 1), days=DAYS) for n in range(9)))
    assert held(await carts.load(shop.dynamodb, shopper)) == {"S0": 3, "S1": 3, "S2": 3}


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


async def test_logging_in_twice_at_once_merges_once_also_while_tabs_add(shop: Shop) -> None:
    guest, account = a_shopper(), a_shopper("account")
    await carts.add(shop.dynamodb, guest, Line("A", 5), days=DAYS)
    await asyncio.gather(
        *(carts.merge(shop.dynamodb, guest, account, days=DAYS) for _ in range(3)),
        *(carts.add(shop.dynamodb, account, Line("A", 1), days=DAYS) for _ in range(4)),
    )
    assert held(await carts.load(shop.dynamodb, account)) == {"A": 9}
    assert await carts.load(shop.dynamodb, guest) == Cart()


async def test_merging_is_counted_once_when_its_answer_is_lost(shop: Shop) -> None:
    guest, account = a_shopper(), a_shopper("account")
    await carts.add(shop.dynamodb, account, Line("A", 1), days=DAYS)
    await carts.add(shop.dynamodb, guest, Line("A", 1), days=DAYS)
    dynamodb, wire = wired(shop, loses=lambda number: number == 0)
    await carts.merge(dynamodb, guest, account, days=DAYS)
    assert held(await carts.load(shop.dynamodb, account)) == {"A": 2}
    assert wire.calls["TransactWriteItems"] == 2


async def test_a_bought_cart_that_nobody_changed_goes_with_one_delete(shop: Shop) -> None:
    shopper = a_shopper()
    cart = await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    dynamodb, wire = wired(shop)
    await carts.take_out(dynamodb, shopper, cart)
    assert wire.calls == {"DeleteItem": 1}
    assert await carts.load(shop.dynamodb, shopper) == Cart()


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


@pytest.mark.parametrize("added", [0, 1, 5])
async def test_taking_out_does_not_touch_a_cart_that_began_after_it(shop: Shop, added: int) -> None:
    shopper = a_shopper()
    bought = await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    dynamodb, wire = wired(shop, loses=lambda number: number == 0)

    async def fill_anew() -> None:
        for _ in range(added):
            await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)

    wire.meanwhile = fill_anew
    await carts.take_out(dynamodb, shopper, bought)
    assert held(await carts.load(shop.dynamodb, shopper)) == ({"A": added} if added else {})


@pytest.mark.parametrize("others", [0, 1, 5, TRAIL_MAX - 1])
async def test_a_lost_answer_never_doubles_though_others_go_on(shop: Shop, others: int) -> None:
    shopper = a_shopper()
    await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    dynamodb, wire = wired(shop, loses=lambda number: number == 0)

    async def others_add() -> None:
        for _ in range(others):
            await carts.add(shop.dynamodb, shopper, Line("B", 1), days=DAYS)

    wire.meanwhile = others_add
    await carts.add(dynamodb, shopper, Line("A", 1), days=DAYS)
    assert held(await carts.load(shop.dynamodb, shopper)) == {"A": 2, **({"B": others} if others else {})}
    assert wire.calls["PutItem"] == 2


async def test_when_nobody_can_tell_any_more_the_shopper_is_asked_to_look(shop: Shop) -> None:
    shopper = a_shopper()
    await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    dynamodb, wire = wired(shop, loses=lambda number: number == 0)

    async def others_add() -> None:
        for _ in range(TRAIL_MAX):
            await carts.add(shop.dynamodb, shopper, Line("B", 1), days=DAYS)

    wire.meanwhile = others_add
    with pytest.raises(CartChanged):
        await carts.add(dynamodb, shopper, Line("A", 1), days=DAYS)
    assert held(await carts.load(shop.dynamodb, shopper))["A"] == 2


async def test_a_change_that_was_bought_before_its_answer_came_is_not_made_again(shop: Shop) -> None:
    shopper = a_shopper()
    await carts.add(shop.dynamodb, shopper, Line("A", 1), days=DAYS)
    dynamodb, wire = wired(shop, loses=lambda number: number == 0)

    async def somebody_buys() -> None:
        await carts.take_out(shop.dynamodb, shopper, await carts.load(shop.dynamodb, shopper))

    wire.meanwhile = somebody_buys
    with pytest.raises(CartChanged):
        await carts.add(dynamodb, shopper, Line("A", 1), days=DAYS)
    assert await carts.load(shop.dynamodb, shopper) == Cart()


async def test_a_second_copy_of_a_replacement_does_not_undo_what_came_after_the_first(shop: Shop) -> None:
    shopper = a_shopper()
    dynamodb, wire = wired(shop, loses=lambda number: number == 0)

    async def another_tab_adds() -> None:
        await carts.add(shop.dynamodb, shopper, Line("B", 1), days=DAYS)

    wire.meanwhile = another_tab_adds
    cart = await carts.replace(dynamodb, shopper, [Line("A", 1)], days=DAYS)
    assert held(cart) == held(await carts.load(shop.dynamodb, shopper)) == {"A": 1, "B": 1}
    assert wire.calls["UpdateItem"] == 2


async def test_a_conditional_replacement_recognises_itself(shop: Shop) -> None:
    shopper = a_shopper()
    before = await carts.replace(shop.dynamodb, shopper, [Line("A", 1)], days=DAYS)
    dynamodb, _ = wired(shop, loses=lambda number: number == 0)
    cart = await carts.replace(dynamodb, shopper, [Line("A", 5)], days=DAYS, if_version=before.version)
    assert (held(cart), cart.version) == ({"A": 5}, before.version + 1)


# A tab's step: put so many more of the shared SKU into the cart, or have exactly so many of the tab's own.
STEP = st.tuples(st.sampled_from(["add", "set"]), st.integers(0, 5))
TABS = st.lists(st.lists(STEP, min_size=1, max_size=5), min_size=1, max_size=4)


@given(tabs=TABS, lost=st.sets(st.integers(0, 30), max_size=12), old=st.integers(0, 1))
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_tabs_at_once_lose_no_change_and_lost_answers_double_none(
    shop: Shop, tabs: list[list[tuple[str, int]]], lost: set[int], old: int
) -> None:
    shopper = a_shopper()
    if old:
        await carts.add(shop.dynamodb, shopper, Line("old", old), days=DAYS)
    dynamodb, _ = wired(shop, loses=lost.__contains__)

    async def work(tab: int, steps: list[tuple[str, int]]) -> None:
        for verb, quantity in steps:
            if verb == "add":
                await carts.add(dynamodb, shopper, Line("shared", quantity + 1), days=DAYS)
            else:
                await carts.set_quantity(dynamodb, shopper, f"tab-{tab}", quantity, days=DAYS)

    await asyncio.gather(*(work(tab, steps) for tab, steps in enumerate(tabs)))
    expected = {"old": old}
    for tab, steps in enumerate(tabs):
        expected[f"tab-{tab}"] = next((quantity for verb, quantity in reversed(steps) if verb == "set"), 0)
    expected["shared"] = sum(quantity + 1 for steps in tabs for verb, quantity in steps if verb == "add")
    assert held(await carts.load(shop.dynamodb, shopper)) == {sku: quantity for sku, quantity in expected.items() if quantity}


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
