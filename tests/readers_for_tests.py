"""The event log's readers, held still while a test looks at what they have not done yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from securecart import readers
from securecart.app import Shop
from securecart.stores.postgres import log

TURN_S = 10


@asynccontextmanager
async def readers_held(shop: Shop) -> AsyncIterator[None]:
    """Nobody reads the log, for as long as the block runs, whether or not a worker is there."""
    async with log.open_line(shop.database) as line:
        for reader in readers.READERS:
            await line.wait_for_turn(reader.name, seconds=TURN_S)
        yield
