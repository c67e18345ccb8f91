"""The cache under load and after its death: it may forget, but it never stops anybody."""

from __future__ import annotations

import asyncio
import secrets
import time

from securecart.settings import Settings
from securecart.stores import cache


async def test_many_callers_at_once_wait_for_their_turn(engines: Settings) -> None:
    memory = cache.connect(engines.valkey_url)
    names = [f"test:{secrets.token_hex(8)}" for _ in range(400)]
    await asyncio.gather(*(memory.put(name, name.encode(), seconds=60) for name in names))
    found = await asyncio.gather(*(memory.get(name) for name in names))
    assert found == [name.encode() for name in names]
    await asyncio.gather(*(memory.put(name, b"new", seconds=60) for name in names))
    assert await memory.get_many(names) == [b"new"] * 400
    await memory.drop(names)
    assert await memory.get_many(names[:3]) == [None] * 3
    await memory.close()


async def test_counting_counts_each_caller_once(engines: Settings) -> None:
    memory = cache.connect(engines.valkey_url)
    key = f"test:{secrets.token_hex(8)}"
    counted = await asyncio.gather(*(memory.count(key, seconds=3600) for _ in range(50)))
    assert sorted(counted) == list(range(1, 51))
    await memory.close()


async def test_a_cache_that_is_away_answers_nothing_at_once_and_is_asked_again_later() -> None:
    memory = cache.connect("redis://127.0.0.1:1/0")
    assert await memory.get("anything") is None
    began = time.monotonic()
    for _ in range(1000):
        assert await memory.get("anything") is None
        assert await memory.count("anything", seconds=60) == 0
        await memory.put("something else", b"", seconds=1)
    assert time.monotonic() - began < 1.0
    assert not await memory.answers()
    await memory.close()
