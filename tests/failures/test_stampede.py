"""How often the database is asked when the cache dies under load and when it returns empty, by two opened shops."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Self

import msgspec
import pytest
from valkey.asyncio import Valkey

from securecart import catalog
from securecart.app import Shop, open_shop
from securecart.catalog import actions, kept
from securecart.engines import Home
from securecart.engines.valkey import Valkey as ValkeyEngine
from securecart.settings import Settings
from securecart.settings import load as load_settings
from securecart.stores import cache
from securecart.stores.cache import spare
from securecart.stores.postgres import Read
from tests.orders_for_tests import a_product

PRODUCTS = 25
CALLERS = 12
WITHIN_S = 30.0


class Loads:
    """Stands before the database: counts what is loaded of products, and how much at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.now = self.at_once = 0
        self._load = actions._page
        monkeypatch.setattr(actions, "_page", self)

    async def __call__(self, read: Read, slug: str) -> bytes:
        self.count += 1
        self.now += 1
        self.at_once = max(self.at_once, self.now)
        try:
            await asyncio.sleep(0.005)  # a database with something to do
            return await self._load(read, slug)
        finally:
            self.now -= 1


class Readers:
    """Look at products in two shops, without a pause, until told to stop."""

    def __init__(self, shops: list[Shop], slugs: list[str]) -> None:
        self.asked = 0
        self._shops = shops
        self._slugs = slugs
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._read(shop)) for shop, _ in itertools.product(self._shops, range(CALLERS))]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended

    async def for_a_while(self, seconds: float) -> int:
        """How often was asked in this time."""
        before = self.asked
        await asyncio.sleep(seconds)
        assert not any(task.done() for task in self._tasks)
        return self.asked - before

    async def _read(self, shop: Shop) -> None:
        while True:
            await catalog.product_json(shop.database, shop.cache, random.choice(self._slugs))
            self.asked += 1
            await asyncio.sleep(0.001)


@pytest.fixture
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ValkeyEngine]:
    """A cache of this test's own, to be stopped and started."""
    home = Home(tmp_path_factory.mktemp("stampede"))
    home.prepare()
    engine = ValkeyEngine(home, load_settings(str(home.path), {}))
    engine.choose_port()
    await engine.start()
    await engine.wait_until_ready()
    yield engine
    await engine.stop()


@pytest.fixture
async def shops(engines: Settings, valkey: ValkeyEngine) -> AsyncIterator[list[Shop]]:
    settings = msgspec.structs.replace(engines, valkey_url=valkey.connections()["valkey_url"])
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_shop(settings)) for _ in range(2)]


async def until(shops: list[Shop], *, away: bool) -> None:
    async with asyncio.timeout(WITHIN_S):
        while any(shop.cache.breaker.is_open() != away for shop in shops):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def test_neither_the_caches_death_nor_its_return_sends_everybody_to_the_database(
    shops: list[Shop], valkey: ValkeyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slugs = [(await a_product(shops[0].database)).lower() for _ in range(PRODUCTS)]
    loads = Loads(monkeypatch)
    once_each = PRODUCTS * len(shops)
    async with Readers(shops, slugs) as readers:
        await readers.for_a_while(0.5)
        assert loads.count <= once_each

        await valkey.stop()
        await until(shops, away=True)
        began, before = time.monotonic(), loads.count
        asked = await readers.for_a_while(3.0)
        spells = (time.monotonic() - began) / spare.SECONDS + 1
        assert loads.count - before <= once_each * spells
        assert asked > 4 * (loads.count - before), "or the test shows nothing"

        before = loads.count
        await valkey.start()
        await until(shops, away=False)
        await readers.for_a_while(1.0)
        assert loads.count - before <= 2 * once_each  # what ended while it was still away, and once after its return
    assert loads.at_once <= sum(max(1, shop.settings.postgres_pool // 2) for shop in shops)


async def test_what_was_loaded_at_once_does_not_end_at_once() -> None:
    assert len({kept.spread(120) for _ in range(200)}) > 10
    assert all(96 <= kept.spread(120) <= 120 for _ in range(1000))
    assert kept.spread(1) == 1


async def test_a_much_asked_key_is_worked_out_anew_before_it_ends_and_nobody_waits(shop: Shop, engines: Settings) -> None:
    memory = cache.connect(engines.valkey_url)
    key, loads = "test:early", 0
    waited: list[float] = []

    async def load(_read: Read) -> bytes:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return f"content {loads}".encode()

    await memory.drop([key])
    assert await kept.read_through(shop.database, memory, key, 2, load) == b"content 1"
    began = time.monotonic()
    while time.monotonic() - began < 4.0:  # two lives of the key
        asked_at = time.monotonic()
        await kept.read_through(shop.database, memory, key, 2, load)
        waited.append(time.monotonic() - asked_at)
        await asyncio.sleep(0.002)
    assert loads >= 3
    assert sorted(waited)[int(len(waited) * 0.99)] < 0.05, "who asks gets what is there, and does not wait for the load"
    await memory.close()


async def test_what_another_version_kept_is_loaded_anew(shop: Shop, engines: Settings) -> None:
    memory = cache.connect(engines.valkey_url)
    await memory.put("test:other layout", b'"etag"\n{}', seconds=60)

    async def load(_read: Read) -> bytes:
        return b"new"

    assert await kept.read_through(shop.database, memory, "test:other layout", 60, load) == b"new"
    client = Valkey.from_url(engines.valkey_url.replace("redis://", "valkey://", 1))
    assert (await client.get("test:other layout"))[:1] == bytes([kept.LAYOUT])
    await client.aclose()
    await memory.close()


async def test_the_spare_forgets_the_oldest_and_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "ENTRIES_MAX", 3)
    few = spare.Spare()
    for name in "abcd":
        few.put(name, name.encode(), seconds=60)
    assert [few.get(name) for name in "abcd"] == [None, b"b", b"c", b"d"]
    few.drop(["c"])
    few.put("d", b"short", seconds=0)
    assert [few.get(name) for name in "bcd"] == [b"b", None, None]
