"""The home's engines while its database is exchanged: the shop closed and opened, the database stopped and started.

Where a supervisor runs the home, its engines are held and ended, and it brings them back when they are let go. Where nothing
runs, a supervisor of our own starts what the recovery needs, never the doors, and stops it at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import IO, Protocol
from urllib.parse import urlsplit

import asyncpg

from securecart import settings as settings_table
from securecart.engines import Home, RunningEngine, Supervisor, kind_of, observe, plan, stop_running, supervisor_of
from securecart.engines.archiver import Archiver, archiver_of
from securecart.engines.patroni import PatroniNode
from securecart.engines.postgres import Postgres
from securecart.engines.postgres_roles import NOT_READY, SUPERUSER, Roles
from securecart.engines.process import process_of, stop_process
from securecart.engines.supervisor import KINDS
from securecart.engines.web import Web
from securecart.engines.worker import Worker
from securecart.errors import RecoveryRefused, StepFailed
from securecart.ops.cluster import Cluster
from securecart.ops.cluster import observe as observe_cluster

__all__ = ["Alone", "Hands", "Supervised", "hands_of", "superuser_url", "timeline_of"]

DOORS = (Web.name, Worker.name)
DATABASE = (Postgres.name, PatroniNode.name)
LOOK_AGAIN_S = 0.05
# An engine that the supervisor was about to start again when it was held is seen once more after so long.
SURELY_DOWN_S = 0.5
ENDED_WITHIN_S, OPEN_WITHIN_S = 60.0, 120.0
WRITES_WITHIN_S, ASKED_WITHIN_S, PROBE_WITHIN_S = 120.0, 20.0, 5.0
# A commit that is waited for like any other needs something to commit, if only a word in the log.
PROBE = "SELECT pg_current_xact_id(), pg_logical_emit_message(true, 'securecart', 'is it written?')"


class Hands(Protocol):
    """What a recovery may do with the home's engines; each is safe to repeat."""

    sells: bool

    async def close(self) -> None:
        """Nobody sells any more, and nothing of the shop writes."""

    async def url(self) -> str:
        """The database that runs, as superuser, started first where it does not run; `StepFailed` when that cannot be."""

    async def stop(self) -> None:
        """The database has ended properly on every node, and the archiver, which has shipped what it had."""

    async def start(self) -> None:
        """The database takes writes, and where there are several nodes one of them confirms each commit."""

    async def open(self) -> None:
        """The shop sells again, if it did before."""

    async def leave(self) -> None:
        """The home is left as it was found: what runs in it runs on."""


class Supervised:
    """A home whose supervisor lives, in another process."""

    sells = True

    def __init__(self, home: Home) -> None:
        self.home = home

    async def close(self) -> None:
        """Hold the doors and end them; who is being served is served first."""
        await self._end(self._planned(DOORS))

    async def url(self) -> str:
        """Where writes are taken; the supervisor starts it."""
        await _until_it_writes(self.home, ASKED_WITHIN_S)
        return superuser_url(self.home)

    async def stop(self) -> None:
        """End the archiver, then the database: with several nodes the writer first, so that the others receive all of it."""
        await self._end(self._planned((Archiver.name,)))
        nodes = self._planned((PatroniNode.name,))
        if not nodes:
            await self._end(self._planned((Postgres.name,)))
            return
        writer = await _writer(self.home)
        for label in nodes:
            self.home.hold(label)
        for (
            label
        ) in nodes:  # a Patroni that is told to stop waits for the others and for its lease; nothing of that is wanted here
            await self._kill(label)
        for label in sorted(nodes, key=lambda one: one != writer):
            await PatroniNode.clear(self.home, label)
        await self._gone(nodes)

    async def start(self) -> None:
        """Let the database go, and wait for it."""
        for label in self._planned(DATABASE):
            self.home.release(label)
        await _until_it_writes(self.home)

    async def open(self) -> None:
        """Let all the rest go, and wait until the shop answers."""
        labels = self._planned((Archiver.name, *DOORS))
        for label in labels:
            self.home.release(label)
        deadline = time.monotonic() + OPEN_WITHIN_S
        doors = {label for label in labels if kind_of(label) in DOORS}
        while doors - {engine.name for engine in (await observe(self.home)).engines if engine.healthy}:
            if time.monotonic() > deadline:
                raise StepFailed(
                    problem=f"The shop does not answer after {OPEN_WITHIN_S:.0f} s; see {self.home.path / 'logs'}, and "
                    "`securecart status`."
                )
            await asyncio.sleep(LOOK_AGAIN_S)

    async def leave(self) -> None:
        """Nothing: it is the supervisor's."""

    def _planned(self, kinds: Sequence[str]) -> list[str]:
        state = self.home.state()
        return [label for label in (state.planned if state else ()) if kind_of(label) in kinds]

    async def _end(self, labels: Sequence[str]) -> None:
        """Hold these and end each in its own way, all at the same time."""
        for label in labels:
            self.home.hold(label)
        await asyncio.gather(*(self._stop(label) for label in labels))
        await self._gone(labels)
        for label in labels:
            await KINDS[kind_of(label)].clear(self.home, label)

    async def _stop(self, label: str) -> None:
        kind = KINDS[kind_of(label)]
        for engine in self._engines([label]):
            await stop_process(process_of(engine), kind.stop_signal, kind.stop_within_s)

    async def _kill(self, label: str) -> None:
        for engine in self._engines([label]):
            process = process_of(engine)
            if process is not None:
                process.kill()

    def _engines(self, labels: Sequence[str]) -> list[RunningEngine]:
        state = self.home.state()
        return [engine for engine in (state.engines if state else ()) if engine.name in labels and engine.pid]

    async def _gone(self, labels: Sequence[str]) -> None:
        """Wait until none of them has a process; one that was about to be started at this moment is ended too."""
        deadline, down_since = time.monotonic() + ENDED_WITHIN_S, time.monotonic()
        while time.monotonic() < down_since + SURELY_DOWN_S:
            if time.monotonic() > deadline:
                raise StepFailed(problem=f"{', '.join(labels)} did not end within {ENDED_WITHIN_S:.0f} s.")
            for engine in self._engines(labels):
                if process_of(engine) is not None:
                    down_since = time.monotonic()
                    await self._stop(engine.name)
            await asyncio.sleep(LOOK_AGAIN_S)


class Alone:
    """A home that is down: `lock` is ours, and so is whatever runs in it."""

    sells = False

    def __init__(self, home: Home, lock: IO[bytes]) -> None:
        self.home = home
        self._lock: IO[bytes] | None = lock
        self._supervisor: Supervisor | None = None
        self._ending = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._archives = False

    async def close(self) -> None:
        """End what a killed supervisor left behind; nobody sells."""
        if self._supervisor is None:
            await stop_running(self.home, lambda _: None)

    async def url(self) -> str:
        """The database, started with all that the shop needs but its doors and the archiver."""
        if self._supervisor is None:
            await self.start()
        return superuser_url(self.home)

    async def stop(self) -> None:
        """Stop all that was started."""
        if self._supervisor is not None:
            self._ending.set()
            if self._watching is not None:
                await self._watching
            await self._supervisor.stop()
            self._supervisor, self._watching, self._archives = None, None, False
        await self.close()

    async def start(self) -> None:
        """Start everything but the doors and the archiver, and keep it running."""
        if self._supervisor is not None:
            return
        settings = settings_table.load(str(self.home.path))
        later = {*DOORS, Archiver.name}
        stages = [[engine for engine in stage if kind_of(engine.label) not in later] for stage in plan(self.home, settings)]
        supervisor = Supervisor(self.home, [stage for stage in stages if stage], prepare=_nothing, report=lambda _: None)
        await supervisor.start(self._again_ours())
        self._supervisor, self._ending = supervisor, asyncio.Event()
        self._watching = asyncio.create_task(supervisor.watch(self._ending))
        await _until_it_writes(self.home)

    async def open(self) -> None:
        """The shop was down; but from here on what is written is archived, and a commit may wait for that."""
        await self.start()
        if self._supervisor is not None and not self._archives:
            await self._supervisor.add(archiver_of(self.home, settings_table.load(str(self.home.path))))
            self._archives = True

    async def leave(self) -> None:
        """Leave the home down."""
        await self.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _again_ours(self) -> IO[bytes]:
        """The lock for a supervisor, which lets it go when it stops."""
        if self._lock is None or self._lock.closed:
            self._lock = self.home.lock()
        if self._lock is None:
            raise RecoveryRefused(problem=f"Somebody has started SecureCart from {self.home.path} meanwhile; repeat this.")
        return self._lock


async def hands_of(home: Home) -> Hands:
    """Whoever runs the home, or ourselves where nobody does; `RecoveryRefused` while somebody is about to."""
    if supervisor_of(home) is not None:
        return Supervised(home)
    lock = await asyncio.to_thread(home.lock)
    if lock is None:
        raise RecoveryRefused(problem=f"SecureCart is just being started from {home.path}; repeat this once it is up.")
    return Alone(home, lock)


def superuser_url(home: Home) -> str:
    """The address of the node that writes, as superuser."""
    return Roles(home).url(SUPERUSER, _ports(home)) + "?target_session_attrs=read-write"


def _ports(home: Home) -> list[int]:
    """The ports of the database's nodes, as the home's settings have them."""
    netloc = urlsplit(settings_table.load(str(home.path)).postgres_url).netloc.rpartition("@")[2]
    return [int(one.rpartition(":")[2]) for one in netloc.split(",") if ":" in one]


async def timeline_of(url: str) -> int:
    """The timeline that the database at this address writes; raises `NOT_READY`."""
    connection = await asyncpg.connect(url, timeout=PROBE_WITHIN_S)
    try:
        return int(await connection.fetchval("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"), 16)
    finally:
        await connection.close()


async def _until_it_writes(home: Home, within_s: float = WRITES_WITHIN_S) -> None:
    """Return once a commit is acknowledged as the profile wants it: with several nodes another one has it too."""
    settings = settings_table.load(str(home.path))
    deadline, why = time.monotonic() + within_s, "no answer"
    # On one node a commit may wait for the archiver, which is started when the shop is.
    waits = {} if settings.cluster_urls else {"synchronous_commit": "local"}
    while time.monotonic() < deadline:
        if not settings.cluster_urls or (await observe_cluster(Cluster.of(settings))).synchronous is not None:
            try:
                connection = await asyncpg.connect(superuser_url(home), timeout=PROBE_WITHIN_S, server_settings=waits)
                try:
                    await connection.execute(PROBE, timeout=PROBE_WITHIN_S)
                finally:
                    connection.terminate()
            except NOT_READY as error:
                why = str(error) or why
            else:
                return
        await asyncio.sleep(LOOK_AGAIN_S)
    raise StepFailed(problem=f"The database takes no writes after {within_s:.0f} s ({why}); see {home.path / 'logs'}.")


async def _writer(home: Home) -> str:
    """The label of the node that writes; empty when none says so."""
    seen = await observe_cluster(Cluster.of(settings_table.load(str(home.path))))
    return seen.writer.name if seen.writer is not None else ""


async def _nothing() -> None:
    """The tables were prepared aside."""
