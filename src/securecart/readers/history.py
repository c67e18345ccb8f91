"""The reader that keeps the order history: each order that a fact names is read from the orders database and written anew.

What is written is the order's state at the moment of reading, never what the fact says, so facts may come twice or late.
"""

from __future__ import annotations

from collections.abc import Sequence

from securecart.events import Event, OrderEvent, OrdersRestored
from securecart.orders import history
from securecart.orders.history import Entry, Key
from securecart.readers.looking import lasting
from securecart.readers.model import Progress, Stores

__all__ = ["differences", "read", "rebuild"]

PAGE_ORDERS = 1_000


async def read(stores: Stores, facts: Sequence[Event]) -> None:
    """Write the orders that these facts tell of into the history as they are now, each once.

    A recovery tells of a thousand at once, which nobody waits for as much as shoppers wait for their carts.
    """
    restored = [order_id for fact in facts if isinstance(fact, OrdersRestored) for order_id in fact.order_ids]
    await _write(stores, [fact.order_id for fact in facts if isinstance(fact, OrderEvent)])
    await _write(stores, restored, giving_way=True)


async def _write(stores: Stores, order_ids: Sequence[int], *, giving_way: bool = False) -> None:
    ids = list(dict.fromkeys(order_ids))
    for start in range(0, len(ids), PAGE_ORDERS):
        async with stores.database.fresh() as fresh:
            entries = await history.entries(fresh, ids[start : start + PAGE_ORDERS])
        await history.keep(stores.dynamodb, entries, giving_way=giving_way)


async def rebuild(stores: Stores, progress: Progress) -> int:
    """See that every order from the first to the last is there as it is, then take out what is no order's; safe to repeat.

    What is right already is only read, which costs a fraction of writing it again.
    """
    seen, last = 0, 0
    while True:
        async with stores.database.fresh() as fresh:
            entries = await history.entries_after(fresh, last, limit=PAGE_ORDERS)
        if not entries:
            break
        kept = await _kept(stores, entries)
        await history.keep(stores.dynamodb, [entry for entry in entries if kept.get(entry.order_id) != entry])
        seen, last = seen + len(entries), entries[-1].order_id
        progress(len(entries))
    async for page in history.scan(stores.dynamodb):
        await history.forget(stores.dynamodb, await _orphans(stores, page))
    return seen


async def differences(stores: Stores) -> int:
    """How many orders the history does not show as they are, and how many it shows that are none."""
    wrong, last = 0, 0
    while True:
        async with stores.database.fresh() as fresh:
            entries = await history.entries_after(fresh, last, limit=PAGE_ORDERS)
        if not entries:
            break
        wrong += len(await lasting(await _misshown(stores, entries), lambda ids: _misshown_now(stores, ids)))
        last = entries[-1].order_id
    async for page in history.scan(stores.dynamodb):
        wrong += len(await lasting(await _orphans(stores, page), lambda keys: _orphans(stores, keys)))
    return wrong


async def _misshown(stores: Stores, entries: Sequence[Entry]) -> list[int]:
    """The ids of those entries that the history shows otherwise, or not at all."""
    kept = await _kept(stores, entries)
    # an order whose payment is under way is published once it is decided, or has to wait
    due = [entry for entry in entries if entry.status != "pending" or entry.order_id in kept]
    return [entry.order_id for entry in due if kept.get(entry.order_id) != entry]


async def _kept(stores: Stores, entries: Sequence[Entry]) -> dict[int, Entry]:
    """What the history says of these orders, by their ids."""
    keys = [Key(entry.shopper_id, entry.order_id) for entry in entries]
    return {entry.order_id: entry for entry in await history.known(stores.dynamodb, keys)}


async def _misshown_now(stores: Stores, ids: Sequence[int]) -> list[int]:
    async with stores.database.fresh() as fresh:
        entries = await history.entries(fresh, ids)
    return await _misshown(stores, entries)


async def _orphans(stores: Stores, page: Sequence[Key]) -> list[Key]:
    """Those of the keys that are no order of that shopper's."""
    async with stores.database.fresh() as fresh:
        entries = await history.entries(fresh, [key.order_id for key in page])
    there = {Key(entry.shopper_id, entry.order_id) for entry in entries}
    return [key for key in page if key not in there]
