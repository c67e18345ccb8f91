"""What can be done with stock. Each verb is one statement; the caller's transaction decides whether it counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from securecart.errors import BadInput, OutOfStock
from securecart.inventory.model import Level, Receipt, Shortage
from securecart.stores.postgres import Read, Transaction, rows, statements_of
from securecart.values import Line

SQL = statements_of(__package__)


async def reserve(tx: Transaction, order_id: int, lines: Sequence[Line], *, until: datetime) -> None:
    """Hold every line's units for the order, or none of them: `OutOfStock` names the SKUs that fall short."""
    skus, quantities = [line.sku for line in lines], [line.quantity for line in lines]
    shortages = await rows(tx, SQL["reserve_stock"], Shortage, order_id, skus, quantities, until)
    if shortages:
        raise OutOfStock(field="lines", skus=", ".join(short.sku for short in shortages), shortages=shortages)


async def sell(tx: Transaction, order_id: int) -> None:
    """Turn what the order reserved into sold units; nothing happens when it holds nothing."""
    await tx.execute(SQL["sell_reserved"], order_id)


async def release(tx: Transaction, order_id: int) -> None:
    """Make what the order reserved available again; nothing happens when it holds nothing."""
    await tx.execute(SQL["release_reserved"], order_id)


async def restock(tx: Transaction, order_id: int) -> None:
    """Take back what the order was sold; nothing happens when it was sold nothing."""
    await tx.execute(SQL["restock_sold"], order_id)


async def receive(tx: Transaction, receipts: Sequence[Receipt]) -> None:
    """Add goods that arrived; `BadInput` when a location is unknown."""
    codes = [receipt.location for receipt in receipts]
    unknown = [row["code"] for row in await tx.fetch(SQL["unknown_locations"], sorted(set(codes)))]
    if unknown:
        raise BadInput(field="location", problem=f"There is no location {unknown[0]!r}; add it first.")
    skus, quantities = [receipt.sku for receipt in receipts], [receipt.quantity for receipt in receipts]
    await tx.execute(SQL["receive_stock"], skus, quantities, codes)


async def add_location(tx: Transaction, code: str, name: str) -> None:
    """Add a place that holds stock, or rename it."""
    await tx.execute(SQL["add_location"], code, name)


async def available(read: Read, skus: Sequence[str]) -> dict[str, int]:
    """Units that can be promised now, by SKU; a SKU that never had stock has 0."""
    found = {row["sku"]: row["available"] for row in await read.fetch(SQL["available_stock"], list(skus))}
    return {sku: found.get(sku, 0) for sku in skus}


async def levels(read: Read, skus: Sequence[str]) -> list[Level]:
    """The books of these SKUs, location by location."""
    return await rows(read, SQL["stock_levels"], Level, list(skus))
