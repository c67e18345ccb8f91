"""Fill the shop with the demo's goods: names, prices, and stock for several such years."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

from msgspec import Struct

from securecart import catalog, inventory
from securecart.catalog import ImportReport, NewProduct, NewVariant
from securecart.demo import naming, source
from securecart.demo.naming import Name
from securecart.demo.source import Files, Item, sku_of
from securecart.errors import DataMissing, NotRunning
from securecart.inventory import Receipt
from securecart.settings import Settings
from securecart.stores import cache, postgres
from securecart.stores.postgres import Database, Fresh, statements_of, value

__all__ = ["LoadReport", "Progress", "is_loaded", "load_goods", "prices_of", "products_of", "targets_of"]

SQL = statements_of(__package__)
# told which stage is how far: "products", 250, 92331
Progress = Callable[[str, int, int], None]

# What a US dollar is worth in the other currencies: the year's averages, rounded.
RATES: dict[str, Decimal] = {"USD": Decimal(1), "EUR": Decimal("0.89"), "GBP": Decimal("0.78")}
YEARS_OF_STOCK = 5
STOCK_MIN = 200
# What sells this often in the year is kept in a second place too, two fifths of it.
FAST_UNITS = 100
MAIN, SECOND = ("main", "Main warehouse"), ("north", "North store")
BATCH = 5_000


class LoadReport(Struct, frozen=True):
    """What a load did; `skipped` says why it did nothing."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    received: int = 0
    seconds: float = 0.0
    skipped: str = ""


async def is_loaded(settings: Settings) -> bool:
    """Whether a load has ended: goods are received in order once all products are in, so the last one's show it."""
    database = await postgres.connect(settings.postgres_url, pool_size=1)
    try:
        async with database.fresh() as fresh:
            return bool(await value(fresh, SQL["is_loaded"]))
    finally:
        await database.close()


async def load_goods(
    settings: Settings, files: Files, *, only_if_empty: bool = False, again: bool = False, progress: Progress
) -> LoadReport:
    """Bring the shop's catalogue and stock to what the files say; safe to repeat and to interrupt."""
    if not settings.postgres_url:
        raise NotRunning(home=str(settings.home_path))
    began = time.perf_counter()
    if not again and await is_loaded(settings):
        return LoadReport(skipped="the demo's goods are all there; --again compares every one")
    database = await postgres.connect(settings.postgres_url, pool_size=4)
    memory = cache.connect(settings.valkey_url)
    try:
        if only_if_empty and await _sells_something_else(database):
            return LoadReport(skipped="the shop has goods of its own; the demo's are left out")
        known = source.items(files)
        sales = source.count_sales(files)
        goods = products_of(known, source.prices(known, sales))
        done = await catalog.import_products(
            database, memory, goods, progress=lambda far: progress("products", _taken(far), len(known))
        )
        if done.rejections:
            raise DataMissing(problem=f"{done.rejections} of the demo's goods were refused; the first: {done.rejected[0].reason}")
        received = await _receive(database, targets_of(known, sales.units), progress)
    finally:
        await memory.close()
        await database.close()
    await _analyze(settings)
    return LoadReport(done.created, done.updated, done.unchanged, received, round(time.perf_counter() - began, 2))


def prices_of(cents: int) -> dict[str, int]:
    """A price by currency, in minor units: rounded half up, at least one."""
    return {currency: max(1, int((cents * rate).quantize(Decimal(1), ROUND_HALF_UP))) for currency, rate in RATES.items()}


def targets_of(known: Sequence[Item], units: Mapping[int, int]) -> list[Receipt]:
    """How much of each SKU the shop should have received in all, place by place, in SKU order of the files."""
    targets: list[Receipt] = []
    for item in known:
        sold = units.get(item.product_id, 0)
        wanted = max(STOCK_MIN, sold * YEARS_OF_STOCK)
        second = wanted * 2 // 5 if sold >= FAST_UNITS else 0
        if second:
            targets.append(Receipt(sku_of(item.product_id), second, SECOND[0]))
        targets.append(Receipt(sku_of(item.product_id), wanted - second, MAIN[0]))
    return targets


def products_of(known: Sequence[Item], prices: Mapping[int, int]) -> Iterator[NewProduct]:
    """Every product as the catalogue imports it."""
    names = naming.name_all(known)
    for line, item in enumerate(known, start=1):
        yield _product(item, names[item.product_id], prices[item.product_id], line)


def _product(item: Item, name: Name, cents: int, line: int) -> NewProduct:
    own = name.brand in naming.OWN_BRANDS
    return NewProduct(
        slug=name.slug,
        title=name.title,
        variants=[NewVariant(sku_of(item.product_id), prices_of(cents))],
        description=_description(name, own=own),
        brand=name.brand,
        categories=[name.aisle, name.category],
        attributes={
            "Kind": name.kind,
            **({"Size": name.size} if name.size else {}),
            "Brand type": "Store brand" if own else "National brand",
            "Department": name.aisle,
        },
        tax_class="zero",
        line=line,
    )


def _taken(far: ImportReport) -> int:
    return far.created + far.updated + far.unchanged + far.rejections


def _description(name: Name, *, own: bool) -> str:
    what = f"{name.kind} by {name.brand}" + (f", {name.size}." if name.size else ".")
    whose = " One of our own brands." if own else ""
    return f"{what}{whose} Found in {name.aisle} under {name.category}."


async def _receive(database: Database, targets: Sequence[Receipt], progress: Progress) -> int:
    """Bring what was received up to the targets; the units that were missing."""
    async with database.transaction() as tx:
        await inventory.add_location(tx, *SECOND)
    missing_in_all = 0
    for start in range(0, len(targets), BATCH):
        batch = targets[start : start + BATCH]
        async with database.transaction() as tx:
            missing = await _missing(tx, batch)
            if missing:
                await inventory.receive(tx, missing)
        missing_in_all += sum(receipt.quantity for receipt in missing)
        progress("stock", start + len(batch), len(targets))
    return missing_in_all


async def _missing(fresh: Fresh, targets: Sequence[Receipt]) -> list[Receipt]:
    levels = await inventory.levels(fresh, sorted({target.sku for target in targets}))
    received = {(level.sku, level.location): level.received for level in levels}
    short = ((target, target.quantity - received.get((target.sku, target.location), 0)) for target in targets)
    return [Receipt(target.sku, quantity, target.location) for target, quantity in short if quantity > 0]


async def _sells_something_else(database: Database) -> bool:
    async with database.fresh() as fresh:
        return bool(await value(fresh, SQL["has_other_goods"]))


async def _analyze(settings: Settings) -> None:
    """Without this the planner guesses for minutes after a bulk load; only the tables' owner may."""
    if settings.postgres_owner_url:
        owner = await postgres.connect(settings.postgres_owner_url, pool_size=1)
        try:
            async with owner.fresh() as fresh:
                await fresh.execute(SQL["analyze_loaded"])
        finally:
            await owner.close()
