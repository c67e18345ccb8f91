"""The verbs for who knows two addresses: replicate between them, compare them, make one like the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from securecart.ops.global_tables import whole
from securecart.ops.global_tables.replicating import Replicator
from securecart.ops.global_tables.standing import serve
from securecart.ops.global_tables.state import Checkpoints
from securecart.ops.global_tables.whole import Difference
from securecart.stores.dynamodb.items import Table
from securecart.stores.dynamodb.wire import Region

__all__ = ["compare_urls", "copy_urls", "replicate"]

FILE = "checkpoints.json"


async def replicate(
    urls: Mapping[str, str], tables: Sequence[Table], *, folder: Path, port: int, stopping: asyncio.Event
) -> None:
    """Carry changes between the two regions, whose addresses are given by name, until `stopping` is set."""
    async with _regions(urls) as regions:
        replicator = Replicator(regions, tables, Checkpoints(folder / FILE))
        runner = await serve(replicator, port)
        try:
            await replicator.run(stopping)
        finally:
            await runner.cleanup()


async def compare_urls(urls: Mapping[str, str], tables: Sequence[Table]) -> list[Difference]:
    """The keys whose items differ between two regions; those on their way at this moment are among them."""
    async with _regions(urls) as regions:
        return await whole.compare(regions, tables)


async def copy_urls(urls: Mapping[str, str], tables: Sequence[Table], *, source: str, folder: Path) -> int:
    """Make the other region's tables exactly those of `source`; answers how many items were written or deleted.

    `folder` is the replicator's. It must not run meanwhile; started afterwards, it goes on where the copy began.
    """
    async with _regions(urls) as regions:
        origin = next(region for region in regions if region.name == source)
        target = next(region for region in regions if region.name != source)
        return await whole.copy(origin, target, tables, Checkpoints(folder / FILE))


@contextlib.asynccontextmanager
async def _regions(urls: Mapping[str, str]) -> AsyncIterator[list[Region]]:
    regions = [Region(name, url) for name, url in urls.items()]
    try:
        yield regions
    finally:
        await asyncio.gather(*(region.close() for region in regions))
