"""Every order that a shopper was told of is there, once, paid; no shopper has another, and all promises are kept."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from bench.harness import BenchFailed, RunningShop
from securecart import promises
from securecart.app import open_shop
from securecart.promises import Report, Told
from securecart.stores.postgres import statements_of

__all__ = ["Acknowledged", "check", "report_on"]

SQL = statements_of("bench")
COUNT_S = 600.0


class Acknowledged(Struct, frozen=True, array_like=True):
    """What a shopper was told: the order's number and total in minor units."""

    shopper_id: str
    number: str
    total_minor: int


async def check(shop: RunningShop, told: Sequence[Acknowledged]) -> Report:
    """The promises' report over the whole shop; `BenchFailed` when one is broken or an order was doubled."""
    report = await report_on(shop, told)
    if not report.kept:
        raise BenchFailed(problem=f"a promise is broken, {report.broken()}: {'; '.join(report.examples)}")
    return report


async def report_on(
    shop: RunningShop, told: Sequence[Acknowledged], *, projections: bool = False, unheard_max: int = 0
) -> Report:
    """The promises' report; `BenchFailed` when shoppers have fewer orders than they were told of, or more.

    `unheard_max` more are no fault where the buying ended before every answer was heard.
    """
    async with open_shop(shop.settings) as opened:
        heard = [Told(one.number, one.total_minor) for one in told]
        report = await promises.check(opened, told=heard, projections=projections)
        shoppers = list({one.shopper_id for one in told})
        async with opened.database.read() as read:
            written = await read.fetchval(SQL["orders_of_shoppers"], shoppers, timeout=COUNT_S)
    if report.acknowledged != len(told) or not 0 <= written - len(told) <= unheard_max:
        raise BenchFailed(problem=f"shoppers were told of {len(told):,} orders, and {written:,} were written for them.")
    return report
