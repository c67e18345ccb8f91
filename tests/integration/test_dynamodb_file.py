"""DynamoDB Local's file appends to a log, which makes a write half as dear."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest


@pytest.mark.usefixtures("engines")
async def test_the_engines_file_keeps_a_write_ahead_log(shop_home: Path) -> None:
    path = shop_home / "data" / "dynamodb" / "shared-local-instance.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"securecart-sessions", "securecart-carts"} <= tables
