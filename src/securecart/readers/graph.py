"""The reader that teaches the graph what orders were linked to, what became of them and which were fraud.

What is taught is the order's state at the moment of reading, never what the fact says. The graph is one for all regions, and so
is this reader: it alone writes there, and works out counts from what it finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from securecart import fraud
from securecart.events import AccountMade, Event, OrderEvent, OrdersRestored, OrderWaits
from securecart.fraud import Lesson
from securecart.readers.looking import lasting
from securecart.readers.model import Progress, Stores

__all__ = ["differences", "read", "rebuild"]

PAGE = 1_000
NOBODY = UUID(int=0)


async def read(stores: Stores, facts: Sequence[Event]) -> None:
    """Teach the orders and accounts that these facts tell of as they are now, each once."""
    ids = [fact.order_id for fact in facts if isinstance(fact, OrderEvent) and not isinstance(fact, OrderWaits)]
    ids += [order_id for fact in facts if isinstance(fact, OrdersRestored) for order_id in fact.order_ids]
    made = [UUID(fact.account_id) for fact in facts if isinstance(fact, AccountMade)]
    ids, made = list(dict.fromkeys(ids)), list(dict.fromkeys(made))
    async with stores.database.fresh() as fresh:
        accounts = await fraud.new_accounts(fresh, made)
    await fraud.teach(stores.graph, [], accounts)
    for start in range(0, len(ids), PAGE):
        async with stores.database.fresh() as fresh:
            lessons = await fraud.lessons(fresh, ids[start : start + PAGE])
        await fraud.teach(stores.graph, lessons)


async def rebuild(stores: Stores, progress: Progress) -> int:
    """Forget everything and teach all accounts and orders anew; until that is done, orders are judged by less.

    Counts cannot be mended one by one, since an order that is known is not counted again.
    """
    await fraud.forget_all(stores.graph)
    last, seen, after = NOBODY, 0, 0
    while True:
        async with stores.database.fresh() as fresh:
            accounts, last = await fraud.new_accounts_after(fresh, last, limit=PAGE)
        if not accounts:
            break
        await fraud.teach(stores.graph, [], accounts)
    while True:
        async with stores.database.fresh() as fresh:
            lessons = await fraud.lessons_after(fresh, after, limit=PAGE)
        if not lessons:
            break
        await fraud.teach(stores.graph, lessons)
        seen, after = seen + len(lessons), lessons[-1].order_id
        progress(len(lessons))
    return seen


async def differences(stores: Stores) -> int:
    """How many orders the graph shows otherwise than they are, or not at all, and how many it shows that are none."""
    wrong, after = 0, 0
    while True:
        async with stores.database.fresh() as fresh:
            lessons = await fraud.lessons_after(fresh, after, limit=PAGE)
        if not lessons:
            break
        suspects = [lesson.order_id for lesson in await _misshown(stores, lessons)]
        wrong += len(await lasting(suspects, lambda ids: _misshown_now(stores, ids)))
        after = lessons[-1].order_id
    after = 0
    while True:
        shown = await fraud.orders_after(stores.graph, after, limit=PAGE)
        if not shown:
            break
        wrong += len(await lasting(await _orphans(stores, list(shown)), lambda ids: _orphans(stores, ids)))
        after = max(shown)
    return wrong


async def _misshown(stores: Stores, lessons: Sequence[Lesson]) -> list[Lesson]:
    known = await fraud.taught(stores.graph, [lesson.number for lesson in lessons])
    return [lesson for lesson in lessons if known.get(lesson.number) != fraud.Taught.of(lesson)]


async def _misshown_now(stores: Stores, ids: Sequence[int]) -> list[int]:
    async with stores.database.fresh() as fresh:
        lessons = await fraud.lessons(fresh, ids)
    return [lesson.order_id for lesson in await _misshown(stores, lessons)]


async def _orphans(stores: Stores, ids: Sequence[int]) -> list[int]:
    """Those of the ids that are no decided order's."""
    async with stores.database.fresh() as fresh:
        there = {lesson.order_id for lesson in await fraud.lessons(fresh, ids)}
    return [order_id for order_id in ids if order_id not in there]
