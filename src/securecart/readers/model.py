"""What a reader is, and what it works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from securecart.events import Event
from securecart.stores.cache import Cache
from securecart.stores.dynamodb import DynamoDB
from securecart.stores.graph import Graph
from securecart.stores.postgres import Database, Nearby

__all__ = ["Progress", "Reader", "Stores"]

GATHER_S = 0.05

# told now and then how many things are done
Progress = Callable[[int], None]


class Stores(Struct, frozen=True):
    """The stores that readers read from and write to, and the region whose they are; empty where there is only one.

    In one of several regions they read what its own nodes show (`near`), so that nothing they write is ahead of these.
    """

    database: Database
    dynamodb: DynamoDB
    cache: Cache
    graph: Graph
    region: str = ""
    near: Nearby | None = None

    @asynccontextmanager
    async def as_seen_here(self) -> AsyncIterator[Stores]:
        """The same, its database one to read from: the writer, or a node of this region that goes forward only."""
        if self.near is None:
            yield self
            return
        async with self.near.one_node() as database:
            yield msgspec.structs.replace(self, database=database)


class Reader(Struct, frozen=True):
    """A consumer of the log. `read` may see a fact twice, and facts of one order late: it must do no harm.

    `rebuild` makes all of its work anew and counts the things it wrote; `differences` counts what is otherwise than the
    orders database says. A reader that is `essential` slows the shop's intake when it falls behind. One that is `shared`
    writes what all regions have in common: it has one place and one turn, whichever region's worker runs it. After a batch that
    was not full it waits `gather_s` for more of the same moment: fewer and fuller batches cost less.
    """

    name: str
    does: str
    read: Callable[[Stores, Sequence[Event]], Awaitable[None]]
    rebuild: Callable[[Stores, Progress], Awaitable[int]]
    differences: Callable[[Stores], Awaitable[int]] | None = None
    essential: bool = True
    shared: bool = False
    gather_s: float = GATHER_S
