"""Every order that a shopper was told of is there, once, paid; no shopper has another, and all promises are kept."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bench.harness import BenchFailed, RunningShop
from securecart import promises
from securecart.app import open_shop
from securecart.promises import Report, Told
from securecart.stores.postgres import statements_of

__all__ = ["Acknowledged", "check"]

SQL = statements_of("bench")
COUNT_S = 600.0


class Acknowledged(Struct, frozen=True, array_like=True):
    """What a shopper was told: the order's number and total in minor units."""

    shopper_id: str
    number: str
    total_minor: int


async def check(shop: RunningShop, told: Sequence[Acknowledged]) -> Report:
    """The promises' report over the whole shop; `BenchFailed` when one is broken or an order was doubled."""
    async with open_shop(shop.settings) as opened:
        heard = [Told(one.number, one.total_minor) for one in told]
        report = await promises.check(opened, told=heard)
        shoppers = list({one.shopper_id for one in told})
        async with opened.database.read() as read:
            written = await read.fetchval(SQL["orders_of_shoppers"], shoppers, timeout=COUNT_S)
    if not report.kept:
        raise BenchFailed(problem=f"a promise is broken, {report.broken()}: {'; '.join(report.examples)}")
    if not written == len(told) == report.acknowledged:
        raise BenchFailed(problem=f"shoppers were told of {len(told):,} orders, and {written:,} were written for them.")
    return report
