"""The raw ceiling of buying: the shop's own grouped transactions, called with no HTTP, gateway or DynamoDB around them.

They write into a schema of their own, a copy of the orders database's tables that exists only meanwhile: no event
reader has to carry what is written there, and nothing of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from bench.harness import Options, RunningShop
from bench.load import Caller, Plan, Unexpected
from securecart import inventory, migrations
from securecart.checkout import together
from securecart.checkout.model import Opening, Settlement
from securecart.errors import DataMissing
from securecart.grouping import Grouped
from securecart.inventory import Receipt
from securecart.orders import Decided, NewOrder, Opened, OrderLine, new_number
from securecart.payments import Charge
from securecart.stores import postgres
from securecart.values import Address, Money

__all__ = ["LINES", "SCHEMA", "buy_bare", "ceiling_plan", "copied_tables"]

SCHEMA = "bench_ceiling"
SKUS = [f"BENCH-{number:05}" for number in range(10_000)]
UNITS_PLENTY = 10_000_000
LINES = 3
CALLERS = 64
POOL = 4
PRICE_MINOR = 100
ADDRESS = Address(name="Bench", line1="1 Main Street", city="Springfield", postcode="12345", country="US")


def ceiling_plan(shop: RunningShop, options: Options, *, hot: bool, group_most: int, callers: int = CALLERS) -> Plan:
    """Orders of three lines each spread over ten thousand SKUs, or `hot`: of one line, all of the same SKU."""
    arguments = {
        "url": _within(shop.settings.postgres_url),
        "skus": SKUS[:1] if hot else SKUS,
        "lines": 1 if hot else LINES,
        "group_most": group_most,
        "callers": callers,
    }
    return Plan("bench.ceiling:buy_bare", 1, options.warm_up_s, options.seconds, arguments)


async def buy_bare(caller: Caller) -> None:
    """All callers, in one process as they are in a web process: each opens and settles one order after the other."""
    given = caller.arguments
    database = await postgres.connect(given["url"], pool_size=POOL)
    most = given["group_most"]
    open_order: Grouped[Opening, Opened] = Grouped(functools.partial(together.open_all, database, "bench"), most=most)
    settle: Grouped[Settlement, Decided | None] = Grouped(functools.partial(together.settle_all, database, ""), most=most)
    chance = random.Random(1)

    async def buy_on() -> None:
        while caller.running:
            order = _order(chance.sample(given["skus"], given["lines"]))
            began = time.perf_counter_ns()
            opened = await open_order(Opening(order))
            decided = await settle(Settlement(opened.id, Charge(status="captured", id="bench")))
            caller.record("order", began)
            if decided is None or decided.status != "paid":
                raise Unexpected(f"The bare order {order.number} should be paid, and is {decided}.")

    try:
        async with asyncio.TaskGroup() as callers:
            for _ in range(given["callers"]):
                callers.create_task(buy_on())
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def copied_tables(shop: RunningShop) -> AsyncIterator[None]:
    """Empty tables of the orders database in a schema of their own, with stock to sell, for as long as the block runs."""
    owner_url = shop.settings.postgres_owner_url
    if not owner_url:
        raise DataMissing(problem="The raw ceiling needs the owner of the orders database: set SECURECART_POSTGRES_OWNER_URL.")
    await _run(owner_url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    try:
        await migrations.apply(_within(owner_url))
        await _run(_within(owner_url), *_finish(await _role_of(shop.settings.postgres_url)))
        database = await postgres.connect(_within(shop.settings.postgres_url), pool_size=1)
        try:
            async with database.transaction() as tx:
                await inventory.receive(tx, [Receipt(sku, UNITS_PLENTY) for sku in SKUS])
        finally:
            await database.close()
        yield
    finally:
        await _run(owner_url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def _finish(role: str) -> list[str]:
    """The shop's role may use the tables, and nobody who reads the real event log is woken."""
    body = "BEGIN PERFORM pg_notify('bench', ''); RETURN NULL; END"
    return [
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {role}",
        f"CREATE OR REPLACE FUNCTION knock_at_readers() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
    ]


def _within(url: str) -> str:
    """The same database, seen from inside the schema."""
    return f"{url}{'&' if '?' in url else '?'}search_path={SCHEMA},public"


async def _run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _role_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        role: str = await connection.fetchval("SELECT quote_ident(current_user)")
    finally:
        await connection.close()
    return role


def _order(skus: list[str]) -> NewOrder:
    price, nothing = Money(PRICE_MINOR, "USD"), Money(0, "USD")
    total = PRICE_MINOR * len(skus)
    rest: dict[str, Any] = {
        "lines": tuple(OrderLine(sku, f"Product {sku}", 1, price, nothing, price) for sku in skus),
        "pending_until": datetime.now(UTC) + timedelta(hours=1),
    }
    return NewOrder(
        number=new_number(),
        shopper_id=f"guest:{secrets.token_hex(8)}",
        idempotency_key=secrets.token_hex(16),
        request_digest=b"",
        cart_version=1,
        cart_change=secrets.token_hex(8),
        email="bench@example.com",
        currency="USD",
        subtotal_minor=total,
        shipping_minor=0,
        tax_minor=0,
        tax_included=False,
        total_minor=total,
        shipping_method="pickup",
        shipping_address=ADDRESS,
        billing_address=ADDRESS,
        **rest,
    )
