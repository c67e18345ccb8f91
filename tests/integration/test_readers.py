"""The readers of the event log against the real stores: each catches up, repeats without harm, and can be rebuilt while the
shop sells."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from securecart import carts, catalog, checkout, inventory, orders, readers
from securecart.app import Shop
from securecart.catalog import NewProduct, NewVariant
from securecart.errors import NotFound, StoreAway
from securecart.events import Event, OrderPlaced, OrdersRestored, OrderWaits, ProductsChanged, StockChanged
from securecart.inventory import Receipt
from securecart.orders import Order, OrderSummary, history
from securecart.orders.history import Entry
from securecart.patience import READER
from securecart.readers import Progress, Reader, Stores, looking, rebuilding, running
from securecart.sessions import Session
from securecart.stores import cache
from securecart.stores.postgres import log
from securecart.values import Line
from tests.orders_for_tests import a_guest, a_product, a_wish
from tests.readers_for_tests import readers_held

DAYS = 1
SOON_S = 10.0


async def fill(shop: Shop, shopper: Session, *lines: Line) -> None:
    await carts.replace(shop.dynamodb, shopper.shopper_id, list(lines), days=DAYS)


async def buy(shop: Shop, shopper: Session, *lines: Line, **wish: Any) -> Order:
    await fill(shop, shopper, *lines)
    return await checkout.place(shop.till, shopper, a_wish(**wish), secrets.token_hex(8), currency="USD")


async def shown(shop: Shop, shopper: Session) -> list[tuple[str, str]]:
    page, _ = await history.list_of(shop.dynamodb, shopper.shopper_id, after=None, limit=100)
    return [(one.number, one.status) for one in page]


async def held(shop: Shop, shopper: Session) -> tuple[Line, ...]:
    return (await carts.load(shop.dynamodb, shopper.shopper_id)).lines


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds, looking again and again."""
    async with asyncio.timeout(SOON_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in another task or program
            await asyncio.sleep(0.01)


async def nothing(_stores: Stores, _progress: Progress) -> int:
    return 0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences are looked at twice, and not for seconds."""
    monkeypatch.setattr(looking, "PAUSES_S", (0.01,))


@pytest.fixture
async def reader(shop: Shop) -> AsyncIterator[Callable[..., Reader]]:
    """Makes readers of a test's own that stand at the log's end; they are gone afterwards."""
    made: list[Reader] = []

    async def make(read: Callable[[Stores, Sequence[Event]], Awaitable[None]], **other: Any) -> Reader:
        made.append(Reader(f"test-{secrets.token_hex(4)}", "tests", read, **{"rebuild": nothing, **other}))
        await readers.catch_up(shop.stores, made[-1:])
        return made[-1]

    yield make  # type: ignore[misc]
    async with shop.database.transaction() as tx:
        await tx.execute("DELETE FROM reader WHERE name = ANY ($1)", [one.name for one in made])


async def test_an_order_leaves_the_cart_and_stands_in_the_history(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    order = await buy(shop, shopper, Line(sku, 2))
    await readers.catch_up(shop.stores)
    assert await held(shop, shopper) == ()
    page, _ = await history.list_of(shop.dynamodb, shopper.shopper_id, after=None, limit=10)
    assert page == [OrderSummary(order.number, "paid", order.total, 2, order.placed_at)]
    async with shop.database.fresh() as read:
        assert (page, None) == await orders.list_of(read, shopper.shopper_id, after=None, limit=10)


async def test_the_history_follows_an_order_through_its_life(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    waiting = await buy(shop, shopper, Line(sku, 1), token="tok_answer_lost")
    await readers.catch_up(shop.stores)
    assert await shown(shop, shopper) == [(waiting.number, "pending")]
    assert await held(shop, shopper) == (Line(sku, 1),)
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE orders SET pending_until = now() - interval '1 s' WHERE number = $1", waiting.number)
    await checkout.sweep(shop.till)
    declined = await buy(shop, a_guest(), Line(sku, 1), token="tok_declined")
    await readers.catch_up(shop.stores)
    assert await shown(shop, shopper) == [(waiting.number, "paid")]
    assert await held(shop, shopper) == ()
    key = await history.find(shop.dynamodb, declined.number)
    assert key is not None
    (entry,) = await history.known(shop.dynamodb, [key])
    assert entry.status == "declined"


async def test_pages_of_both_sources_fit_together(shop: Shop) -> None:
    shopper, sku = a_guest(), await a_product(shop.database)
    numbers = [(await buy(shop, shopper, Line(sku, 1))).number for _ in range(5)]
    await readers.catch_up(shop.stores)
    async with shop.database.fresh() as read:
        first, after = await orders.list_of(read, shopper.shopper_id, after=None, limit=2)
        second, after = await history.list_of(shop.dynamodb, shopper.shopper_id, after=after, limit=2)
        third, after = await orders.list_of(read, shopper.shopper_id, after=after, limit=2)
    assert [one.number for one in (*first, *second, *third)] == numbers[::-1]
    assert after is None


async def test_facts_seen_twice_and_late_do_no_harm(shop: Shop) -> None:
    shopper, sku, other = a_guest(), await a_product(shop.database), await a_product(shop.database)
    await buy(shop, shopper, Line(sku, 1))
    async with shop.database.fresh() as read:
        after = log.Place((await log.newest(read)).xid - 1, 0)
    await carts.add(shop.dynamodb, shopper.shopper_id, Line(other, 3), days=DAYS)
    await readers.catch_up(shop.stores)
    assert await held(shop, shopper) == (Line(other, 3),)
    before = await shown(shop, shopper)
    async with shop.database.fresh() as read:
        batch = await log.read_batch(read, after, limit=100)
    assert batch is not None
    await carts.add(shop.dynamodb, shopper.shopper_id, Line(sku, 5), days=DAYS)
    for facts in (batch.facts, batch.facts[::-1]):
        for one in readers.READERS:
            await readers.digest(shop.stores, one, facts)
    assert await held(shop, shopper) == (Line(other, 3), Line(sku, 5))
    assert await shown(shop, shopper) == before


async def test_restored_orders_are_shown_again_and_no_cart_is_touched(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers.history, "PAGE_ORDERS", 2)
    shopper, sku = a_guest(), await a_product(shop.database)
    bought = [await buy(shop, shopper, Line(sku, 1)) for _ in range(3)]
    await readers.catch_up(shop.stores)
    before = await shown(shop, shopper)
    keys = [key for order in bought if (key := await history.find(shop.dynamodb, order.number)) is not None]
    await history.forget(shop.dynamodb, keys)
    await carts.add(shop.dynamodb, shopper.shopper_id, Line(sku, 1), days=DAYS)
    for one in readers.READERS:
        await readers.digest(shop.stores, one, [OrdersRestored((*(key.order_id for key in keys), 2**60))])
    assert await shown(shop, shopper) == before
    assert await held(shop, shopper) == (Line(sku, 1),)


async def test_facts_of_orders_that_are_none_are_no_trouble(shop: Shop) -> None:
    facts: list[Event] = [
        OrderWaits(2**60, "guest:nobody"),
        OrderPlaced(2**60, "guest:nobody", "SC-0", 5, "x"),
        StockChanged(("A",)),
    ]
    for one in readers.READERS:
        await readers.digest(shop.stores, one, facts)


async def test_what_changed_is_dropped_from_the_cache(shop: Shop) -> None:
    changed, other = await a_product(shop.database), await a_product(shop.database)
    for sku in (changed, other):
        await catalog.product(shop.database, shop.cache, sku.lower())
        await catalog.price_cached(shop.database, shop.cache, [sku], "USD")
    async with shop.database.transaction() as tx:
        await tx.execute("UPDATE price SET amount_minor = 777 WHERE sku = ANY ($1)", [changed, other])
        await log.publish(tx, [ProductsChanged((changed.lower(),), (changed,))])
    await readers.catch_up(shop.stores)
    prices = await catalog.price_cached(shop.database, shop.cache, [changed, other], "USD")
    assert [prices[sku].price.amount_minor for sku in (changed, other)] == [777, 100]
    assert (await catalog.product(shop.database, shop.cache, changed.lower())).variants[0].prices[0].amount_minor == 777
    await readers.rebuild(shop.stores, "cache", lambda _: None)
    prices = await catalog.price_cached(shop.database, shop.cache, [other], "USD")
    assert prices[other].price.amount_minor == 777


async def test_an_import_that_died_before_it_dropped_anything_is_seen_all_the_same(shop: Shop) -> None:
    slug = secrets.token_hex(8)

    def goods(cents: int, *skus: str) -> list[NewProduct]:
        return [NewProduct(slug=slug, title="Thing", variants=[NewVariant(sku, {"USD": cents}) for sku in skus])]

    async with shop.database.fresh() as read:
        start = await log.newest(read)
    lost = cache.connect("redis://127.0.0.1:1/0")
    await catalog.import_products(shop.database, lost, goods(100, f"{slug}-A", f"{slug}-B"))
    assert (await catalog.product(shop.database, shop.cache, slug)).variants[0].prices[0].amount_minor == 100
    await catalog.import_products(shop.database, lost, goods(250, f"{slug}-B", f"{slug}-C"))
    async with shop.database.fresh() as read:
        rows = await read.fetch("SELECT body FROM event WHERE xid::text::bigint > $1 ORDER BY xid, id", start.xid)
    mine = [row["body"] for row in rows if row["body"].get("slugs") == [slug]]
    assert mine == [{"kind": "products_changed", "slugs": [slug], "skus": [f"{slug}-A", f"{slug}-B", f"{slug}-C"]}]
    await readers.catch_up(shop.stores)
    assert (await catalog.product(shop.database, shop.cache, slug)).variants[0].prices[0].amount_minor == 250


async def test_goods_that_arrive_are_told(shop: Shop) -> None:
    sku = await a_product(shop.database, stock=0)
    async with shop.database.transaction() as tx:
        start = await log.newest(tx)
        await inventory.receive(tx, [Receipt(sku, 5)])
        body = await tx.fetchval(
            "SELECT body FROM event WHERE xid::text::bigint > $1 ORDER BY xid DESC, id DESC LIMIT 1", start.xid
        )
    assert body == {"kind": "stock_changed", "skus": [sku]}


async def test_a_store_that_is_away_is_waited_for_and_nothing_is_skipped(
    shop: Shop, reader: Callable[..., Awaitable[Reader]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "READER", msgspec.structs.replace(READER, pause_s=0.001))
    seen: list[Event] = []
    refusals = 7

    async def read(_stores: Stores, facts: Sequence[Event]) -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise StoreAway(store="moon", retry_after=1)
        seen.extend(facts)

    mine = await reader(read)
    refusals = 7
    fact = StockChanged((secrets.token_hex(8),))
    async with shop.database.transaction() as tx:
        await log.publish(tx, [fact])
    await readers.catch_up(shop.stores, [mine])
    assert fact in seen
    assert refusals < 0


async def test_a_bad_fact_is_skipped_alone_logged_and_counted(
    shop: Shop, reader: Callable[..., Awaitable[Reader]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "READER", msgspec.structs.replace(READER, pause_s=0.001))
    bad = StockChanged((secrets.token_hex(8),))
    seen: list[Event] = []

    async def read(_stores: Stores, facts: Sequence[Event]) -> None:
        if bad in facts:
            raise ZeroDivisionError
        seen.extend(facts)

    mine = await reader(read)
    good = [StockChanged((secrets.token_hex(8),)) for _ in range(4)]
    async with shop.database.transaction() as tx:
        await log.publish(tx, [*good[:2], bad, *good[2:]])
    await readers.catch_up(shop.stores, [mine])
    assert [fact for fact in seen if fact in good] == good
    assert REGISTRY.get_sample_value("securecart_reader_skipped_total", {"reader": mine.name}) == 1


async def test_a_new_reader_begins_with_a_rebuild_and_reads_what_came_during_it(
    shop: Shop, reader: Callable[..., Awaitable[Reader]]
) -> None:
    seen: list[Event] = []
    before, during = StockChanged((secrets.token_hex(8),)), StockChanged((secrets.token_hex(8),))

    async def publish(fact: Event) -> None:
        async with shop.database.transaction() as tx:
            await log.publish(tx, [fact])

    async def read(_stores: Stores, facts: Sequence[Event]) -> None:
        seen.extend(facts)

    async def rebuild(_stores: Stores, _progress: Progress) -> int:
        await publish(during)
        return 1

    await publish(before)
    mine = await reader(read, rebuild=rebuild)
    await readers.catch_up(shop.stores, [mine])
    assert before not in seen
    assert during in seen


async def test_the_running_readers_hear_of_facts_and_let_a_rebuild_in(
    shop: Shop, reader: Callable[..., Awaitable[Reader]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "OFFER_TURN_S", 0.05)
    monkeypatch.setattr(running, "LOOK_AGAIN_S", 0.1)
    seen: list[Event] = []
    rebuilt: list[int] = []

    async def read(_stores: Stores, facts: Sequence[Event]) -> None:
        seen.extend(facts)

    async def rebuild(_stores: Stores, _progress: Progress) -> int:
        rebuilt.append(len(seen))
        return 1

    mine = await reader(read, rebuild=rebuild)
    stopping = asyncio.Event()
    working = asyncio.create_task(readers.run(shop.stores, stopping, [mine]))

    async def publish_and_wait() -> None:
        fact = StockChanged((secrets.token_hex(8),))
        async with shop.database.transaction() as tx:
            await log.publish(tx, [fact])

        async def read_it() -> bool:
            return fact in seen

        await until(read_it)

    try:
        await publish_and_wait()
        rebuilt.clear()
        assert await readers.rebuild(shop.stores, mine.name, lambda _: None, [mine]) == 1
        assert len(rebuilt) == 1
        await publish_and_wait()
        async with shop.database.transaction() as tx:  # the line is cut: the reader finds its turn again on a new one
            await tx.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 7236003")
        await publish_and_wait()
    finally:
        stopping.set()
        await working


async def test_a_lost_line_ends_its_readers_even_if_a_knock_comes_in_the_same_moment(
    shop: Shop, reader: Callable[..., Awaitable[Reader]]
) -> None:
    async def read(_stores: Stores, _facts: Sequence[Event]) -> None:
        return

    mine = await reader(read)
    async with log.open_line(shop.database) as line:
        for knock_first in (False, True):
            working = asyncio.create_task(running._run_on(line, shop.stores, asyncio.Event(), [mine]))
            await asyncio.sleep(0.1)  # by now it waits for the bell
            for what in (line.hear, line.lose) if knock_first else (line.lose, line.hear):
                what()
            await asyncio.wait_for(working, SOON_S)
            line.lost.clear()


async def test_two_processes_never_run_a_reader_at_once(
    shop: Shop, reader: Callable[..., Awaitable[Reader]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LOOK_AGAIN_S", 0.05)
    at_work, most = 0, 0
    seen: list[Event] = []

    async def read(_stores: Stores, facts: Sequence[Event]) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.01)
        at_work -= 1
        seen.extend(facts)

    mine = await reader(read)
    seen.clear()
    stopping = asyncio.Event()
    working = [asyncio.create_task(readers.run(shop.stores, stopping, [mine])) for _ in range(3)]
    facts = [StockChanged((secrets.token_hex(8),)) for _ in range(10)]
    for fact in facts:
        async with shop.database.transaction() as tx:
            await log.publish(tx, [fact])
    await readers.catch_up(shop.stores, [mine])
    stopping.set()
    await asyncio.gather(*working)
    assert [fact for fact in seen if fact in facts] == facts
    assert most == 1


async def test_a_rebuild_of_the_history_is_right_while_the_shop_sells(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    sku, early, late = await a_product(shop.database, stock=1000), a_guest(), a_guest()
    first = await buy(shop, early, Line(sku, 1))
    await readers.catch_up(shop.stores)
    (entry,) = await history.known(shop.dynamodb, [key for key in [await history.find(shop.dynamodb, first.number)] if key])
    orphan = Entry(**{**{name: getattr(entry, name) for name in entry.__struct_fields__}, "order_id": 2**50})
    async with readers_held(shop):
        before = (await readers.differences(shop.stores))["history"]  # other tests keep entries of orders that never were
        await history.keep(shop.dynamodb, [orphan])
        await history.forget(shop.dynamodb, [history.Key(early.shopper_id, entry.order_id)])
        assert (await readers.differences(shop.stores))["history"] == before + 2

    placed: list[Order] = []
    keep = history.keep

    async def sell_and_keep(dynamodb: Any, kept: Sequence[Entry]) -> None:
        """While a page is on its way, one of its orders is cancelled and another is placed."""
        if not placed:
            placed.append(await buy(shop, late, Line(sku, 1)))
            await checkout.cancel(shop.till, first.number, shopper_id=None, key="x")
        await keep(dynamodb, kept)

    with monkeypatch.context() as patched:
        patched.setattr(history, "keep", sell_and_keep)
        counted: list[int] = []
        written = await readers.rebuild(shop.stores, "history", counted.append)
    assert written == sum(counted) > 0
    await readers.catch_up(shop.stores)
    found = await readers.differences(shop.stores)
    assert (found["carts"], found["history"]) == (0, 0)  # and other tests teach the graph orders that never were
    assert await shown(shop, early) == [(first.number, "cancelled")]
    assert await shown(shop, late) == [(placed[0].number, "paid")]


async def test_a_rebuild_of_the_carts_takes_out_what_was_missed_and_nothing_else(shop: Shop) -> None:
    sku, other = await a_product(shop.database), await a_product(shop.database)
    same, changed, anew = a_guest(), a_guest(), a_guest()
    async with readers_held(shop):
        for shopper in (same, changed, anew):
            await buy(shop, shopper, Line(sku, 1))
        await carts.add(shop.dynamodb, changed.shopper_id, Line(other, 1), days=DAYS)
        await fill(shop, anew, Line(sku, 1))
        async with shop.database.transaction() as tx:  # as if the facts had been lost
            place, newest = await log.place_of(tx, "carts"), await log.newest(tx)
            await log.move(tx, "carts", place, newest, now())
        assert (await readers.differences(shop.stores))["carts"] == 2
    assert await readers.rebuild(shop.stores, "carts", lambda _: None) == 2
    assert (await readers.differences(shop.stores))["carts"] == 0
    assert [await held(shop, shopper) for shopper in (same, changed, anew)] == [(), (Line(other, 1),), (Line(sku, 1),)]


def now() -> datetime:

    return datetime.now(UTC)


async def test_a_regions_reader_empties_the_carts_that_its_region_sold_and_no_others(shop: Shop) -> None:
    sku = await a_product(shop.database)
    shoppers = {region: a_guest() for region in ("a", "b", "")}
    async with readers_held(shop):
        for region, shopper in shoppers.items():
            await fill(shop, shopper, Line(sku, 1))
            cart = await carts.load(shop.dynamodb, shopper.shopper_id)
            sold = OrderPlaced(2**60, shopper.shopper_id, "SC-0", cart.version, cart.change, region)
            await readers.digest(
                Stores(shop.database, shop.dynamodb, shop.cache, shop.graph, "b"), readers.readers_of("b")[0], [sold]
            )
    assert [await held(shop, shopper) for shopper in shoppers.values()] == [(Line(sku, 1),), (), ()]


def test_only_a_further_regions_readers_have_names_of_their_own() -> None:
    plain = [reader.name for reader in readers.READERS]
    assert [one.name for one in readers.readers_of("")] == [one.name for one in readers.readers_of("a")] == plain
    assert [one.name for one in readers.readers_of("b")] == ["carts@b", "history@b", "cache@b", "graph"], "one for all regions"
    assert [readers.plain_name(one.name) for one in readers.readers_of("b")] == plain
    assert readers.essential_in("b") == ("carts@b", "history@b")


async def test_both_regions_places_are_kept_and_hold_the_logs_days(shop: Shop) -> None:
    stores = Stores(shop.database, shop.dynamodb, shop.cache, shop.graph, "b")
    try:
        await readers.catch_up(stores)
        async with shop.database.fresh() as read:
            standing = {one.name for one in await log.standings(read)}
            assert await log.place_of(read, "history@b") > log.BEGINNING
        assert standing >= {reader.name for region in ("a", "b") for reader in readers.readers_of(region)}
    finally:
        async with shop.database.transaction() as tx:
            await tx.execute("DELETE FROM reader WHERE name LIKE '%@b'")


async def test_an_unknown_reader_cannot_be_rebuilt(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await readers.rebuild(shop.stores, "moon", lambda _: None)


async def test_a_rebuild_that_gets_no_turn_says_so(
    shop: Shop, reader: Callable[..., Awaitable[Reader]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "TURN_WITHIN_S", 0.1)

    async def read(_stores: Stores, _facts: Sequence[Event]) -> None:
        return

    mine = await reader(read)
    async with log.open_line(shop.database) as line:
        assert await line.take_turn(mine.name)
        with pytest.raises(StoreAway):
            await readers.rebuild(shop.stores, mine.name, lambda _: None, [mine])
