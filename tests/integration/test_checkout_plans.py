"""Every statement that buying, settling, sweeping and taking back send: none reads a table with a past from end to end.

The statements are overheard while the real verbs run, so one that is added later is judged as well. Each is planned twice:
for the values it was sent with, and once for all values, as the server does for a statement that it has seen some times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import msgspec
import pytest

from securecart import checkout, fraud
from securecart.app import Shop
from securecart.checkout import Till
from securecart.checkout.model import Opening, Question, Settlement
from securecart.errors import OutOfStock
from securecart.fraud import Assessed, Attempt, Judgement
from securecart.payments import Charge
from securecart.settings import Settings
from securecart.stores.postgres import Database, Fresh, Transaction
from securecart.values import Line
from tests.catalog_for_tests import a_database
from tests.forced_moments import HeldGateway, a_till
from tests.orders_for_tests import a_new_order

PAST = """
    INSERT INTO product (slug, title) SELECT 'p' || n, 'P' FROM generate_series(1, 20000) AS n;
    INSERT INTO variant (sku, product_id) SELECT 'S' || n, n FROM generate_series(1, 20000) AS n;
    INSERT INTO price (sku, currency, amount_minor) SELECT 'S' || n, 'USD', 100 FROM generate_series(1, 20000) AS n;
    INSERT INTO stock (sku, location_id, received, taken)
    SELECT 'S' || n, 1, 1000, 1 FROM generate_series(1, 20000) AS n;
    INSERT INTO orders (
        number, shopper_id, idempotency_key, request_digest, cart_version, cart_change, status, email, currency, subtotal_minor,
        shipping_minor, tax_minor, tax_included, total_minor, shipping_method, shipping_address, billing_address, pending_until
    )
    SELECT
        'N' || n, 'guest:' || n % 5000, 'k' || n, '', 1, 'c' || n, CASE WHEN n % 50 = 0 THEN 'pending' ELSE 'paid' END,
        'a@example.com', 'USD', 100, 0, 0, false, 100, 'pickup', '{}', '{}',
        CASE WHEN n % 50 = 0 THEN now() + interval '1 hour' END
    FROM generate_series(1, 20000) AS n;
    INSERT INTO order_line (order_id, position, sku, title, quantity, unit_price_minor, tax_minor, total_minor)
    SELECT id, 1, 'S' || id, 'P', 1, 100, 0, 100 FROM orders;
    INSERT INTO order_change (order_id, status, note) SELECT id, 'pending', 'Order received.' FROM orders;
    INSERT INTO payment (order_id, gateway, status, currency, amount_minor)
    SELECT id, 'sandbox', CASE status WHEN 'paid' THEN 'captured' ELSE status END, 'USD', 100 FROM orders;
    INSERT INTO hold (order_id) SELECT id FROM orders;
    INSERT INTO allocation (order_id, sku, location_id, quantity) SELECT id, 'S' || id, 1, 1 FROM orders;
    INSERT INTO refund (payment_id, idempotency_key, amount_minor, reason, status) SELECT id, 'k', 1, 'r', 'done' FROM payment;
    INSERT INTO risk (order_id, verdict, judged_by) SELECT id, 'review', 'model' FROM orders;
    INSERT INTO review (order_id, due_at, outcome, decided_at) SELECT id, now(), 'released', now() FROM orders;
    INSERT INTO review (order_id, due_at) SELECT id, now() + interval '1 day' FROM orders WHERE id % 20 = 0 ON CONFLICT (order_id)
    DO UPDATE SET due_at = excluded.due_at, outcome = NULL, decided_at = NULL;
    INSERT INTO fraud_mark (order_id, is_fraud, source) SELECT id, true, 'operator' FROM orders;
    ANALYZE;
"""
LARGE = {
    *("orders", "order_line", "order_change", "payment", "refund", "hold", "allocation", "stock"),
    *("product", "variant", "price", "risk", "review", "fraud_mark"),
}
GROUP = 64
SUSPECT = Assessed(Attempt(1, "guest:1", 100, "USD"), Judgement("review", 0.4, (), "model"))


class Overheard:
    """A connection that notes what is sent over it."""

    def __init__(self, connection: Any, sent: dict[str, tuple[Any, ...]]) -> None:
        self._connection = connection
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._connection, name)
        if name not in {"execute", "fetch", "fetchrow", "fetchval"}:
            return verb

        async def send(statement: str, *arguments: Any, **more: Any) -> Any:
            known = self._sent.get(statement)
            if known is None or weight(arguments) > weight(known):
                self._sent[statement] = arguments
            return await verb(statement, *arguments, **more)

        return send


class OverheardDatabase(Database):
    """The database, and by statement the largest arguments it was sent with."""

    def __init__(self, database: Database) -> None:
        super().__init__(database._nodes)
        self.sent: dict[str, tuple[Any, ...]] = {}

    @asynccontextmanager
    async def fresh(self, *, within_s: float | None = None) -> AsyncIterator[Fresh]:
        async with super().fresh(within_s=within_s) as fresh:
            yield cast("Fresh", Overheard(fresh, self.sent))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as tx:
            yield cast("Transaction", Overheard(tx, self.sent))


def weight(arguments: tuple[Any, ...]) -> int:
    return sum(len(one) for one in arguments if isinstance(one, list | tuple))


@pytest.fixture(scope="module")
async def overheard(shop: Shop, engines: Settings) -> AsyncIterator[tuple[asyncpg.Connection, dict[str, tuple[Any, ...]]]]:
    async with a_database(engines, "plans") as database:
        owner = await asyncpg.connect(engines.postgres_owner_url, database="plans")
        await owner.execute(PAST)
        listening = OverheardDatabase(database)
        await go_shopping(a_till(shop, database=listening, gateway=HeldGateway(shop)))
        async with database.read() as read:
            yield cast("asyncpg.Connection", read), listening.sent
        await owner.close()


async def go_shopping(till: Till) -> None:
    """A full group opened, half of it paid and half declined; one refused; one repeated; one swept, cancelled, refunded."""
    await till.cost(Question(tuple(f"S{n}" for n in range(1, 25)), "US", "USD"))
    wishes = [a_new_order(*(Line(f"S{n * 7 + k}", 1) for k in range(3)), shopper_id=f"guest:{n}") for n in range(1, GROUP + 1)]
    opened = await asyncio.gather(*(till.open(Opening(wish, SUSPECT)) for wish in wishes))
    with pytest.raises(OutOfStock):
        await till.open(Opening(a_new_order(Line("S1", 999_999))))
    await till.open(Opening(wishes[0]))
    paid, declined = Charge(status="captured", id="pay_1"), Charge(status="declined", decline_reason="card_declined")
    await till.settle(Settlement(opened[0].id, paid))
    await till.settle(Settlement(opened[1].id, declined))
    async with till.database.transaction() as tx:
        await tx.execute("UPDATE orders SET pending_until = now() - interval '1 second' WHERE number = $1", wishes[2].number)
    await checkout.sweep(till)
    for place in (4, 5):
        await till.settle(Settlement(opened[place].id, Charge(status="authorised", id=f"pay_{place}")))
    async with till.database.read() as read:
        await fraud.waiting(read, after=None, limit=20)
        await fraud.risk_of(read, wishes[4].number)
    await checkout.mark(till, [wish.number for wish in wishes], is_fraud=True, said_by="ada")
    await checkout.lapse(till)
    await checkout.release(till, wishes[4].number, said_by="ada")
    await checkout.refuse(till, wishes[5].number, said_by="ada")
    await till.settle(Settlement(opened[3].id, paid))
    await checkout.release(till, wishes[0].number, said_by="ada")
    await checkout.ship(till, wishes[0].number)
    await checkout.refund(till, wishes[0].number, amount_minor=1, reason="damaged", key="k")
    await checkout.cancel(till, wishes[3].number, shopper_id=None, key="k")


async def test_no_statement_of_a_purchase_reads_a_large_table_from_end_to_end(
    overheard: tuple[asyncpg.Connection, dict[str, tuple[Any, ...]]],
) -> None:
    connection, sent = overheard
    names = {statement.split("*/")[0].strip("/* ").rpartition(".")[2]: statement for statement in sent if "/*" in statement}
    wanted = {"price_items", "rates", "lock_stock", "open_orders", "find_opened", "hold_stock", "expect_payments"}
    wanted |= {"lock_held_stock", "decide_orders", "record_charges", "sell_held", "release_held", "publish"}
    wanted |= {"keep_risks", "hold", "lapsed", "decide_review", "is_held", "name_orders", "mark"}
    assert wanted | {"overdue_orders", "lock_order", "restock_sold", "open_refund", "find_order"} <= names.keys()
    scanning = {}
    for name, statement in names.items():
        for_these, for_any = await planned(connection, statement, sent[statement]), await planned(connection, statement)
        scanning[name] = (scanned(for_these) | scanned(for_any)) & LARGE
    assert {name: tables for name, tables in scanning.items() if tables} == {}


async def planned(connection: asyncpg.Connection, statement: str, arguments: tuple[Any, ...] | None = None) -> Any:
    """The plan for these arguments, or the one for any."""
    if arguments is not None:
        return msgspec.json.decode(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments))
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE judged AS {statement}")
    try:
        count = await connection.fetchval("SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'judged'")
        values = f"({', '.join(['NULL'] * count)})" if count else ""
        return msgspec.json.decode(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE judged{values}"))
    finally:
        await connection.execute("DEALLOCATE judged; RESET plan_cache_mode")


def scanned(plan: object) -> set[str]:
    """The tables that a plan reads from end to end."""
    if isinstance(plan, list):
        return {name for part in plan for name in scanned(part)}
    if not isinstance(plan, dict):
        return set()
    own = {plan["Relation Name"]} if plan.get("Node Type") == "Seq Scan" else set()
    return own | {name for part in plan.values() for name in scanned(part)}
