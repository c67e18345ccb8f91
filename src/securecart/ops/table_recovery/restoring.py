"""A table at an earlier moment made into a new table, on an engine that cannot do so itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from msgspec import Struct

from securecart.errors import RecoveryRefused, SecureCartError
from securecart.ops.table_recovery.past import Past
from securecart.ops.table_recovery.writing import in_batches, put_all
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.wire import Refused, Region

__all__ = ["Restored", "refuse_existing", "restore"]

Tell = Callable[[str], None]


class Restored(Struct, frozen=True):
    """What was made: the new table, its items (None where the engine has not counted them yet), how long it took."""

    table: str
    items: int | None
    seconds: float


async def restore(past: Past, region: Region, into: str, tell: Tell) -> Restored:
    """Make the table with the same keys and indexes, fill it, count it, and only then let items expire.

    `RecoveryRefused` when there is such a table; one that could not be filled is taken away again.
    """
    began = time.monotonic()
    await refuse_existing(region, into)
    await shape.create_like(region, into, past.shape, expires="", streams=False)
    try:
        items = 0
        async for batch in in_batches(past.pages()):
            await put_all(region, into, batch)
            items += len(batch)
            tell(f"{into}: {items:,} items")
        await _check_count(region, into, items)
        if past.table.expires:
            await shape.expire_by(region, into, past.table.expires)
    except BaseException:
        with contextlib.suppress(SecureCartError, Refused):
            await region.call("DeleteTable", TableName=into)
        raise
    return Restored(into, items, round(time.monotonic() - began, 1))


async def refuse_existing(region: Region, name: str) -> None:
    """`RecoveryRefused` when there is a table of this name: nothing is ever recovered over another one."""
    if await shape.described(region, name) is not None:
        raise RecoveryRefused(problem=f"There is a table {name} already; name another with --into.")


async def _check_count(region: Region, name: str, written: int) -> None:
    there = await shape.count(region, name)
    if there != written:
        raise RecoveryRefused(problem=f"{name} has {there:,} items and {written:,} were written: somebody else writes there too.")
