"""What the replayed baskets must have brought in, worked out from the files alone.

This is the second opinion. It shares nothing with the code that priced the catalogue and cut the baskets but
the rules in docs/demo.md: other columns, other arithmetic, other order of work, and never a look at the shop.
A mistake on either side shows as a difference.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from msgspec import Struct

from securecart.demo.source import Files

__all__ = ["Expected", "revenue_of"]


class Expected(Struct, frozen=True):
    """The orders of a stretch of baskets, their lines, and their worth in US cents."""

    baskets: int
    orders: int
    lines: int
    revenue: int


def revenue_of(source: Files, *, limit: int, since: date | None = None) -> Expected:
    """What the first `limit` baskets from `since` on are worth by the rules."""
    import pyarrow.compute as pc  # noqa: PLC0415 -- comes with the extra "demo" only

    counting = _counting_lines(source)
    year = counting.group_by("product_id").aggregate([("cents", "sum"), ("quantity", "sum")])
    # half up in whole numbers: floor of (2c + q) / 2q, and never for nothing
    doubled = pc.add(pc.multiply(year["cents_sum"], 2), year["quantity_sum"])
    price = pc.max_element_wise(pc.divide(doubled, pc.multiply(year["quantity_sum"], 2)), 1)
    priced = year.select(["product_id"]).append_column("price", price)

    stretch = _first_baskets(source, limit, since)
    bought = counting.join(stretch, "basket_id", join_type="inner").join(priced, "product_id", join_type="inner")
    worth = pc.sum(pc.multiply(bought["price"], bought["quantity"])).as_py() or 0
    order_lines = bought.group_by(["basket_id", "product_id"]).aggregate([])
    orders = pc.count_distinct(bought["basket_id"]).as_py()
    return Expected(stretch.num_rows, orders, order_lines.num_rows, worth)


def _counting_lines(source: Files) -> Any:
    """Basket, product, quantity and cents of the lines that count."""
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    goods = parquet.read_table(source.products, columns=["product_id", "department", "product_type"])
    at_the_pump = pc.or_(
        pc.fill_null(pc.equal(goods["department"], "FUEL"), fill_value=False),
        pc.fill_null(pc.equal(goods["product_type"], "GASOLINE-REG UNLEADED"), fill_value=False),
    )
    sold_in_shop = goods.filter(pc.invert(at_the_pump))["product_id"]

    lines = parquet.read_table(source.transactions, columns=["basket_id", "product_id", "quantity", "sales_value"])
    whole = pc.and_(pc.greater(lines["quantity"], 0), pc.less(lines["quantity"], 1000))
    lines = lines.filter(pc.and_(whole, pc.is_in(lines["product_id"], value_set=sold_in_shop)))
    cents = pc.cast(pc.round(pc.multiply(lines["sales_value"], 100)), "int64")
    return lines.drop_columns(["sales_value"]).append_column("cents", cents)


def _first_baskets(source: Files, limit: int, since: date | None) -> Any:
    """The numbers of the first `limit` baskets from `since` on, by time and then number."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    seen = parquet.read_table(source.transactions, columns=["basket_id", "transaction_timestamp"])
    if since is not None:
        seen = seen.filter(pc.greater_equal(seen["transaction_timestamp"], pa.scalar(since).cast("timestamp[ns]")))
    first = seen.group_by("basket_id").aggregate([("transaction_timestamp", "min")])
    first = first.sort_by([("transaction_timestamp_min", "ascending"), ("basket_id", "ascending")])
    return first.slice(0, limit).select(["basket_id"])
