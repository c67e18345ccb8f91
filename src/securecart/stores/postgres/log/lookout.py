"""How far the readers have come, looked at twice a second at most by each process, and never by a request that waits.

Who must not wait asks `seen`, who wants a fresh answer asks `look`.
"""

from __future__ import annotations

import asyncio
import time

from securecart.errors import SecureCartError
from securecart.stores.postgres.database import Database
from securecart.stores.postgres.log.actions import standings
from securecart.stores.postgres.log.model import Standing

__all__ = ["Lookout"]

FRESH_S = 0.5
# longer than any answer takes; a page must not hang on a writer that is frozen and not yet found out
WITHIN_S = 0.25
STALE_S = 5.0


class Lookout:
    """The newest standings this process has seen."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, Standing] | None = None
        self._at = float("-inf")
        self._under_way: asyncio.Task[None] | None = None

    def seen(self) -> dict[str, Standing] | None:
        """The last standings by reader, None when there are none of the last seconds; looks again in the background."""
        age = time.monotonic() - self._at
        if age > FRESH_S:
            self._begin()
        return self._seen if age <= STALE_S else None

    async def look(self) -> dict[str, Standing] | None:
        """Standings at most half a second old, None when the database does not tell within a quarter of a second."""
        if time.monotonic() - self._at > FRESH_S:
            await asyncio.wait([self._begin()], timeout=WITHIN_S)  # which leaves the looking as it is
        return self._seen if time.monotonic() - self._at <= FRESH_S else None

    def close(self) -> None:
        """Stop looking."""
        if self._under_way is not None:
            self._under_way.cancel()

    def _begin(self) -> asyncio.Task[None]:
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._look())
        return self._under_way

    async def _look(self) -> None:
        try:
            async with self._database.fresh(within_s=0) as fresh:
                self._seen = {one.name: one for one in await standings(fresh)}
        except SecureCartError:
            return
        self._at = time.monotonic()
