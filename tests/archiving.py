"""A database and its archiver for the tests: real engines from a home of their own, watched over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import psutil

from securecart import settings as settings_table
from securecart.engines import Home, Supervisor
from securecart.engines.archiver import Archiver
from securecart.engines.postgres import Postgres
from securecart.engines.postgres_files import port_of, postmaster_of
from securecart.engines.postgres_roles import NOT_READY, Roles
from securecart.engines.process import gone
from securecart.ops.recovery.going_back import held_at
from securecart.ops.recovery.holdings import survey
from securecart.ops.recovery.model import Beat, Holdings, Moment, Site
from securecart.ops.recovery.sites import site_of
from securecart.ops.recovery.standing import Standing

__all__ = ["Archived", "archived_database"]

DEADLINE_S = 60


class Archived:
    """A home with a database and its archiver, and what a test may do to them."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def site(self) -> Site:
        """As backup and recovery know it."""
        return site_of(settings_table.load(str(self.home.path)))

    async def connect(self) -> asyncpg.Connection:
        """The database, as the tables' owner, once it is there."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return await asyncpg.connect(self.home.settings()["postgres_owner_url"], timeout=DEADLINE_S)
            except NOT_READY:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def run(self, *statements: str) -> None:
        """Carry out statements."""
        connection = await self.connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def as_superuser(self, statement: str) -> Any:
        """Ask what only a superuser may."""
        admin = await Roles(self.home).connect([port_of(self.home.data("postgres"))], "postgres")
        try:
            return await admin.fetchval(statement)
        finally:
            await admin.close()

    async def holdings(self) -> Holdings:
        """What the archive holds."""
        return await asyncio.to_thread(survey, self.site.archive)

    async def standing(self) -> Standing | None:
        """What the archiver says of itself, None while it does not answer."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self._url()}/status") as answer:
                return msgspec.json.decode(await answer.read(), type=Standing)
        except (aiohttp.ClientError, OSError):
            return None

    async def until(self, condition: Callable[[Standing], bool], what: str) -> Standing:
        """Wait until the archiver says something; the test fails when it does not."""
        deadline = time.monotonic() + DEADLINE_S
        while (standing := await self.standing()) is None or not condition(standing):
            assert time.monotonic() < deadline, f"{what}: not after {DEADLINE_S} s; {standing}"
            await asyncio.sleep(0.05)
        return standing

    async def caught_up(self) -> Beat:
        """Wait until all that was committed before this call is in the archive: the beat that says so."""
        connection = await self.connect()
        now = await connection.fetchval("SELECT clock_timestamp()")
        await connection.close()
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(Exception):
                beat = msgspec.json.decode(await asyncio.to_thread(self.site.archive.read, "beat"), type=Beat)
                if beat.at >= now:
                    return beat
            assert time.monotonic() < deadline, f"nothing after {now} is in the archive"
            await asyncio.sleep(0.05)

    async def restored(self, query: str, moment: Moment | None = None) -> list[int]:
        """What the query finds in a database that is made of the archive alone, as it was at the moment, or at last."""
        if moment is None:
            beat = (await self.holdings()).beat
            assert beat is not None
            moment = Moment(at=beat.at)
        async with held_at(self.site, moment) as held:
            connection = await held.connect()
            try:
                return [row[0] for row in await connection.fetch(query)]
            finally:
                await connection.close()

    def process(self, label: str) -> psutil.Process:
        """An engine's process."""
        state = self.home.state()
        assert state is not None
        return psutil.Process(next(engine.pid for engine in state.engines if engine.name == label))

    def receiver(self) -> psutil.Process | None:
        """The program that receives the log."""
        with contextlib.suppress(psutil.NoSuchProcess, StopIteration):
            children = self.process("archiver").children(recursive=True)
            return next(one for one in children if one.name() == "pg_receivewal")
        return None

    async def lose_database(self) -> None:
        """The server dies with all its sessions, and stays away until it is let go."""
        self.home.hold("postgres")
        server = postmaster_of(self.home.data("postgres"))
        assert server is not None
        family = [server, *server.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while not all(gone(process) for process in family):  # noqa: ASYNC110 - no event tells of another program's end
            await asyncio.sleep(0.02)

    def _url(self) -> str:
        return str(self.home.settings()["archiver_url"])


@asynccontextmanager
async def archived_database(
    folder: Path, *, prepare: Callable[[], Awaitable[None]] | None = None, **settings: object
) -> AsyncIterator[Archived]:
    """A database and its archiver that run from `folder` for as long as the block does; what dies and is not held comes back."""
    home = Home(folder)
    home.prepare()
    home.remember({"prove_hours": 0.0, "table_journal": False, "snapshot_hours": 0.0, **settings})
    lock = home.lock()
    assert lock is not None
    loaded = settings_table.load(str(folder))

    async def nothing() -> None:
        pass

    engines = [Postgres(home, loaded), Archiver(home, loaded)]
    supervisor = Supervisor(home, [engines], prepare=prepare or nothing, report=lambda _: None)
    await supervisor.start(lock)
    stopping = asyncio.Event()
    watching = asyncio.create_task(supervisor.watch(stopping))
    try:
        yield Archived(home)
    finally:
        stopping.set()
        await watching
        await supervisor.stop()
