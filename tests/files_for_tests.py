"""Small files in the shape of the till's, made by hand, for tests of the demo's rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from securecart.demo.source import Files, Item

pa = pytest.importorskip("pyarrow", reason="the extra `demo` is not installed")

# product, maker, department, brand, category, type, size
Goods = tuple[int, int, str, str, str | None, str | None, str | None]
# household, basket, product, quantity, paid, when
Sold = tuple[int, int, int, int, float, str]


def files_of(folder: Path, goods: Sequence[Goods], sold: Sequence[Sold]) -> Files:
    """Write the two files."""
    from pyarrow import parquet  # noqa: PLC0415 - only where the extra is installed

    files = Files(folder / "products.parquet", folder / "transactions.parquet")
    names = ("product_id", "manufacturer_id", "department", "brand", "product_category", "product_type", "package_size")
    kinds = (pa.int64(), pa.int64(), *[pa.string()] * 5)
    parquet.write_table(_table(names, kinds, goods), files.products)
    columns = ("household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp")
    kinds = (pa.int64(), pa.int64(), pa.int64(), pa.int64(), pa.float64(), pa.timestamp("ns"))
    rows = [(*row[:5], datetime.fromisoformat(row[5])) for row in sold]
    parquet.write_table(_table(columns, kinds, rows), files.transactions)
    return files


def an_item(kind: str, *, category: str = "", department: str = "GROCERY", brand: str = "National", size: str = "") -> Item:
    """A product of the files, number 1 of maker 2."""
    return Item(1, 2, department, brand, category, kind, size)


def _table(names: Sequence[str], kinds: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Any:
    columns = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(kinds)]
    return pa.table(dict(zip(names, columns, strict=True)))
