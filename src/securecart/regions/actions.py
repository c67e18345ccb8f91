"""Carry the decisions out, and see to what follows from them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from securecart import engines, payments, readers
from securecart import settings as settings_table
from securecart.app import Shop, open_shop
from securecart.engines import Home
from securecart.engines.replicator import replicator_plan
from securecart.errors import BadInput, OperatorError, StoreAway
from securecart.ops import global_tables
from securecart.ops import regions as ops
from securecart.ops.regions import Regions, Step
from securecart.patience import READER_ANEW, repeat
from securecart.promises import read_book
from securecart.replicator import shared_tables
from securecart.settings import Settings
from securecart.stores.postgres import statements_of
from securecart.values import Money

__all__ = ["Captured", "Equality", "compare", "fence", "give_back", "lost_captures", "move", "promote", "rejoin"]

SQL = statements_of(__package__)
LOOK_BACK = timedelta(days=1)
CAUGHT_UP_WITHIN_S, WELL_WITHIN_S, LOOK_AGAIN_S, COMPARED_TIMES = 120.0, 120.0, 0.3, 5

Tell = Callable[[str], None]


class Captured(Struct, frozen=True):
    """Money at the gateway, in minor units, under an order number that is no order's."""

    number: str
    amount_minor: int


class Equality(Struct, frozen=True):
    """What two regions do not have alike: by table of the orders database and of DynamoDB, and by reader."""

    equal: bool
    database: dict[str, str]
    tables: dict[str, int]
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
    await _wait_until_well(ops.home_of(home, name))
    caught_up_s = await global_tables.caught_up(replicator_url(home), within_s=CAUGHT_UP_WITHIN_S)
    tell(f"Carts and sessions of both regions are brought together ({caught_up_s:.1f} s).")
    await take_up(home, name, [reader.name for reader in readers.READERS], tell)


async def take_up(home: Home, name: str, which: Sequence[str], tell: Tell) -> None:
    """Make the work of these readers of a region anew."""
    async with open_shop(_settings(home, name)) as shop:
        done = await asyncio.gather(*(repeat(READER_ANEW, StoreAway, _anew(shop, reader)) for reader in which))
    for reader, count in zip(which, done, strict=True):
        tell(f"Region {name}: the reader {reader} has made its work anew, {count:,} written.")


def _anew(shop: Shop, reader: str) -> Callable[[], Awaitable[int]]:
    return lambda: readers.rebuild(shop.stores, reader, lambda _: None)


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
    tables = await _compare_tables(home, here.dynamodb_prefix)
    return Equality(not (different or tables or any(projections.values())), different, tables, projections)


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


async def _compare_tables(home: Home, prefix: str) -> dict[str, int]:
    """How many items of each shared table differ, looked at again while some are on their way."""
    differences: Counter[str] = Counter()
    for _ in range(COMPARED_TIMES):
        await global_tables.caught_up(replicator_url(home), within_s=CAUGHT_UP_WITHIN_S)
        found = await global_tables.compare_urls(replicator_plan(home).urls, shared_tables(prefix))
        differences = Counter(one.table for one in found)
        if not found:
            break
    return dict(differences)


async def _wait_until_well(home: Home) -> None:
    """Return once every engine of the region answers; `OperatorError` when one does not in time."""
    deadline = time.monotonic() + WELL_WITHIN_S
    while not (seen := await engines.observe(home)).healthy:
        if time.monotonic() > deadline:
            names = ", ".join(engine.name for engine in seen.engines if not engine.healthy)
            raise OperatorError(problem=f"{names} in {home.path} is not well; see its log there, then repeat this.")
        await asyncio.sleep(LOOK_AGAIN_S)


def replicator_url(home: Home) -> str:
    """Where the replicator of the global tables tells how it is."""
    return f"http://127.0.0.1:{replicator_plan(home).port}"


async def _change(home: Home, decide: Callable[[Regions], list[Step]], tell: Tell) -> None:
    for step in decide(await ops.observe(home)):
        tell(await ops.carry_out(home, step))


def _settings(home: Home, name: str) -> Settings:
    return settings_table.load(str(ops.home_of(home, name).path))
