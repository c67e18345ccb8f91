"""`securecart readers` as an operator types it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import msgspec

from securecart import readers
from securecart.app import Shop


async def run(home: Path, *words: str) -> tuple[int | None, str, str]:
    command = [sys.executable, "-m", "securecart", "readers", *words, "--home", str(home)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def test_an_operator_sees_how_far_the_readers_are(shop: Shop, shop_home: Path) -> None:
    await readers.catch_up(shop.stores)
    code, said, _ = await run(shop_home, "list", "--json")
    rows = {row["name"]: row for row in msgspec.json.decode(said)}
    assert code == 0
    assert set(rows) >= {reader.name for reader in readers.READERS}
    fields = ["name", "does", "behind_events", "behind_seconds", "cursor", "passed", "moved_at"]
    assert list(rows["history"]) == fields
    assert rows["history"]["does"] == "writes each shopper's order history"
    code, said, _ = await run(shop_home, "list")
    assert (code, "history  writes each shopper's order history" in said) == (0, True)


async def test_an_operator_rebuilds_a_reader(shop_home: Path) -> None:
    code, said, complained = await run(shop_home, "rebuild", "history")
    assert (code, said.partition(":")[0], complained) == (0, "history", "")
    code, _, complained = await run(shop_home, "rebuild", "moon")
    assert (code, complained) == (1, "securecart: There is no reader 'moon' here.\n")
