"""The readers of this shop, and what they are called in each of its regions.

Each region has carts and histories of its own to write, so each has readers of its own, with places of their own in the
one event log. The first region's bear the names that a shop of one region has: it becomes one of several as it is. A reader
that all regions share has one name and one place.
"""

from __future__ import annotations

import msgspec

from securecart.readers import cache, carts, graph, history
from securecart.readers.model import Reader
from securecart.settings import FIRST_REGIONS

__all__ = ["READERS", "essential_in", "name_in", "plain_name", "readers_of"]

READERS = (
    Reader("carts", "takes what was bought out of the carts", carts.read, carts.rebuild, carts.differences),
    Reader("history", "writes each shopper's order history", history.read, history.rebuild, history.differences),
    # a lost cache must never stop a sale, and what it keeps ends by itself after two minutes
    Reader("cache", "drops product pages and prices that changed", cache.read, cache.rebuild, essential=False),
    # a shop whose graph knows less judges with more caution, and sells
    Reader(
        "graph",
        "teaches the graph who shares what",
        graph.read,
        graph.rebuild,
        graph.differences,
        essential=False,
        shared=True,
        gather_s=1.0,
    ),
)
SHARED = frozenset(reader.name for reader in READERS if reader.shared)


def name_in(region: str, name: str) -> str:
    """What the log calls this reader of this region."""
    return name if region in FIRST_REGIONS or name in SHARED else f"{name}@{region}"


def plain_name(name: str) -> str:
    """The reader's name without its region."""
    return name.partition("@")[0]


def readers_of(region: str) -> tuple[Reader, ...]:
    """The readers that a region runs."""
    return tuple(msgspec.structs.replace(reader, name=name_in(region, reader.name)) for reader in READERS)


def essential_in(region: str) -> tuple[str, ...]:
    """The names of those that slow the region's intake when they fall behind."""
    return tuple(reader.name for reader in readers_of(region) if reader.essential)
