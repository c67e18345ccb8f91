"""The reader that takes what was bought out of the carts.

Each region's reader does that for what its region sold: the other region's copy of a cart may still lack what was put into it
since, and to delete it there would undo that. What a region sold before it was lost is taken out by a rebuild.

A cart that still is as it was bought is deleted, a hundred a transaction. One that was changed since keeps the rest: the
bought units are taken out once, which the cart's own trail remembers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from securecart import carts, orders
from securecart.carts import Bought, Cart
from securecart.events import Event, OrderPlaced
from securecart.orders import BoughtCart
from securecart.readers.looking import lasting
from securecart.readers.model import Progress, Stores

__all__ = ["differences", "read", "rebuild"]


async def read(stores: Stores, facts: Sequence[Event]) -> None:
    """Take out what these orders bought."""
    ids = {
        Bought(fact.shopper_id, fact.cart_version, fact.cart_change): fact.order_id
        for fact in facts
        if isinstance(fact, OrderPlaced) and _is_ours(stores, fact)
    }
    changed = await carts.take_out_many(stores.dynamodb, list(ids))
    if changed:
        async with stores.database.fresh() as fresh:
            bought = await orders.bought_carts(fresh, [ids[one] for one in changed])
        await _take_out(stores, bought)


def _is_ours(stores: Stores, fact: OrderPlaced) -> bool:
    return not stores.region or fact.region in {"", stores.region}


async def rebuild(stores: Stores, progress: Progress) -> int:
    """Take out of every cart there is what an order bought of it."""
    done = 0
    async for page in carts.look_at_all(stores.dynamodb):
        bought = await _still_held(stores, page)
        await _take_out(stores, bought)
        done += len(bought)
        progress(len(page))
    return done


async def differences(stores: Stores) -> int:
    """How many carts still hold what an order bought."""
    wrong = 0
    async for page in carts.look_at_all(stores.dynamodb):
        holders = [one.shopper_id for one in await _still_held(stores, page)]
        wrong += len(await lasting(holders, lambda shoppers: _holders(stores, shoppers)))
    return wrong


async def _holders(stores: Stores, shoppers: Iterable[str]) -> list[str]:
    """Those of the shoppers whose cart holds what an order bought."""
    page = [(shopper_id, await carts.load(stores.dynamodb, shopper_id)) for shopper_id in shoppers]
    return [one.shopper_id for one in await _still_held(stores, page)]


async def _still_held(stores: Stores, page: Iterable[tuple[str, Cart]]) -> list[BoughtCart]:
    """The orders whose cart is among these and was not taken out: its state, or one it has grown from."""
    states = [
        (shopper_id, change)
        for shopper_id, cart in page
        for change in cart.trail
        if change and carts.name_of_taking_out(change) not in cart.trail
    ]
    async with stores.database.fresh() as fresh:
        ids = await orders.buyers_of(fresh, states)
        return await orders.bought_carts(fresh, ids)


async def _take_out(stores: Stores, bought: Iterable[BoughtCart]) -> None:
    for one in bought:
        await carts.take_out(stores.dynamodb, one.shopper_id, Cart(one.lines, one.cart_version, one.cart_change))
