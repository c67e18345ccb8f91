"""Two regions for tests: a DynamoDB engine each, a link between them that can be cut, and a replicator that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from securecart import carts, sessions
from securecart import settings as settings_table
from securecart.engines.dynamodb import DynamoDB as Engine
from securecart.engines.home import Home
from securecart.engines.replicator import Replicator
from securecart.ops import global_tables
from securecart.ops.global_tables.model import Change
from securecart.replicator import shared_tables
from securecart.sandbox.link import Door, Link, LinkPlan, Node
from securecart.stores import dynamodb
from securecart.stores.dynamodb import DynamoDB
from securecart.stores.dynamodb.items import Item, Key, Table, bare, key_of
from securecart.stores.dynamodb.stream import Stream
from securecart.stores.dynamodb.wire import Region

PREFIX = "two-"
TABLES = shared_tables(PREFIX)
SESSIONS, CARTS = TABLES
DELAY_MS = 20
QUIET_WITHIN_S = 120.0


class TwoRegions:
    """Regions a and b; the replicator stands beside a and goes to b through the link."""

    def __init__(self, folder: Path) -> None:
        self.homes = {name: Home(folder / name) for name in "ab"}
        self.engines: dict[str, Engine] = {}
        self.tables: dict[str, DynamoDB] = {}
        self.direct: dict[str, Region] = {}
        self.link: Link
        self.replicator: Replicator

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[TwoRegions]:
        async with contextlib.AsyncExitStack() as stack:
            await asyncio.gather(*(self._start_region(name, home, stack) for name, home in self.homes.items()))
            port = _free_port()
            self.link = Link(LinkPlan(DELAY_MS, (Door("b", port, (Node("", "127.0.0.1", self.engines["b"].port),)),)))
            await self.link.start()
            stack.push_async_callback(self.link.close)
            urls = {"a": self.engines["a"].url(), "b": f"http://127.0.0.1:{port}"}
            home = self.homes["a"]
            self.replicator = Replicator(home, settings_table.load(str(home.path)), urls=lambda: urls)
            self.replicator.choose_port()
            home.remember(self.replicator.connections())
            stack.push_async_callback(self.replicator.stop)
            await self.begin()
            await self.quiet()  # from here on the streams tell everything
            yield self

    @property
    def urls(self) -> Mapping[str, str]:
        return {name: engine.url() for name, engine in self.engines.items()}

    @property
    def url(self) -> str:
        return self.replicator.connections()["replicator_url"]

    async def begin(self) -> None:
        await self.replicator.start()
        await self.replicator.wait_until_ready()

    async def kill(self) -> None:
        """Kill the replicator at once, and start another."""
        running = self.replicator.running()
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        await self.replicator.stop()
        await self.begin()

    async def quiet(self) -> float:
        return await global_tables.caught_up(self.url, within_s=QUIET_WITHIN_S)

    async def items(self, table: Table) -> dict[str, dict[Key, Item]]:
        """What each region holds, without marks."""
        found = {}
        for name, region in self.direct.items():
            page = await region.call("Scan", TableName=table.name, ConsistentRead=True)
            assert "LastEvaluatedKey" not in page
            found[name] = {key_of(table, item): bare(item) or {} for item in page["Items"]}
        return found

    async def records(self, table: Table) -> dict[str, list[Change]]:
        """All that each region's stream tells."""
        told: dict[str, list[Change]] = {}
        for name, region in self.direct.items():
            stream = Stream(region, table)
            await stream.open(None)
            told[name] = []
            while True:
                batch = await stream.read()
                told[name] += [Change.of(name, table, record) for record in batch.records]
                if batch.at_end:
                    break
        return told

    async def winners(self, table: Table) -> dict[Key, Item]:
        """What the applications wrote last of each key, by the streams' own times."""
        last: dict[Key, Change] = {}
        for changes in (await self.records(table)).values():
            for change in changes:
                if change.echo is None and (change.key not in last or _order(change) > _order(last[change.key])):
                    last[change.key] = change
        return {key: change.new for key, change in last.items() if change.new is not None}

    async def _start_region(self, name: str, home: Home, stack: contextlib.AsyncExitStack) -> None:
        home.prepare()
        home.remember({"profile": "regions", "dynamodb_prefix": PREFIX, "region": name})
        engine = Engine(home, settings_table.load(str(home.path)))
        engine.choose_port()
        stack.push_async_callback(engine.stop)
        await engine.start()
        await engine.wait_until_ready()
        home.remember(engine.connections())
        tables = await dynamodb.connect(engine.url(), region="us-east-1", prefix=PREFIX)
        stack.push_async_callback(tables.close)
        direct = Region(name, engine.url())
        stack.push_async_callback(direct.close)
        await tables.create_tables([sessions.TABLE, carts.TABLE])
        self.engines[name], self.tables[name], self.direct[name] = engine, tables, direct


@contextlib.asynccontextmanager
async def two_regions() -> AsyncIterator[TwoRegions]:
    """Both regions with empty tables, on a memory disk where there is one: what is tested is not the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="securecart-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        async with TwoRegions(Path(folder)).running() as regions:
            yield regions


def _order(change: Change) -> tuple[int, str, str]:
    return change.time_us, change.region, change.place[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
