"""Accidents in a shop's database, undone from a real archive: what was lost comes back, what was done since stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from securecart import catalog, inventory, migrations, promises, undo
from securecart.catalog import SearchQuery
from securecart.checkout import together
from securecart.checkout.model import Opening, Settlement
from securecart.errors import BadInput, RecoveryRefused
from securecart.inventory import Receipt
from securecart.ops.recovery.model import Moment, Site
from securecart.ops.recovery.schema import read_shape
from securecart.orders import NewOrder, Opened
from securecart.payments import Charge
from securecart.stores import cache, postgres
from securecart.stores.postgres import Database, Fresh, Read
from securecart.undo import Ask, Preview, Report
from securecart.undo.rows import _keys_where
from securecart.values import Line
from tests.archived_servers import ArchivedServer, archived_server
from tests.catalog_for_tests import products
from tests.orders_for_tests import a_new_order

SKU = "KIT-1"
ORDER_TABLES = {
    "orders": "id",
    "order_line": "order_id",
    "order_change": "order_id",
    "allocation": "order_id",
    "payment": "order_id",
}


class Scene:
    """A shop's database, a base backup of it, and an operator's hand on it."""

    def __init__(self, server: ArchivedServer, site: Site, database: Database, owner: asyncpg.Connection) -> None:
        self.server = server
        self.site = site
        self.database = database
        self.owner = owner

    async def buy(self, count: int = 1, *, key: str | None = None, pending: bool = False) -> list[NewOrder]:
        """Orders of two pieces each, opened and paid as the shop does it."""
        wanted = [a_new_order(Line(SKU, 2), key=key) for _ in range(count)]
        opened = [
            one
            for one in await together.open_all(self.database, "test", [Opening(one) for one in wanted])
            if isinstance(one, Opened)
        ]
        assert all(one.fresh for one in opened)
        if not pending:
            paid = Charge(status="captured", id="test")
            await together.settle_all(self.database, "", [Settlement(one.id, paid) for one in opened])
        return wanted

    async def at(self, *statements: str) -> int:
        """What an operator does in one transaction, and that transaction's number."""
        async with self.owner.transaction():
            for statement in statements:
                await self.owner.execute(statement)
            return int(await self.owner.fetchval("SELECT pg_current_xact_id()::text::bigint"))

    async def undo(self, at: Moment | int, *, yes: bool = True, **ask: Any) -> Report:
        await self.server.ship()
        moment = at if isinstance(at, Moment) else Moment(xid=at, before=True)
        return await undo.bring_back(self.site, Ask(moment, **ask), carry_out=yes, tell=lambda _: None)

    async def preview(self, at: Moment) -> Preview:
        await self.server.ship()
        return await undo.preview(self.site, at, (), tell=lambda _: None)

    async def orders(self, numbers: Iterable[str]) -> list[str]:
        """These orders with all that hangs on them, as text."""
        ids = await self.owner.fetchval("SELECT array_agg(id) FROM orders WHERE number = ANY ($1)", list(numbers)) or []
        found: list[str] = []
        for table, column in {**ORDER_TABLES, "hold": "order_id"}.items():
            rows = await self.owner.fetch(f"SELECT t::text FROM {table} AS t WHERE {column} = ANY ($1) ORDER BY 1", ids)
            found += [f"{table} {row[0]}" for row in rows]
        return found

    async def stock(self) -> tuple[int, int]:
        """Of the SKU that everybody buys: received and taken."""
        row = await self.owner.fetchrow("SELECT received, taken FROM stock WHERE sku = $1", SKU)
        assert row is not None
        return row["received"], row["taken"]

    async def broken(self) -> dict[str, set[str]]:
        """What the promises' checker finds, by promise."""
        found: dict[str, set[str]] = {}
        for one in await promises.look(Fresh(Read(self.owner))):  # type: ignore[arg-type]  # not from a pool
            found.setdefault(one.promise, set()).add(one.key)
        return found

    async def facts(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.owner.fetch("SELECT body::text FROM event WHERE body ->> 'kind' = $1 ORDER BY xid, id", kind)
        return [json.loads(row[0]) for row in rows]


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with archived_server(tmp_path_factory.mktemp("rows") / "home") as server:
        settings = msgspec.structs.replace(server.site.settings, **server.connections())
        await migrations.apply(settings.postgres_owner_url)
        owner = await asyncpg.connect(settings.postgres_owner_url)
        database, away = await postgres.connect(settings.postgres_url, pool_size=2), cache.connect("redis://127.0.0.1:9/0")
        await catalog.import_products(database, away, products(40))
        await away.close()
        async with database.transaction() as tx:
            await inventory.receive(tx, [Receipt(f"KIT-{number}", 1000) for number in range(1, 41)])
        await server.back_up()
        yield Scene(server, msgspec.structs.replace(server.site, settings=settings), database, owner)
        await database.close()
        await owner.close()


async def soon() -> Moment:
    """A moment that everything so far lies before, and everything that follows after."""
    await asyncio.sleep(0.02)
    moment = Moment(at=datetime.now(UTC))
    await asyncio.sleep(0.02)
    return moment


def numbers_of(orders: Sequence[NewOrder]) -> list[str]:
    return [order.number for order in orders]


def listed(numbers: Iterable[str]) -> str:
    return ", ".join(f"'{number}'" for number in numbers)


async def test_deleted_orders_come_back_whole_while_the_shop_sells_on(scene: Scene) -> None:
    kept, doubled = await scene.buy(2), await scene.buy(key="once")
    lost, pending = await scene.buy(20), await scene.buy(pending=True)
    since = await soon()
    later = await scene.buy()  # newer than the moment, and lost too
    gone = numbers_of([*doubled, *lost, *pending, *later])
    before = await scene.orders([number for number in gone if number != doubled[0].number])
    xid = await scene.at(f"DELETE FROM orders WHERE number IN ({listed(gone)})")
    again = await scene.buy(key="once")  # its buyer had no answer, and bought once more
    await scene.at(f"UPDATE orders SET email = 'new@example.com' WHERE number = '{kept[0].number}'")

    looked = await scene.undo(since, yes=False)
    assert looked.accident.transaction is not None
    assert (looked.accident.transaction.xid, looked.carried_out) == (xid, False)
    assert (looked.rows, await scene.orders(gone)) == (len(before), [])
    assert {part.table: part.written for part in looked.tables} == {
        "orders": 22, "order_line": 22, "allocation": 22, "payment": 22, "hold": 1, "order_change": 43,
    }  # fmt: skip
    assert looked.conflicts[0].table == "orders"
    assert "its shopper_id, idempotency_key belongs to orders" in looked.conflicts[0].why
    assert looked.conflicts_in_all == 6
    assert "recoveries.jsonl" not in [path.name for path in (scene.site.home.path / "logs").iterdir()]

    done = await scene.undo(since)
    assert (done.carried_out, done.rows, done.conflicts_in_all, done.told.orders) == (True, len(before), 6, 22)
    assert await scene.orders(gone) == before
    assert len(await scene.orders(numbers_of(again))) == len(before) // 22
    assert (await scene.owner.fetchval("SELECT email FROM orders WHERE number = $1", kept[0].number)) == "new@example.com"
    # what is left of the doubled order is its stock, and the report says so
    assert await scene.broken() == {"stock_odd": {f"{SKU} at 1"}}
    assert [SKU in what for what in done.still_wrong] == [True]
    restored = {number for fact in await scene.facts("orders_restored") for number in fact["order_ids"]}
    ids = await scene.owner.fetch("SELECT id FROM orders WHERE number = ANY ($1)", gone)
    assert restored == {row["id"] for row in ids}
    (line,) = (scene.site.home.path / "logs" / "recoveries.jsonl").read_text().splitlines()
    assert json.loads(line)["report"]["rows"] == done.rows
    # the sweeper asks about the pending one as about any other
    paid = Settlement(max(restored), Charge(status="captured", id="test"))
    held = await scene.owner.fetchval("SELECT id FROM orders WHERE number = $1", pending[0].number)
    await together.settle_all(scene.database, "", [msgspec.structs.replace(paid, order_id=held)])
    assert await scene.owner.fetchval("SELECT status FROM orders WHERE id = $1", held) == "paid"
    assert set(await scene.broken()) == {"stock_odd"}

    twice = await scene.undo(since)
    assert (twice.rows, twice.accident.transaction) == (0, done.accident.transaction)
    with pytest.raises(RecoveryRefused, match="Nothing was deleted or changed in refund by any transaction since"):
        await scene.undo(since, tables=("refund",))
    await scene.at(f"UPDATE stock SET taken = taken - 2 WHERE sku = '{SKU}'")
    assert await scene.broken() == {}


async def test_prices_are_put_back_but_for_those_changed_on_purpose_and_search_follows(scene: Scene) -> None:
    prices = "SELECT sku, currency, amount_minor FROM price ORDER BY sku, currency"
    before = [tuple(row) for row in await scene.owner.fetch(prices)]
    xid = await scene.at("UPDATE price SET amount_minor = 0", "DELETE FROM product WHERE slug IN ('kitchen-3', 'kitchen-4')")
    await scene.at("UPDATE price SET amount_minor = 777 WHERE sku = 'KIT-5' AND currency = 'USD' OR sku = 'KIT-6'")
    done = await scene.undo(xid)
    on_purpose = {one[:2] for one in before if one[:2] == ("KIT-5", "USD") or one[0] == "KIT-6"}
    assert [tuple(row) for row in await scene.owner.fetch(prices)] == [
        (*one[:2], 777) if one[:2] in on_purpose else one for one in before
    ]
    assert {(one.table, one.key) for one in done.conflicts} == {("price", key) for key in on_purpose}
    assert (done.told.products, done.told.shelves) == (40, 4)  # two came back, and two are shown with other prices
    told = {slug for fact in await scene.facts("products_changed") for slug in fact["slugs"]}
    # of kitchen-6 nothing came back, but its page shows the accident until somebody tells
    assert {"kitchen-3", "kitchen-4", "kitchen-5", "kitchen-6"} <= told
    shown = await scene.owner.fetch("SELECT slug, prices ->> 'USD' AS usd FROM shelf JOIN product ON id = product_id")
    assert len(shown) == 40
    assert {row["slug"]: row["usd"] for row in shown}["kitchen-5"] == "777"
    assert not await scene.owner.fetch("SELECT FROM shelf_stale")
    away = cache.connect("redis://127.0.0.1:9/0")
    found = await catalog.search(scene.database, away, SearchQuery(text="no 3"))
    await away.close()
    assert "kitchen-3" in {card.slug for card in found.items}
    left = await scene.owner.fetch(
        "SELECT product_id, currency, amount_minor FROM shelf_price "
        "EXCEPT SELECT product_id, key, value::bigint FROM shelf, jsonb_each_text(prices)"
    )
    assert left == []


async def test_shelves_alone_are_made_anew_from_the_catalogue(scene: Scene) -> None:
    shown = "SELECT product_id, prices::text FROM shelf ORDER BY product_id"
    before = [tuple(row) for row in await scene.owner.fetch(shown)]
    xid = await scene.at("DELETE FROM shelf WHERE product_id % 2 = 0", "UPDATE shelf SET prices = '{}' WHERE product_id = 1")
    done = await scene.undo(xid)
    assert (done.rows, done.told.shelves) == (0, 21)
    assert [tuple(row) for row in await scene.owner.fetch(shown)] == before


async def test_counters_lose_the_accidents_part_once(scene: Scene) -> None:
    received, taken = await scene.stock()
    since = await soon()
    xid = await scene.at("UPDATE stock SET received = received + 500, taken = 0")
    await scene.buy(3)
    async with scene.database.transaction() as tx:
        await inventory.receive(tx, [Receipt(SKU, 10)])
    done = await scene.undo(xid)
    assert (done.rows, done.told.skus) == (40, 40)
    assert await scene.stock() == (received + 10, taken + 6)
    assert await scene.broken() == {}
    assert (await scene.undo(since)).rows == 0
    assert await scene.stock() == (received + 10, taken + 6)


async def test_what_would_break_a_promise_is_not_done(scene: Scene) -> None:
    (order,) = await scene.buy()
    this = f"WHERE number = '{order.number}'"
    bigger = (
        f"UPDATE orders SET subtotal_minor = 400, total_minor = 400 {this}",
        f"UPDATE payment SET amount_minor = 400 WHERE order_id = (SELECT id FROM orders {this})",
        f"UPDATE order_line SET unit_price_minor = 200, total_minor = 400 WHERE order_id = (SELECT id FROM orders {this})",
    )
    xid = await scene.at(*bigger)
    with pytest.raises(RecoveryRefused, match=rf"promises would not be kept.*{order.number}.*its lines make 200"):
        await scene.undo(xid, tables=("order_line",))
    assert await scene.owner.fetchval("SELECT count(*) FROM order_line WHERE total_minor = 400") == 1
    assert (await scene.undo(xid)).rows == 3
    assert await scene.broken() == {}


async def test_several_mistakes_between_two_moments_and_who_registered_again(scene: Scene) -> None:
    account = "INSERT INTO account (email, password_hash, name) VALUES ('{0}', '', '{1}') RETURNING id"
    for name in ("ada", "bob"):
        who = await scene.owner.fetchval(account.format(f"{name}@example.com", name))
        await scene.owner.execute("INSERT INTO account_address (account_id, address) VALUES ($1, '{}')", who)
    first, second, third = await scene.buy(3)
    since = await soon()
    before = await scene.orders(numbers_of([first, second]))
    await scene.at(f"DELETE FROM orders WHERE number = '{first.number}'")
    await scene.at(f"DELETE FROM orders WHERE number = '{second.number}'", "DELETE FROM account")
    await scene.at(
        "UPDATE account SET name = 'nobody'", f"UPDATE orders SET email = 'x@example.com' WHERE number = '{third.number}'"
    )
    until = await soon()
    await scene.owner.execute(account.format("ADA@example.com", "Ada"))
    done = await scene.undo(since, until=until)
    assert await scene.orders(numbers_of([first, second])) == before
    assert {row["name"] for row in await scene.owner.fetch("SELECT name FROM account")} == {"Ada", "bob"}
    assert sorted(one.table for one in done.conflicts) == ["account", "account_address"]
    assert done.conflicts[0].why.startswith("its lower(email) belongs to account")
    assert await scene.owner.fetchval("SELECT email FROM orders WHERE number = $1", third.number) == "x@example.com"
    named = await scene.undo(since, until=until, tables=("orders",), where=f"number = '{third.number}'")
    assert (named.rows, [part.put_back for part in named.tables if part.table == "orders"]) == (1, [1])
    assert await scene.owner.fetchval("SELECT email FROM orders WHERE number = $1", third.number) == third.email


async def test_questions_that_make_no_sense(scene: Scene) -> None:
    now = await soon()
    for ask, why in (
        ({"tables": ("ordres",)}, "There is no table 'ordres'; there are account, "),
        ({"tables": ("shelf",)}, "shelf only follows from other tables"),
        ({"where": "true"}, "name it with --tables"),
        ({"where": "true", "tables": ("orders", "payment")}, "name it with --tables"),
    ):
        with pytest.raises(BadInput, match=why):
            await scene.undo(now, **ask)
    xid = await scene.at("DELETE FROM stock WHERE sku = 'KIT-40'")
    shape = await read_shape(scene.owner)
    for where, why in (
        ("nubmer = 1", "column .nubmer. does not exist"),
        ("sku = lo_create(0)::text", "cannot execute lo_create.* in a read-only transaction"),
        ("true); DELETE FROM stock; SELECT (true", "cannot insert multiple commands"),
        ("sku = $1", "server expects 1 argument"),
    ):
        with pytest.raises(BadInput, match=f"cannot be asked: .*{why}"):
            await _keys_where(scene.owner, shape, Ask(now, None, ("stock",), where))
    seen = await scene.preview(Moment(xid=xid, before=True))
    differs = {one.table: (one.deleted, one.changed, one.added) for one in seen.tables if one.differs}
    assert differs == {"stock": (1, 0, 0)}
    assert [(one.xid, one.rows) for one in seen.line] == [(xid, 1)]
    assert {"event", "shelf"} <= set(seen.left_out)
    assert (await scene.undo(xid, tables=("stock",), where="sku = 'KIT-39'")).rows == 0
    assert (await scene.undo(xid, tables=("stock",), where="sku = 'KIT-40' -- this one")).rows == 1


async def test_an_orders_moment_is_known_also_when_the_order_is_gone(scene: Scene) -> None:
    (order,) = await scene.buy()
    placed = await scene.owner.fetchval("SELECT placed_at FROM orders WHERE number = $1", order.number)
    moment = await undo.moment_of(order.number.lower(), scene.site.settings)
    assert moment == Moment(at=placed)
    await scene.at(f"DELETE FROM orders WHERE number = '{order.number}'")
    moment = await undo.moment_of(order.number, scene.site.settings)
    assert moment.at is not None
    assert abs((moment.at - placed).total_seconds()) < 1
