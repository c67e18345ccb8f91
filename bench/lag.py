"""How far the readers of the event log are behind, and waiting until they are not: a round must not pay for another."""

from __future__ import annotations

import asyncio
import time

from msgspec import Struct

from bench.harness import BenchFailed
from securecart.stores.postgres import Database, log

__all__ = ["Lag", "catch_up", "lag_of"]

LOOK_EVERY_S = 0.1
PATIENCE_S = 180.0


class Lag(Struct, frozen=True):
    """Of the reader that is furthest behind: events it has not read, seconds since the oldest of them was written."""

    events: int = 0
    seconds: float = 0.0


async def lag_of(database: Database) -> Lag:
    """How far the readers are behind now; nothing where there is no reader."""
    async with database.fresh() as read:
        found = await log.standings(read)
    events, seconds = (max((getattr(one, name) for one in found), default=0) for name in ("behind_events", "behind_seconds"))
    return Lag(events, seconds)


async def catch_up(database: Database) -> float:
    """Wait until every reader has read everything; gives the seconds that took. `BenchFailed` when they do not."""
    began = time.perf_counter()
    while (lag := await lag_of(database)).events:
        waited = time.perf_counter() - began
        if waited > PATIENCE_S:
            raise BenchFailed(problem=f"the event log's readers are still {lag.events:,} events behind after {waited:.0f} s.")
        await asyncio.sleep(LOOK_EVERY_S)
    return time.perf_counter() - began
