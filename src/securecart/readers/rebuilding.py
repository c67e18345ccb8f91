"""Make a reader's work anew while the shop sells, and say how far it is from the orders database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from securecart.errors import NotFound, StoreAway
from securecart.readers.model import Progress, Reader, Stores
from securecart.readers.running import begin, register
from securecart.readers.table import name_in, readers_of
from securecart.stores.postgres import log as event_log

__all__ = ["differences", "rebuild"]

TURN_WITHIN_S = 60.0


async def rebuild(stores: Stores, name: str, progress: Progress, readers: Sequence[Reader] | None = None) -> int:
    """Make the work of this region's reader called `name` anew from the orders database; counts the things written.

    It is correct while the shop sells: the rebuild takes the reader's turn, so the worker pauses that reader and nobody else
    writes its projection. It remembers the log's horizon first, reads the orders database after that, and at the end moves
    the reader to the remembered place: what changed meanwhile lies behind it and is read then. Interrupted, it has moved
    nothing and can be repeated. `NotFound` for an unknown name, `StoreAway` when the turn or a store cannot be had.
    """
    here = readers_of(stores.region) if readers is None else readers
    reader = next((one for one in here if one.name in {name, name_in(stores.region, name)}), None)
    if reader is None:
        raise NotFound(noun="reader", key=name)
    await register(stores, [reader])
    async with event_log.open_line(stores.database) as line:
        await line.wait_for_turn(reader.name, seconds=TURN_WITHIN_S)
        work = asyncio.create_task(begin(stores, reader, progress))
        lost = asyncio.create_task(line.lost.wait())
        try:
            await asyncio.wait([work, lost], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise StoreAway(store="orders database", retry_after=2)
            return work.result()
        finally:
            for task in (work, lost):
                task.cancel()
            await asyncio.gather(work, lost, return_exceptions=True)


async def differences(stores: Stores, readers: Sequence[Reader] | None = None) -> dict[str, int]:
    """How many things each of this region's readers shows otherwise than the orders database says, still after three seconds.

    The shop may sell meanwhile, as long as its readers are not further behind than that.
    """
    here = readers_of(stores.region) if readers is None else readers
    async with stores.as_seen_here() as seen:
        return {reader.name: await reader.differences(seen) for reader in here if reader.differences is not None}
