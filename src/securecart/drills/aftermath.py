"""After the deed: let the sweeper finish, then hold the databases against everything that shoppers were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from securecart.app import Shop
from securecart.drills.crowd import Crowd
from securecart.drills.goods import Goods
from securecart.errors import DrillFailed, StoreAway
from securecart.promises import Report, Told, check
from securecart.stores.postgres import one, statements_of

__all__ = ["BACK_WITHIN_S", "LOOK_AGAIN_S", "first_of", "patiently", "take_stock"]

T = TypeVar("T")

SQL = statements_of(__package__)
BACK_WITHIN_S = 60.0
LOOK_AGAIN_S = 0.1
# beyond the time that a payment nobody heard of is waited for; an open refund is asked about after half a minute
SWEPT_WITHIN_S = 45.0


class Unfinished(Struct, frozen=True):
    """What the sweeper has still to do."""

    orders: int
    decisions: int


async def take_stock(
    shop: Shop, crowd: Crowd, goods: Goods, *, last: bool, projections: bool = True, also: Sequence[Told] = ()
) -> Report:
    """Let the sweeper finish, then check every promise with all that was acknowledged so far, to others `also`.

    Unless it is the `last` check, decisions about money may be left under way. `DrillFailed` when a store stays away.
    """
    swept = await _wait_for_sweeper(shop, decisions_too=last)
    await crowd.ask_about_pending()
    at_rest = last or not swept
    return await patiently(
        lambda: check(shop, told=[*crowd.told, *also], received=goods.received, at_rest=at_rest, projections=projections)
    )


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, waited for through breaks: the engines come back under us too. `DrillFailed` when one stays away."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while True:
        try:
            return await ask()
        except StoreAway as away:
            if time.monotonic() > deadline:
                raise DrillFailed(why=away.message) from away
        await asyncio.sleep(LOOK_AGAIN_S)


def first_of(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the others."""
    first = several.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _wait_for_sweeper(shop: Shop, *, decisions_too: bool) -> bool:
    """Whether no order (and with `decisions_too` no refund either) is left under way before the time for it is over."""
    deadline = time.monotonic() + shop.settings.reservation_seconds + SWEPT_WITHIN_S
    while time.monotonic() < deadline:
        left = await patiently(lambda: _unfinished(shop))
        if not left.orders and not (decisions_too and left.decisions):
            return True
        await asyncio.sleep(LOOK_AGAIN_S)
    return False


async def _unfinished(shop: Shop) -> Unfinished:
    async with shop.database.fresh() as fresh:
        found = await one(fresh, SQL["unfinished"], Unfinished)
    assert found is not None, "counts have one row"
    return found
