"""What can be done with stock. Each verb is one statement; the caller's transaction decides whether it counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from securecart.errors import BadInput
from securecart.events import StockChanged
from securecart.inventory.model import Hold, Level, Place, Receipt, Shelves
from securecart.stores.postgres import Read, Transaction, log, rows, statements_of

SQL = statements_of(__package__)

FACT_SKUS = 500


async def lock(tx: Transaction, skus: Iterable[str]) -> Shelves:
    """What can be promised of these SKUs, nobody else's to promise until the transaction ends."""
    return Shelves(await rows(tx, SQL["lock_stock"], Place, sorted(set(skus))))


async def lock_held(tx: Transaction, order_ids: Sequence[int]) -> None:
    """Lock the stock that these orders hold units of, as `lock` does: before they change and are released."""
    await tx.execute(SQL["lock_held_stock"], order_ids)


async def hold(tx: Transaction, holds: Sequence[Hold]) -> None:
    """Reserve what orders were given from locked `Shelves`."""
    each = [(hold.order_id, taken) for hold in holds for taken in hold.taken]
    await tx.execute(
        SQL["hold_stock"],
        [order_id for order_id, _ in each],
        [taken.sku for _, taken in each],
        [taken.location_id for _, taken in each],
        [taken.quantity for _, taken in each],
    )


async def sell(tx: Transaction, order_ids: Sequence[int]) -> None:
    """Make what these orders hold theirs; no stock row changes, and nothing happens where one holds nothing."""
    await tx.execute(SQL["sell_held"], order_ids)


async def release(tx: Transaction, order_ids: Sequence[int]) -> None:
    """Make what these orders hold available again, once its stock is locked; nothing happens where one holds nothing."""
    await tx.execute(SQL["release_held"], order_ids)


async def restock(tx: Transaction, order_id: int) -> None:
    """Take back what the order was sold; nothing happens when it was sold nothing."""
    await tx.execute(SQL["restock_sold"], order_id)


async def receive(tx: Transaction, receipts: Sequence[Receipt]) -> None:
    """Add goods that arrived, and tell the event log; `BadInput` when a location is unknown."""
    codes = [receipt.location for receipt in receipts]
    unknown = [row["code"] for row in await tx.fetch(SQL["unknown_locations"], sorted(set(codes)))]
    if unknown:
        raise BadInput(field="location", problem=f"There is no location {unknown[0]!r}; add it first.")
    skus, quantities = [receipt.sku for receipt in receipts], [receipt.quantity for receipt in receipts]
    await tx.execute(SQL["receive_stock"], skus, quantities, codes)
    parts = [skus[start : start + FACT_SKUS] for start in range(0, len(skus), FACT_SKUS)]
    await log.publish(tx, [StockChanged(tuple(part)) for part in parts])


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
