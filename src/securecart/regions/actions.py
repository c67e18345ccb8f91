"""Carry the decisions out, and see to what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from securecart import payments, readers
from securecart import settings as settings_table
from securecart.app import open_shop
from securecart.engines import Home
from securecart.errors import BadInput
from securecart.ops import regions as ops
from securecart.ops.regions import Regions, Step
from securecart.promises import read_book
from securecart.settings import Settings
from securecart.stores.postgres import statements_of
from securecart.values import Money

__all__ = ["Captured", "Equality", "compare", "fence", "give_back", "lost_captures", "move", "promote", "rejoin"]

SQL = statements_of(__package__)
LOOK_BACK = timedelta(days=1)

Tell = Callable[[str], None]


class Captured(Struct, frozen=True):
    """Money at the gateway, in minor units, under an order number that is no order's."""

    number: str
    amount_minor: int


class Equality(Struct, frozen=True):
    """What two regions do not have alike, by table of the orders database, of DynamoDB, and by reader."""

    equal: bool
    database: dict[str, str]
    projections: dict[str, int]


async def promote(home: Home, name: str, tell: Tell, *, accept_loss: bool = False) -> None:
    """Have the region take the writes, the other one being lost; `OperatorError` says why not and what to do first."""
    await _change(home, lambda seen: ops.to_promote(seen, name, accept_loss=accept_loss), tell)
    await take_up(home, name, ["carts"], tell)  # those that the other region sold and had no time to empty


async def move(home: Home, name: str, tell: Tell) -> None:
    """Hand the writes over to the region without losing any; `OperatorError`."""
    await _change(home, lambda seen: ops.to_move(seen, name), tell)


async def fence(home: Home, name: str, tell: Tell) -> None:
    """Make sure that the region takes no writes, now and when it comes back; `OperatorError`."""
    await _change(home, lambda seen: ops.to_fence(seen, name), tell)


async def rejoin(home: Home, name: str, tell: Tell) -> None:
    """Bring the region back as the other's follower, and write anew what its readers keep; `OperatorError`, `StoreAway`.

    What it alone had was lost with it: its database is brought in line with the other's, its cache is emptied, its histories
    and carts are made anew from the orders.
    """
    await _change(home, lambda seen: ops.to_return(seen, name), tell)
    await take_up(home, name, [reader.name for reader in readers.READERS], tell)


async def take_up(home: Home, name: str, which: Sequence[str], tell: Tell) -> None:
    """Make the work of these readers of a region anew."""
    async with open_shop(_settings(home, name)) as shop:
        for reader in which:
            done = await readers.rebuild(shop.stores, reader, lambda _: None)
            tell(f"Region {name}: the reader {reader} has made its work anew, {done:,} written.")


async def compare(home: Home) -> Equality:
    """Hold the regions against each other: the orders databases row by row, and what the readers of each show."""
    names = [region.name for region in (await ops.observe(home)).regions]
    here, there = (_settings(home, name) for name in names)
    different = await ops.compare_databases(here.region_postgres_url, there.region_postgres_url)
    projections: dict[str, int] = {}
    for one in (here, there):
        async with open_shop(one) as shop:
            await readers.catch_up(shop.stores)
            projections |= await readers.differences(shop.stores)
    return Equality(not different and not any(projections.values()), different, projections)


async def lost_captures(loaded: Settings) -> list[Captured]:
    """What the sandbox gateway holds for orders that are not there: they were lost with a region, or are being opened now.

    An order is always written before its money is taken, so one that is not there any more will not come.
    """
    book = await read_book(loaded)
    held = {
        number: amount - refunded
        for number, status, amount, refunded in zip(*book.columns, strict=True)
        if status == "captured" and amount > refunded
    }
    async with open_shop(loaded) as shop, shop.database.fresh() as fresh:
        unknown = await fresh.fetch(SQL["unknown_orders"], list(held))
    return [Captured(row["number"], held[row["number"]]) for row in unknown]


async def give_back(loaded: Settings, lost: Sequence[Captured]) -> int:
    """Return this money to its buyers, each once however often it is asked; says how many had any left."""
    gateway, done = payments.connect(loaded), 0
    try:
        for one in lost:
            charge = await gateway.look(one.number, Money(one.amount_minor, loaded.currency), since=datetime.now(UTC) - LOOK_BACK)
            if charge.id:
                with suppress(BadInput):  # somebody else gave it back meanwhile
                    reason = "the order was lost with its region"
                    await gateway.refund(charge.id, one.amount_minor, reason=reason, key=f"lost-{one.number}")
                    done += 1
    finally:
        await gateway.close()
    return done


async def _change(home: Home, decide: Callable[[Regions], list[Step]], tell: Tell) -> None:
    for step in decide(await ops.observe(home)):
        tell(await ops.carry_out(home, step))


def _settings(home: Home, name: str) -> Settings:
    return settings_table.load(str(ops.home_of(home, name).path))
