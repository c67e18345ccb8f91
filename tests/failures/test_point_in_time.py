"""Shoppers buy without a break, and the database is restored to random moments of that: each holds what was acknowledged by then.

Nothing that was acknowledged is missing, nothing that was only sent later is there, and what is there is what the buyer was
told, to the cent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from msgspec import Struct

from securecart.app import Shop
from securecart.engines.postgres_roles import ARCHIVER
from securecart.errors import GatewayAway, StoreAway
from securecart.ops.recovery.archiving import Archiver
from securecart.ops.recovery.backing_up import Backups
from securecart.ops.recovery.going_back import held_at
from securecart.ops.recovery.model import Moment
from securecart.ops.recovery.sites import site_of
from securecart.orders import Order
from securecart.settings import Settings
from tests.orders_for_tests import a_product
from tests.shopping import a_buyer, buy

BUYERS = 8
BUY_FOR_S, BUY_FOR_S_MAX = 3.0, 30.0
ORDERS_MIN = 60
MOMENTS = 12
SEED = "SECURECART_TEST_SEED"

ORDERS = """
SELECT number, status, total_minor,
       (SELECT array_agg(sku || ' x ' || quantity ORDER BY position) FROM order_line WHERE order_id = orders.id) AS lines,
       (SELECT status FROM payment WHERE order_id = orders.id) AS payment
FROM orders
WHERE number = ANY ($1)
"""
TAKEN = "SELECT taken FROM stock WHERE sku = $1"
ORDERED = "SELECT coalesce(sum(quantity), 0) FROM order_line WHERE sku = $1"


class Bought(Struct):
    """An order as its buyer knows it: when it was sent, when it was acknowledged, and what was said."""

    sent: datetime
    acknowledged: datetime
    order: Order


def now() -> datetime:
    return datetime.now(UTC)


async def keep_buying(shop: Shop, sku: str, bought: list[Bought]) -> None:
    began = now()
    while (elapsed := (now() - began).total_seconds()) < BUY_FOR_S or (len(bought) < ORDERS_MIN and elapsed < BUY_FOR_S_MAX):
        with contextlib.suppress(StoreAway, GatewayAway):  # a machine that is very busy; nothing was acknowledged
            shopper = await a_buyer(shop, sku, random.randint(1, 3))
            sent = now()
            order = await buy(shop, shopper)
            bought.append(Bought(sent, now(), order))


@asynccontextmanager
async def archived(settings: Settings) -> AsyncIterator[Backups]:
    """The archiver at work on the running database; its slot goes with it."""
    archiver = Archiver(site_of(settings))
    backups = Backups(archiver)
    stopping = asyncio.Event()
    working = asyncio.create_task(archiver.run(stopping))
    try:
        yield backups
    finally:
        stopping.set()
        await working
        admin = await archiver.nodes.admin()
        await admin.execute("SELECT pg_drop_replication_slot($1)", ARCHIVER)
        await admin.close()
        for nodes in (archiver.nodes, backups._taker.nodes):
            nodes.forget()


def moments_of(bought: list[Bought], chance: random.Random) -> list[datetime]:
    """Moments in rising order: any, and those in which something was just acknowledged or just sent."""
    first, last = bought[0].sent, max(one.acknowledged for one in bought)
    any_time = [first + chance.random() * (last - first) for _ in range(MOMENTS // 3)]
    acknowledged = [one.acknowledged for one in chance.sample(bought, MOMENTS // 3)]
    sent = [one.sent - timedelta(microseconds=1) for one in chance.sample(bought, MOMENTS // 3)]
    return sorted([*any_time, *acknowledged, *sent])


def as_told(order: Order) -> tuple[Any, ...]:
    assert order.payment is not None
    return (
        order.number,
        order.status,
        order.total.amount_minor,
        [f"{line.sku} x {line.quantity}" for line in order.lines],
        order.payment.status,
    )


async def differences(url: str, sku: str, bought: list[Bought], at: datetime) -> list[str]:
    """What is wrong with the database as it was at this moment."""
    connection = await asyncpg.connect(url)
    try:
        there = {row["number"]: row for row in await connection.fetch(ORDERS, [one.order.number for one in bought])}
        taken, ordered = await connection.fetchval(TAKEN, sku), await connection.fetchval(ORDERED, sku)
    finally:
        await connection.close()
    wrong = []
    for one in bought:
        row = there.get(one.order.number)
        if one.acknowledged <= at and (row is None or tuple(row) != as_told(one.order)):
            wrong.append(f"acknowledged at {one.acknowledged}: {as_told(one.order)}, and there is {row}")
        if one.sent > at and row is not None:
            wrong.append(f"sent at {one.sent}, and there is {row}")
    if taken != ordered:
        wrong.append(f"{taken} units are taken, and the orders have {ordered}")
    return wrong


async def test_every_moment_holds_what_was_acknowledged_by_then_and_nothing_later(shop: Shop, engines: Settings) -> None:
    seed = int(os.environ.get(SEED, secrets.randbelow(10**6)))
    sku = await a_product(shop.database, stock=100_000)
    bought: list[Bought] = []
    async with archived(engines) as backups:
        await backups.now(full=True, tell=lambda _: None)
        await asyncio.gather(*(keep_buying(shop, sku, bought) for _ in range(BUYERS)))
        assert len(bought) >= ORDERS_MIN, "a machine that is too busy for this test"
        bought.sort(key=lambda one: one.sent)
        first, *later = moments_of(bought, random.Random(seed))
        wrong = {}
        async with held_at(site_of(engines), Moment(at=first)) as held:
            wrong[first] = await differences(held.url(), sku, bought, first)
            for moment in later:
                await held.go_on_to(Moment(at=moment))
                wrong[moment] = await differences(held.url(), sku, bought, moment)
    found = [f"at {moment}: {one}" for moment, several in wrong.items() for one in several]
    assert not found, f"{SEED}={seed}"
