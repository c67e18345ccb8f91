"""The readers of this shop."""

from __future__ import annotations

from securecart.readers import cache, carts, history
from securecart.readers.model import Reader

__all__ = ["ESSENTIAL", "READERS"]

READERS = (
    Reader("carts", "takes what was bought out of the carts", carts.read, carts.rebuild, carts.differences),
    Reader("history", "writes each shopper's order history", history.read, history.rebuild, history.differences),
    # a lost cache must never stop a sale, and what it keeps ends by itself after two minutes
    Reader("cache", "drops product pages and prices that changed", cache.read, cache.rebuild, essential=False),
)
ESSENTIAL = tuple(reader.name for reader in READERS if reader.essential)
