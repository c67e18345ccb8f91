"""Keys that are looked up in the same moment go to the cache as one command, and each caller gets its own answer."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from valkey.asyncio import Valkey

from securecart.settings import Settings
from securecart.stores import cache


async def commands_of(url: str) -> dict[str, int]:
    client = Valkey.from_url(url.replace("redis://", "valkey://", 1))
    counted = await client.info("commandstats")
    await client.aclose()
    return {name: stats["calls"] for name, stats in counted.items()}


async def test_look_ups_of_one_moment_are_one_command(engines: Settings) -> None:
    memory = cache.connect(engines.valkey_url)
    names = [f"test:{secrets.token_hex(8)}" for _ in range(20)]
    await asyncio.gather(*(memory.put(name, name.encode(), seconds=60) for name in names[:19]))
    before = await commands_of(engines.valkey_url)
    found = await asyncio.gather(*(memory.get(name) for name in [*names, names[0]]))
    after = await commands_of(engines.valkey_url)
    assert found == [*(name.encode() for name in names[:19]), None, names[0].encode()]
    assert after["cmdstat_mget"] - before.get("cmdstat_mget", 0) == 1
    await memory.close()


async def test_a_caller_who_leaves_takes_nobody_along(engines: Settings) -> None:
    memory = cache.connect(engines.valkey_url)
    name = f"test:{secrets.token_hex(8)}"
    await memory.put(name, b"kept", seconds=60)
    leaving, staying = asyncio.create_task(memory.get(name)), asyncio.create_task(memory.get(name))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == b"kept"
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await memory.close()
