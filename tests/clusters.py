"""A database on three nodes for the tests: started the first time a test asks, watched over, shared by all of them.

A test leaves it as it found it: three nodes that serve (`Nodes.all_well` waits for that). Which node is the writer may be
another one for each test.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil

from securecart import migrations
from securecart import settings as settings_table
from securecart.engines import Home, Supervisor
from securecart.engines.patroni import PatroniNode, patroni_nodes
from securecart.engines.postgres_files import postmaster_of
from securecart.ops.cluster import Cluster, Snapshot, observe
from securecart.settings import Settings

DEADLINE_S = 120


class Nodes:
    """Three running nodes, and what a test may do to them."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def settings(self) -> Settings:
        """Under which the nodes are found."""
        return settings_table.load(str(self.home.path))

    @property
    def cluster(self) -> Cluster:
        """As the operator's commands know it."""
        return Cluster.of(self.settings)

    async def seen(self) -> Snapshot:
        """As it is now."""
        return await observe(self.cluster)

    async def until(self, condition: Callable[[Snapshot], bool], what: str) -> Snapshot:
        """Wait for something; the test fails when it does not come."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition(seen := await self.seen()):
            assert time.monotonic() < deadline, f"{what}: not after {DEADLINE_S} s; {seen}"
            await asyncio.sleep(0.05)
        return seen

    async def all_well(self) -> Snapshot:
        """Wait until every node serves, on one timeline."""
        return await self.until(
            lambda seen: seen.healthy and len({node.timeline for node in seen.nodes}) == 1, "three nodes serve"
        )

    async def writer(self) -> str:
        """The label of the node that takes writes."""
        seen = await self.until(lambda seen: seen.writer is not None, "a node takes writes")
        assert seen.writer is not None
        return seen.writer.name

    def url(self, label: str) -> str:
        """One node's address, as the tables' owner."""
        return addresses(self.settings.postgres_owner_url)[int(label.rpartition("-")[2]) - 1]

    def server(self, label: str) -> psutil.Process:
        """A node's PostgreSQL."""
        server = postmaster_of(self.data(label))
        assert server is not None, f"{label} has no PostgreSQL"
        return server

    def patroni(self, label: str) -> psutil.Process:
        """A node's Patroni."""
        state = self.home.state()
        assert state is not None
        return psutil.Process(next(engine.pid for engine in state.engines if engine.name == label))

    def data(self, label: str) -> Path:
        """A node's data folder."""
        number = label.rpartition("-")[2]
        return self.home.path / "data" / ("postgres" if number == "1" else f"postgres-{number}")

    def lose(self, label: str) -> None:
        """The whole node dies at once, and stays away until it is let go."""
        self.home.hold(label)
        patroni = self.patroni(label)
        patroni.kill()
        self.crash(label)

    def crash(self, label: str) -> None:
        """Its PostgreSQL dies with all its sessions at once."""
        server = self.server(label)
        for process in (server, *server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def freeze(self, label: str) -> Callable[[], None]:
        """The whole node stops where it is; what is returned thaws it."""
        server = self.server(label)
        family = [self.patroni(label), server, *server.children(recursive=True)]
        for process in family:
            process.suspend()

        def thaw() -> None:
            for process in family:
                if process.is_running():
                    process.resume()

        return thaw

    async def value(self, statement: str) -> object:
        """Ask the writer."""
        connection = await asyncpg.connect(self.url(await self.writer()), timeout=DEADLINE_S)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


def addresses(url: str) -> list[str]:
    """The nodes of an address that names several, one each."""
    scheme, _, rest = url.partition("://")
    account, _, where = rest.rpartition("@")
    hosts, _, path = where.partition("/")
    return [f"{scheme}://{account}@{host}/{path.partition('?')[0]}" for host in hosts.split(",")]


@asynccontextmanager
async def running_nodes(folder: Path, **settings: object) -> AsyncIterator[Nodes]:
    """Three nodes that run from `folder`, with the shop's tables, for as long as the block does; dead ones come back."""
    home = Home(folder)
    home.prepare()
    home.remember({"profile": "ha", **settings})
    lock = home.lock()
    assert lock is not None
    nodes: list[PatroniNode] = patroni_nodes(home, settings_table.load(str(folder)))

    async def create() -> None:
        await migrations.apply(settings_table.load(str(folder)).postgres_owner_url)

    supervisor = Supervisor(home, [nodes], prepare=create, report=lambda _: None)
    await supervisor.start(lock)
    stopping = asyncio.Event()
    watching = asyncio.create_task(supervisor.watch(stopping))
    try:
        yield Nodes(home)
    finally:
        stopping.set()
        await watching
        await supervisor.stop()
