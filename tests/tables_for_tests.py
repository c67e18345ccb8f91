"""A DynamoDB engine of its own for tests of the tables' recovery, tables in it, and a keeper that can be killed.

As a program it keeps the tables' journals until it is ended: `python -m tests.tables_for_tests URL ARCHIVE TABLE...`.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securecart import settings as settings_table
from securecart.engines.dynamodb import DynamoDB as Engine
from securecart.engines.home import Home
from securecart.ops import table_recovery
from securecart.ops.table_recovery import Plan, Source
from securecart.stores.archive import Archive, open_archive
from securecart.stores.dynamodb import shape
from securecart.stores.dynamodb.items import Table
from securecart.stores.dynamodb.wire import Region

ROOT = Path(__file__).parents[1]
ONCE_A_DAY = Plan(journal=True, snapshot_hours=24.0, days=14.0)


class Tables:
    """One engine, one archive."""

    def __init__(self, home: Home, engine: Engine, region: Region, archive: Archive) -> None:
        self.home = home
        self.engine = engine
        self.region = region
        self.archive = archive
        self.archive_path = archive.where

    async def make(self, name: str, *, sort: str = "", expires: str = "", index: bool = False) -> Table:
        """A table keyed by text, and a number where there is a `sort` key."""
        keys = [{"AttributeName": "owner", "KeyType": "HASH"}] + ([{"AttributeName": sort, "KeyType": "RANGE"}] if sort else [])
        attributes = [{"AttributeName": "owner", "AttributeType": "S"}]
        attributes += [{"AttributeName": sort, "AttributeType": "N"}] if sort else []
        indexes: list[dict[str, Any]] = []
        if index:
            attributes.append({"AttributeName": "colour", "AttributeType": "S"})
            by = [{"AttributeName": "colour", "KeyType": "HASH"}]
            indexes.append({"IndexName": "by_colour", "KeySchema": by, "Projection": {"ProjectionType": "KEYS_ONLY"}})
        like = {"KeySchema": keys, "AttributeDefinitions": attributes, "GlobalSecondaryIndexes": indexes}
        await shape.create_like(self.region, name, like, expires=expires, streams=True)
        return Table(name, ("owner", sort) if sort else ("owner",), expires)

    async def put(self, table: Table, owner: str, **values: str | int) -> None:
        """Put an item of these values."""
        await self.region.call("PutItem", TableName=table.name, Item=item(owner, **values))

    async def delete(self, table: Table, owner: str) -> None:
        """Delete an item."""
        await self.region.call("DeleteItem", TableName=table.name, Key=item(owner))

    async def held(self, name: str) -> dict[str, dict[str, Any]]:
        """All items by owner, or by owner and the number beside it."""
        found: dict[str, dict[str, Any]] = {}
        async for page in shape.pages(self.region, name):
            found |= {one["owner"]["S"]: one for one in page}
        return found

    @contextlib.asynccontextmanager
    async def kept(self, *tables: Table, plan: Plan = ONCE_A_DAY) -> AsyncIterator[None]:
        """The tables' journals are kept meanwhile."""
        stopping = asyncio.Event()
        source = Source(self.engine.url(), "", tables)
        keeping = asyncio.create_task(table_recovery.keep(self.archive, [source], plan, stopping))
        try:
            yield
        finally:
            stopping.set()
            await keeping

    def keeper(self, *tables: Table) -> subprocess.Popen[bytes]:
        """The same in a process of its own."""
        names = [table.name for table in tables]
        command = [sys.executable, "-m", "tests.tables_for_tests", self.engine.url(), str(self.archive_path), *names]
        return subprocess.Popen(command, cwd=ROOT)

    async def covered(self, table: Table) -> None:
        """Return once the archive leads to a moment that is not before this call."""
        now = datetime.now(UTC)
        async with asyncio.timeout(20):
            while not any(window.until >= now for window in await self.windows(table)):  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.1)

    async def windows(self, table: Table) -> list[Any]:
        """The moments that can be reached."""
        folder = table_recovery.folder_of(table.name, "")
        return table_recovery.windows(await asyncio.to_thread(table_recovery.survey, self.archive, folder))


def item(owner: str, **values: str | int) -> dict[str, Any]:
    """An item in DynamoDB's JSON."""
    told = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in values.items()}
    return {"owner": {"S": owner}, **told}


@contextlib.asynccontextmanager
async def running_tables(folder: Path) -> AsyncIterator[Tables]:
    """An engine with streams, as `up` starts it, and an archive in a folder."""
    home = Home(folder / "home")
    home.prepare()
    home.remember({"dynamodb_prefix": "kept-"})
    engine = Engine(home, settings_table.load(str(home.path)))
    engine.choose_port()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.stop)
        await engine.start()
        await engine.wait_until_ready()
        home.remember(engine.connections())
        region = Region("", engine.url())
        stack.push_async_callback(region.close)
        yield Tables(home, engine, region, open_archive(str(home.path / "archive")))


async def _keep(url: str, archive: str, names: list[str]) -> None:
    source = Source(url, "", tuple(Table(name, ("owner",)) for name in names))
    await table_recovery.keep(open_archive(archive), [source], ONCE_A_DAY, asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_keep(sys.argv[1], sys.argv[2], sys.argv[3:]))
