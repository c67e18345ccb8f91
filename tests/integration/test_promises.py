"""The checker of promises: a sound shop passes, and each kind of damage is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from securecart import promises
from securecart.app import Shop
from securecart.orders import history
from securecart.orders.history import Entry, Key
from securecart.promises import Book, Finding, Report, Told
from securecart.settings import Settings
from securecart.stores.postgres import Fresh, Read
from tests.catalog_for_tests import a_database

# Four orders of one SKU, of which 20 arrived: bought (3), pending (2), cancelled and given back (4), declined (1).
SOUND = """
    INSERT INTO product (slug, title) VALUES ('tea', 'Tea');
    INSERT INTO variant (sku, product_id) SELECT 'TEA', id FROM product;
    INSERT INTO stock (sku, location_id, received, taken) SELECT 'TEA', id, 20, 5 FROM location;
    INSERT INTO orders (
        number, shopper_id, idempotency_key, request_digest, cart_version, cart_change, status, email, currency, subtotal_minor,
        shipping_minor, tax_minor, tax_included, total_minor, refunded_minor, shipping_method, shipping_address, billing_address,
        pending_until
    )
    SELECT number, 'guest:' || status, 'key', '', 1, 'change', status, 'ada@example.com', 'USD', units * 100, 5, 0, false,
        units * 100 + 5, refunded, 'post', '{}', '{}', CASE status WHEN 'pending' THEN now() + interval '1 hour' END
    FROM (VALUES ('A', 'paid', 3, 0), ('B', 'pending', 2, 0), ('C', 'cancelled', 4, 405), ('D', 'declined', 1, 0))
        AS new (number, status, units, refunded);
    INSERT INTO order_line (order_id, position, sku, title, quantity, unit_price_minor, tax_minor, total_minor)
    SELECT id, 1, 'TEA', 'Tea', subtotal_minor / 100, 100, 0, subtotal_minor FROM orders;
    INSERT INTO allocation (order_id, sku, location_id, quantity)
    SELECT orders.id, 'TEA', location.id, 3 FROM orders, location WHERE number = 'A';
    INSERT INTO allocation (order_id, sku, location_id, quantity)
    SELECT orders.id, 'TEA', location.id, 2 FROM orders, location WHERE number = 'B';
    INSERT INTO hold (order_id) SELECT id FROM orders WHERE number = 'B';
    INSERT INTO payment (order_id, gateway, status, currency, amount_minor)
    SELECT id, 'sandbox', CASE WHEN status IN ('paid', 'cancelled') THEN 'captured' ELSE status END, 'USD', total_minor
    FROM orders;
    INSERT INTO refund (payment_id, idempotency_key, amount_minor, reason, status)
    SELECT payment.id, 'key', 405, 'cancelled', 'done' FROM payment JOIN orders ON orders.id = order_id WHERE number = 'C';
"""
TOLD = (Told("A", 305, key="a"), Told("B", 205, "pending", key="b"), Told("C", 405, "cancelled", key="c"))
A_COPY = """
    INSERT INTO orders OVERRIDING SYSTEM VALUE
    SELECT (jsonb_populate_record(orders, '{"id": 99, %s}')).* FROM orders WHERE number = 'A'
"""


def the_book() -> Book:
    book = Book()
    book.add("A", "captured", 305)
    book.add("B", "captured", 205)
    book.add("C", "captured", 405, 405)
    book.add("D", "declined", 105)
    return book


@pytest.fixture(scope="module")
async def sound_shop(engines: Settings) -> AsyncIterator[asyncpg.Connection]:
    async with a_database(engines, "promises"):
        owner = await asyncpg.connect(engines.postgres_owner_url, database="promises")
        await owner.execute(SOUND)
        yield owner
        await owner.close()


@asynccontextmanager
async def damaged(owner: asyncpg.Connection, damage: str = "SELECT") -> AsyncIterator[Fresh]:
    """The sound shop with the damage done, for as long as the block runs."""
    undone = owner.transaction()
    await undone.start()
    try:
        await owner.execute(damage)
        yield Fresh(Read(owner))  # type: ignore[arg-type]  # not from the pool, whose role may not change tables
    finally:
        await undone.rollback()


async def kinds_found(read: Fresh, book: Book | None = None, told: tuple[Told, ...] = TOLD) -> set[str]:
    found = await promises.look(read, told=told, received={"TEA": 20}, book=book or the_book())
    return {finding.promise for finding in found}


async def test_a_sound_shop_keeps_its_promises(sound_shop: asyncpg.Connection) -> None:
    async with damaged(sound_shop) as read:
        assert await promises.look(read, told=TOLD, received={"TEA": 20}, book=the_book()) == []


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        ("DELETE FROM orders WHERE number = 'A'", "lost"),
        ("UPDATE orders SET status = 'cancelled' WHERE number = 'A'", "lost"),
        ("UPDATE orders SET status = 'paid' WHERE number = 'C'", "lost"),
        ("UPDATE orders SET total_minor = 306, shipping_minor = 6 WHERE number = 'A'", "lost"),
        (A_COPY % '"number": "E"', "doubled"),
        (A_COPY % '"number": "E", "cart_change": ""', "doubled"),
        (A_COPY % '"shopper_id": "guest:other"', "doubled"),
        ("DELETE FROM order_line WHERE quantity = 3", "incomplete"),
        ("DELETE FROM payment WHERE amount_minor = 305", "incomplete"),
        ("UPDATE payment SET status = 'declined' WHERE amount_minor = 305", "incomplete"),
        ("UPDATE payment SET amount_minor = 304 WHERE amount_minor = 305", "incomplete"),
        ("UPDATE allocation SET sku = 'COFFEE'", "incomplete"),
        ("UPDATE order_line SET sku = 'COFFEE' WHERE quantity = 2", "incomplete"),
        ("DELETE FROM refund", "incomplete"),
        ("UPDATE stock SET received = 4", "oversold"),
        ("UPDATE allocation SET quantity = 19", "oversold"),
        ("UPDATE order_line SET quantity = 19, unit_price_minor = 0, total_minor = 0 WHERE quantity = 3", "oversold"),
        ("UPDATE stock SET taken = 4", "stock_odd"),
        ("UPDATE stock SET taken = 6", "stock_odd"),
        ("UPDATE stock SET received = 21", "stock_odd"),
        ("DELETE FROM allocation WHERE quantity = 2", "stock_odd"),
        ("DELETE FROM hold", "incomplete"),
        ("INSERT INTO hold SELECT id FROM orders WHERE number = 'A'", "incomplete"),
        ("INSERT INTO review (order_id, due_at) SELECT id, now() FROM orders WHERE status = 'cancelled'", "incomplete"),
        ("DELETE FROM orders WHERE number = 'A'", "captures_without_order"),
        ("DELETE FROM orders WHERE number = 'B'", "captures_without_order"),
        ("UPDATE orders SET status = 'cancelled' WHERE number = 'B'", "captures_without_order"),
        ("UPDATE orders SET total_minor = 306, shipping_minor = 6 WHERE number = 'A'", "captures_without_order"),
        ("UPDATE orders SET status = 'paid' WHERE number = 'D'", "orders_without_capture"),
        ("UPDATE refund SET amount_minor = 400", "refunds_differ"),
        ("UPDATE orders SET pending_until = now() - interval '1 day'", "left_pending"),
        ("UPDATE refund SET status = 'pending', created_at = now() - interval '1 day'", "left_pending"),
        ("UPDATE payment SET wanted = 'void', wanted_at = now() - interval '1 day' WHERE amount_minor = 305", "left_pending"),
    ],
)
async def test_damage_is_seen(sound_shop: asyncpg.Connection, damage: str, broken: str) -> None:
    loosened = """
        ALTER TABLE orders DROP CONSTRAINT orders_number_key, DROP CONSTRAINT orders_shopper_id_idempotency_key_key;
        DROP INDEX orders_one_a_cart;
        ALTER TABLE stock DROP CONSTRAINT stock_never_oversold;
    """
    async with damaged(sound_shop, loosened + damage) as read:
        assert broken in await kinds_found(read)


async def test_damage_to_the_gateways_book_is_seen(sound_shop: asyncpg.Connection) -> None:
    async with damaged(sound_shop) as read:
        short = the_book()
        short.references[0] = "NOBODYS"
        short.statuses[0] = "declined"
        assert await kinds_found(read, short) == {"orders_without_capture"}
        more = the_book()
        more.add("NOBODYS", "captured", 1)
        assert await kinds_found(read, more) == {"captures_without_order"}
        twice = the_book()
        twice.add("A", "captured", 305)
        assert await kinds_found(read, twice) == {"doubled"}
        kept = the_book()
        kept.refunded_minor[2] = 400
        assert await kinds_found(read, kept) == {"refunds_differ"}
        for_declined = the_book()
        for_declined.statuses[3] = "captured"
        assert await kinds_found(read, for_declined) == {"captures_without_order"}


async def test_a_refund_under_way_is_no_broken_promise(sound_shop: asyncpg.Connection) -> None:
    book = the_book()
    book.refunded_minor[2] = 0
    decided = "UPDATE refund SET status = 'pending'; UPDATE orders SET refunded_minor = 0 WHERE number = 'C'"
    async with damaged(sound_shop, decided) as read:
        assert await kinds_found(read, book) == set()
        assert await kinds_found(read) == set()  # the gateway has done it, and the shop has not noted it yet


async def test_at_rest_nothing_may_be_pending(sound_shop: asyncpg.Connection) -> None:
    async with damaged(sound_shop) as read:
        found = await promises.look(read, at_rest=True)
        assert [(finding.promise, finding.key) for finding in found] == [("left_pending", "B")]


async def test_what_a_shopper_was_told_of_cancelling_is_held_against_the_order(sound_shop: asyncpg.Connection) -> None:
    async with damaged(sound_shop) as read:
        unsure = (Told("A", 305, "cancelling"), Told("C", 405, "cancelling"), Told("D", 105, "pending"))
        assert await kinds_found(read, told=unsure) == set()
        assert await kinds_found(read, told=(Told("A", 305, "cancelled"),)) == {"lost"}
        assert await kinds_found(read, told=(Told("C", 405),)) == {"lost"}


async def test_the_report_counts_and_gives_examples(shop: Shop) -> None:
    told = [Told("SC-NEVER-BEFOR", 100, key="k"), Told("SC-NEVER-AGAIN", 100, key="k")]
    found = await promises.check(shop, told=told, projections=False)
    assert (found.kept, found.lost, found.doubled, found.acknowledged) == (False, 2, 1, 2)
    assert found.broken()["lost"] == 2
    assert any("SC-NEVER-BEFOR is not there" in example for example in found.examples)
    assert any("SC-NEVER-AGAIN, SC-NEVER-BEFOR" in example for example in found.examples)
    assert (found.projections_equal, found.unchecked) == (None, ("the projections",))


async def test_a_history_that_shows_an_order_which_is_none_is_seen(shop: Shop) -> None:
    before = await promises.check(shop)
    ghost = msgspec.convert(
        {
            "order_id": 2**50,
            "shopper_id": "guest:ghost",
            "number": "SC-GHOST-GHOST",
            "status": "paid",
            "currency": "USD",
            "total_minor": 100,
            "items": 1,
            "placed_at": datetime.now(UTC),
        },
        Entry,
    )
    await history.keep(shop.dynamodb, [ghost])
    after = await promises.check(shop)
    await history.forget(shop.dynamodb, [Key(ghost.shopper_id, ghost.order_id)])
    assert (after.projections_equal, after.kept) == (False, False)
    assert after.projections["history"] == before.projections["history"] + 1


async def test_readers_that_never_catch_up_break_a_promise(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        raise TimeoutError

    async def nothing(*_: object, **__: object) -> list[Finding]:
        return []

    monkeypatch.setattr("securecart.readers.catch_up", never)
    monkeypatch.setattr("securecart.promises.actions._look_twice", nothing)  # orders that other tests left are not this one's
    found = await promises.check(shop)
    assert not found.kept
    assert any("did not catch up" in example for example in found.examples)


def test_a_reader_that_shows_something_else_breaks_a_promise() -> None:
    def report(projections: dict[str, int] | None) -> Report:
        return Report.of([], orders=1, acknowledged=0, projections=projections, unchecked=(), seconds=0)

    assert report({"history": 0}).kept
    assert not report({"history": 0, "carts": 2}).kept
    assert (report(None).kept, report(None).projections_equal) == (True, None)
