"""The database as it was: a server aside that is held at a moment, and goes when nobody needs it any more.

Each has a numbered place of its own below HOME/data/aside, locked as long as it is used; what a killed run left in one is
cleared by the next that takes the place.
"""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import asyncpg

from securecart.engines.postgres_files import clear_the_way
from securecart.engines.postgres_roles import DATABASE
from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Moment, Site
from securecart.ops.recovery.restoring import Restored, Tell, log_of, newest_survey, parts_of, restore
from securecart.ops.recovery.scratch import Reached, ScratchServer, clear_sockets, given_of
from securecart.ops.recovery.waldump import Log

__all__ = ["Held", "clear_away", "held_at", "held_on", "newest_survey"]

ASIDE = "aside"


def silent(_: str) -> None:
    """For those who need not be told how far it is."""


class Held:
    """A server aside that shows the database as it was at `moment`. Read only, until it is promoted."""

    def __init__(self, site: Site, server: ScratchServer, moment: Moment, tell: Tell) -> None:
        self.site = site
        self.moment = moment
        self.reached = Reached(0, None, at_end=False)
        self._server = server
        self._tell = tell
        self._promoted = False

    @property
    def restored(self) -> Restored:
        """What the server stands on."""
        return self._server.restored

    @property
    def folder(self) -> Path:
        """Its data."""
        return self.restored.folder

    @property
    def wal(self) -> Log:
        """The log that leads to the moment and beyond."""
        return self._server.wal

    def url(self, database: str = DATABASE) -> str:
        """The address of one of its databases, as the superuser."""
        return self._server.url(database)

    async def connect(self, database: str = DATABASE, settings: Mapping[str, str] | None = None) -> asyncpg.Connection:
        """A connection to it, which the caller closes; `RecoveryRefused` when it lets nobody in."""
        return await self._server.connect(database, settings)

    async def go_on_to(self, moment: Moment) -> None:
        """Replay on to a later moment; `RecoveryRefused` when it lies before where it stands. Ends queries in its way."""
        if self._promoted:
            raise RecoveryRefused(problem="The server aside takes writes by now and cannot replay on.")
        if moment != self.moment:
            await self._only_forward(moment)
            self.reached = await self._server.hold_at(moment, self._tell, since=self.reached.lsn)
            self.moment = moment

    async def promote(self) -> int:
        """End recovery right here, so that the server takes writes; the timeline that it begins with that."""
        timeline = await self._server.promote()
        self._promoted = True
        return timeline

    async def _only_forward(self, moment: Moment) -> None:
        problem = f"The server aside stands at {self.moment.in_words} and only goes on, not back to {moment.in_words}."
        if moment.at is not None:
            stands = self.moment.at or self.reached.at
            if stands is not None and moment.at < stands:
                raise RecoveryRefused(problem=problem)
            return
        assert moment.xid is not None
        if moment.xid == self.moment.xid and self.moment.before:
            return
        connection = await self.connect("postgres")
        try:
            newest = int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))
            full = newest + (moment.xid - newest + 2**31) % 2**32 - 2**31  # the log knows only the lower half of a number
            passed = full < newest and await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", str(full))
        finally:
            await connection.close()
        if passed in {"committed", "aborted"}:
            raise RecoveryRefused(problem=problem)


@asynccontextmanager
async def held_at(
    site: Site, moment: Moment, *, tell: Tell = silent, durable: bool = False, up_to: datetime | None = None
) -> AsyncIterator[Held]:
    """The database at this moment on a server aside; `RecoveryRefused` names the window when it cannot be reached.

    With `durable`, what it writes survives a power cut; with `up_to`, it goes on to no moment much later than that time.
    """
    holdings = await newest_survey(site, moment)
    folder, lock = await asyncio.to_thread(_take_place, site)
    try:
        await clear_the_way(folder)
        await asyncio.to_thread(clear_away, folder)
        restored = await restore(site, holdings, moment, folder, tell, up_to=up_to)
        async with held_on(site, restored, moment, tell=tell, durable=durable, number=int(folder.name)) as held:
            yield held
    finally:
        await asyncio.to_thread(clear_away, folder)
        lock.close()


@asynccontextmanager
async def held_on(
    site: Site, restored: Restored, moment: Moment, *, tell: Tell = silent, durable: bool = False, number: int = 0
) -> AsyncIterator[Held]:
    """The same on a folder that was restored before; it is kept."""
    server = ScratchServer(site, restored, number=number, durable=durable)
    held = Held(site, server, moment, tell)
    try:
        held.reached = await server.hold_at(moment, tell)
        yield held
    finally:
        await server.end()


def _take_place(site: Site) -> tuple[Path, IO[bytes]]:
    """The first place that nobody uses, and its lock."""
    site.home.prepare()
    below = site.home.data(ASIDE)
    number = 0
    while True:
        number += 1
        lock = (below / f"{number}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return below / str(number), lock


def clear_away(folder: Path) -> None:
    """Remove a restored data folder and everything that belongs to it; its server must not run any more."""
    clear_sockets(folder)
    for name in (folder, log_of(folder), given_of(folder), parts_of(folder)):
        shutil.rmtree(name, ignore_errors=True)
