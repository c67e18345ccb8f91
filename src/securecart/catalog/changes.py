"""How far a replica must have come to be read for the cache: as far as the last change that the cache has heard of.

A page that is read from a replica a moment behind an import, after the import's pages were dropped, would be kept as it was
before, for minutes. So whoever drops them leaves the writer's position first, and what is loaded afterwards is read
behind it. With a single database node no read is behind; there the mark only tells a load that was under way meanwhile that
what it read is not to be kept.
"""

from __future__ import annotations

from securecart.stores.cache import Cache
from securecart.stores.postgres import Position

__all__ = ["KEY", "leave", "look", "position_in"]

KEY = "changed:catalog"
SECONDS = 600  # longer than any page is kept, and than a replica may stand still while nobody writes


async def leave(cache: Cache, position: Position) -> None:
    """Have everything that is loaded from now on be read behind this position."""
    await cache.put(KEY, str(position).encode(), seconds=SECONDS)


async def look(cache: Cache) -> Position | None:
    """The position of the last change that the cache has heard of, or None."""
    return position_in(await cache.get(KEY))


def position_in(kept: bytes | None) -> Position | None:
    """The position in what the cache kept."""
    return Position(int(kept)) if kept is not None and kept.isdigit() else None
