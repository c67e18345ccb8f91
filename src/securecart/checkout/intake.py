"""How many orders the shop takes in: fewer once what follows from them cannot keep up.

When a reader of the event log falls far behind, each order first waits a little, and far beyond that it is refused: the shop
slows down rather than fall behind without end. No order waits for the look at how far the readers are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from securecart.errors import TooBusy
from securecart.stores.postgres.log import Lookout, Standing

__all__ = ["Intake", "pause_before"]

PAUSE_MAX_S = 1.0
RETRY_AFTER_S = 5


class Intake:
    """Lets orders in by how far the readers called `readers` are behind; `limit_events` 0 lets all of them in."""

    def __init__(self, lookout: Lookout, *, readers: Sequence[str], limit_events: int) -> None:
        self._lookout = lookout
        self._readers = readers
        self._limit = limit_events

    async def admit(self) -> None:
        """Let an order in, at once or after a pause; `TooBusy` when the readers are too far behind."""
        pause_s = pause_before(self._behind(self._lookout.seen()), self._limit)
        if pause_s is None:
            raise TooBusy(retry_after=RETRY_AFTER_S)
        if pause_s:
            await asyncio.sleep(pause_s)

    def _behind(self, seen: Mapping[str, Standing] | None) -> int:
        """Events that the slowest reader has not read; 0 when nobody knows, for that must not stop a sale."""
        return max((seen[name].behind_events for name in self._readers if name in seen), default=0) if seen else 0


def pause_before(behind_events: int, limit_events: int) -> float | None:
    """Seconds that an order waits: none up to the limit, a second at twice the limit, in proportion between; None: refused."""
    if limit_events <= 0 or behind_events <= limit_events:
        return 0.0
    if behind_events > 2 * limit_events:
        return None
    return PAUSE_MAX_S * (behind_events - limit_events) / limit_events
