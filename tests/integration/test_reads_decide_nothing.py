"""What is read from a replica decides nothing: by the code as it is written, and by a shop whose replica tells lies.

The replica here is another database with other prices, endless stock and orders of its own. Whoever decided by it would
sell at the wrong price, sell what is not there, miss an order that is, or take back one that is not.
"""

from __future__ import annotations

import ast
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

import securecart
from securecart import accounts, carts, checkout, fraud, inventory, orders, readers
from securecart.app import Shop
from securecart.checkout import Till
from securecart.checkout.model import AskQuote
from securecart.errors import CartBought, CartEmpty, NotFound, OutOfStock, TotalChanged
from securecart.inventory import Receipt
from securecart.orders import history
from securecart.readers import Stores
from securecart.settings import Settings
from securecart.stores.postgres import Database, Position
from securecart.stores.postgres.choosing import Seen, View
from securecart.stores.postgres.node import Node
from securecart.values import Line
from tests.catalog_for_tests import a_database
from tests.forced_moments import HeldGateway, a_notice, a_till
from tests.orders_for_tests import a_guest, a_new_order, a_product
from tests.shopping import buy, fill, find, overdue, stock_of

SOURCE = Path(securecart.__file__).parent
# Who may read a replica: pages, lists, and what is kept in the cache. None of them decides a write.
MAY_READ = {
    "catalog/actions.py",
    "catalog/kept.py",
    "stores/postgres/database.py",
    "web/api/accounts.py",
    "web/api/fraud.py",
    "web/api/health.py",
    "web/api/orders.py",
    "web/api/stock.py",
    "web/console/orders.py",
    "web/console/pages.py",
    "web/console/reviews.py",
    "web/my_orders.py",
    "web/storefront/account.py",
    "web/storefront/browse.py",
    "web/storefront/cart.py",
    "web/storefront/checkout.py",
    "web/storefront/orders.py",
}


def reads_a_replica(path: Path) -> bool:
    """Whether a module calls `read` of something called database."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "read":
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            if "database" in name or name in {"owner", "db"}:
                return True
    return False


def test_only_pages_lists_and_the_cache_read_replicas() -> None:
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if reads_a_replica(path)}
    assert found - MAY_READ == set(), "use fresh() for what decides a write, or say here why it decides none"
    assert MAY_READ - found == {"stores/postgres/database.py"}


class Split:
    """The writer is one database and the replica quite another, which serves every read whatever it should have seen."""

    def __init__(self, writer: Node, liar: Node) -> None:
        self.nodes: Sequence[Node] = (writer, liar)
        self.seen: Sequence[Seen | None] = (None, None)
        self.view = View(0, (1,), (None, None))

    async def writer(self, *, within_s: float) -> Node:
        del within_s
        return self.nodes[0]

    def readers(self, after: Position | None) -> list[Node]:
        del after
        return [self.nodes[1]]

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
async def liar(engines: Settings) -> AsyncIterator[Database]:
    async with a_database(engines, "liar") as database:
        yield database


@pytest.fixture
def split(shop: Shop, liar: Database) -> Database:
    nodes = (shop.database._nodes[0], liar._nodes[0])
    return Database(nodes, Split(*nodes))


@pytest.fixture
def till(shop: Shop, split: Database) -> Till:
    return a_till(shop, database=split)


async def goods(shop: Shop, liar: Database, *, stock: int) -> str:
    """A SKU that costs a dollar; the replica has endless stock of it at a cent."""
    sku = await a_product(shop.database, price_minor=100, stock=stock)
    async with liar.transaction() as tx:
        product = await tx.fetchval(
            "INSERT INTO product (slug, title, tax_class) VALUES ($1, $1, 'zero') RETURNING id", sku.lower()
        )
        await tx.execute("INSERT INTO variant (sku, product_id) VALUES ($1, $2)", sku, product)
        await tx.execute("INSERT INTO price (sku, currency, amount_minor) VALUES ($1, 'USD', 1)", sku)
        await inventory.receive(tx, [Receipt(sku, 1_000_000)])
    return sku


async def test_it_is_sold_at_the_writers_price_from_the_writers_stock(shop: Shop, liar: Database, till: Till) -> None:
    sku, shopper = await goods(shop, liar, stock=3), a_guest()
    await fill(shop, shopper, Line(sku, 2))
    cart = await carts.load(shop.dynamodb, shopper.shopper_id)
    assert (await checkout.quote(till, cart, AskQuote("US", "USD", "pickup"))).total.amount_minor == 200
    with pytest.raises(TotalChanged):
        await buy(shop, shopper, "cheap", till=till, expected_total_minor=2)
    order = await buy(shop, shopper, till=till)
    assert (order.status, order.total.amount_minor) == ("paid", 200)
    assert await stock_of(shop, sku) == (2, 0, 1)
    other = a_guest()
    await fill(shop, other, Line(sku, 2))
    with pytest.raises(OutOfStock):
        await buy(shop, other, till=till)


async def test_a_repeated_key_is_known_and_so_is_a_bought_cart(shop: Shop, liar: Database, till: Till) -> None:
    sku, shopper = await goods(shop, liar, stock=5), a_guest()
    await fill(shop, shopper, Line(sku, 1))
    first = await buy(shop, shopper, "k", till=till)
    assert await buy(shop, shopper, "k", till=till) == await find(shop, first.number)
    with pytest.raises((CartBought, CartEmpty)):  # empty where a worker was quicker than we
        await buy(shop, shopper, "another", till=till)
    await carts.replace(shop.dynamodb, shopper.shopper_id, [], days=1)
    assert (await buy(shop, shopper, "k", till=till)).number == first.number
    assert await stock_of(shop, sku) == (1, 0, 4)


async def test_orders_are_cancelled_refunded_and_shipped_as_they_are(shop: Shop, liar: Database, till: Till) -> None:
    sku = await goods(shop, liar, stock=9)
    numbers = []
    for _ in range(3):
        shopper = a_guest()
        await fill(shop, shopper, Line(sku, 1))
        numbers.append((await buy(shop, shopper, till=till)).number)
    assert (await checkout.cancel(till, numbers[0], shopper_id=None, key="c")).status == "cancelled"
    assert (await checkout.refund(till, numbers[1], amount_minor=40, reason="bruised", key="r")).refunded.amount_minor == 40
    assert (await checkout.ship(till, numbers[2])).shipped_at is not None
    assert await stock_of(shop, sku) == (2, 0, 7)


async def test_notices_and_returning_buyers_find_the_order(shop: Shop, liar: Database, split: Database) -> None:
    sku, shopper = await goods(shop, liar, stock=4), a_guest()
    await fill(shop, shopper, Line(sku, 1))
    deaf = HeldGateway(shop, loses=True)
    till = a_till(shop, database=split, gateway=deaf)
    order = await buy(shop, shopper, till=till)
    assert order.status == "pending"
    await checkout.hear(till, a_notice(order.number), "")
    assert (await checkout.look_again(till, order.number, shopper_id=shopper.shopper_id)).status == "paid"


async def test_the_sweeper_asks_about_the_writers_orders_only(shop: Shop, liar: Database, split: Database) -> None:
    sku, shopper = await goods(shop, liar, stock=4), a_guest()
    await fill(shop, shopper, Line(sku, 1))
    till = a_till(shop, database=split, gateway=HeldGateway(shop, loses=True))
    order = await buy(shop, shopper, till=till)
    await overdue(shop, order.number)
    async with liar.transaction() as tx:
        (stray,) = await orders.open_all(tx, [a_new_order(Line(sku, 1))])
        await tx.execute("UPDATE orders SET pending_until = now() - interval '1 hour' WHERE id = $1", stray.id)
    await checkout.sweep(till)
    assert (await find(shop, order.number)).status == "paid"
    with pytest.raises(NotFound):
        await find(shop, stray.number)


async def test_readers_write_what_the_writer_says(shop: Shop, liar: Database, split: Database, till: Till) -> None:
    sku, shopper = await goods(shop, liar, stock=4), a_guest()
    await fill(shop, shopper, Line(sku, 1))
    order = await buy(shop, shopper, till=till)
    stores = Stores(split, shop.dynamodb, shop.cache, shop.graph)
    await readers.catch_up(stores)
    page, _ = await history.list_of(shop.dynamodb, shopper.shopper_id, after=None, limit=5)
    assert [(one.number, one.status) for one in page] == [(order.number, "paid")]
    assert not (await carts.load(shop.dynamodb, shopper.shopper_id)).lines
    found = await readers.differences(stores)
    assert (found["carts"], found["history"]) == (0, 0)
    # other tests teach the graph orders that never were
    assert await fraud.taught(shop.graph, [order.number]) == {order.number: fraud.Taught("paid", is_fraud=False)}


async def test_whoever_has_just_registered_can_log_in(split: Database) -> None:
    email, password = f"ada-{secrets.token_hex(4)}@example.com", "correct horse battery"
    hashed = await accounts.hash_password(password)
    async with split.transaction() as tx:
        await accounts.register(tx, email=email, password_hash=hashed, name="Ada")
    assert (await accounts.authenticate(split, email, password)).email == email
