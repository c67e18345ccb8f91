"""A shop of a bench's own, for what cannot be measured in somebody's: its database is killed, filled, put back to a moment."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from bench.harness import BenchFailed, RunningShop, running_shop
from securecart import catalog
from securecart.app import open_shop
from securecart.catalog import NewProduct, NewVariant
from securecart.drills import own_shop

__all__ = ["command", "filled_shelves", "shop_in"]

# as a shop is set up by itself, and unlike a drill's, which is in haste
CALM: dict[str, Any] = {"web_processes": 0, "gateway_timeout_s": 5.0, "reservation_seconds": 30, "sweep_seconds": 5.0}
# what would happen by itself some time must not happen while something is measured
BY_HAND: dict[str, Any] = {"prove_hours": 0.0, "snapshot_hours": 1_000.0}
WORDS_MAX = 600


@contextlib.asynccontextmanager
async def shop_in(folder: Path, **settings: Any) -> AsyncIterator[RunningShop]:
    """The shop runs from this folder for as long as the block does."""
    async with own_shop(folder, lambda _: None, **{**CALM, **BY_HAND, **settings}):
        yield await asyncio.to_thread(running_shop, str(folder))


async def filled_shelves(shop: RunningShop, count: int) -> None:
    """So many products, each with one SKU; those that are there stay as they are."""
    products = [
        NewProduct(
            slug=f"bench-{number:05}",
            title=f"Bench goods {number:05}",
            variants=[NewVariant(f"BENCH-{number:05}", {"USD": 100 + number % 900})],
            brand="Bench",
            categories=["Bench"],
        )
        for number in range(count)
    ]
    async with open_shop(shop.settings) as opened:
        await catalog.import_products(opened.database, opened.cache, products)


async def command(shop: RunningShop, *arguments: str, expect: tuple[int, ...] = (0,)) -> tuple[float, Any]:
    """Run a command of the operator's against the shop: the seconds it took, and the JSON that it printed."""
    began = time.perf_counter()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "securecart", *arguments, "--home", shop.settings.home, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, complaint = await child.communicate()
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()
    if child.returncode not in expect:
        words = " ".join(complaint.decode(errors="replace").split())[-WORDS_MAX:]
        raise BenchFailed(problem=f"`securecart {' '.join(arguments)}` ended with {child.returncode}: {words}")
    return time.perf_counter() - began, msgspec.json.decode(printed)
