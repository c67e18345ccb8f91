"""DynamoDB Local's file appends to a log, which makes a write half as dear."""

from __future__ import annotations

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


async def test_the_engines_log_is_brought_into_the_file_while_it_works(shop: Shop, shop_home: Path) -> None:
    path = shop_home / "data" / "dynamodb" / FILE
    for number in range(50):
        await carts.add(shop.dynamodb, f"log-{number}", Line("A", 1), days=1)
    before = path.stat().st_mtime_ns
    shorten_log(path)
    assert path.stat().st_mtime_ns == before  # it is short enough
    shorten_log(path, above=0)
    assert path.stat().st_mtime_ns > before
    assert [len((await carts.load(shop.dynamodb, f"log-{number}")).lines) for number in range(50)] == [1] * 50
