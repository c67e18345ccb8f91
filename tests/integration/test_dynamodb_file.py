"""DynamoDB Local's file appends to a log, which makes a write half as dear."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from securecart import carts
from securecart.app import Shop
from securecart.engines.dynamodb import FILE, shorten_log
from securecart.values import Line


@pytest.mark.usefixtures("engines")
async def test_the_engines_file_keeps_a_write_ahead_log(shop_home: Path) -> None:
    path = shop_home / "data" / "dynamodb" / "shared-local-instance.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"securecart-sessions", "securecart-carts"} <= tables


async def test_the_engines_log_is_brought_into_the_file_and_begun_anew_while_it_works(shop: Shop, shop_home: Path) -> None:
    path = shop_home / "data" / "dynamodb" / FILE
    log = path.with_name(f"{FILE}-wal")

    async def fill(shopper: int) -> None:
        for number in range(10):
            await carts.add(shop.dynamodb, f"log-{shopper}-{number}", Line("A", 1), days=1)

    await asyncio.gather(*(fill(shopper) for shopper in range(4)))
    before, size = path.stat().st_mtime_ns, log.stat().st_size
    filling = asyncio.gather(*(fill(shopper) for shopper in range(4, 8)))
    assert await asyncio.to_thread(shorten_log, path, above=1)
    await filling
    assert path.stat().st_mtime_ns > before
    assert not await asyncio.to_thread(shorten_log, path)  # it is short enough now
    assert log.stat().st_size < 2 * size
    found = [await carts.load(shop.dynamodb, f"log-{shopper}-{number}") for shopper in range(8) for number in range(10)]
    assert [len(cart.lines) for cart in found] == [1] * 80
