"""PostgreSQL servers that a test starts, freezes, kills and promotes: a scratch primary and replicas that follow it.

Each test module that wants them makes a `Cluster` of its own in a temporary folder; nothing of the shop's own engines is
touched. As root the servers run under another uid, as the engines do.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from securecart import migrations
from securecart.engines.postgres_files import bundled

DEADLINE_S = 30.0
QUICK = (
    "fsync=off",
    "wal_keep_size=256MB",
    "shared_buffers=32MB",
    "max_connections=60",
    "max_wal_senders=6",
    "hot_standby_feedback=on",
    "jit=off",
)
PASSWORD = "made up"


def as_ordinary_user(command: list[str]) -> list[str]:
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command] if os.geteuid() == 0 else command


def a_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def until(holds: Callable[[], Awaitable[object] | object], within_s: float = DEADLINE_S) -> None:
    """Wait for a condition, asked again and again."""
    async with asyncio.timeout(within_s):
        while True:
            found = holds()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.02)


class Server:
    """One PostgreSQL, by its folder and its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = a_free_port()
        self._process: asyncio.subprocess.Process | None = None

    def url(self, role: str = "securecart_app", database: str = "securecart") -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    async def start(self, *settings: str) -> None:
        """Run it until it takes connections."""
        given = [part for one in (*QUICK, *settings) for part in ("-c", one)]
        command = [str(bundled() / "postgres"), "-D", str(self.folder), "-p", str(self.port), "-k", "", *given]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*as_ordinary_user(command), stdout=log, stderr=log)
        await until(self.answers)

    async def answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url("postgres", "postgres"), timeout=2)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True

    async def ask(self, sql: str, *arguments: Any, database: str = "securecart") -> Any:
        """One value, as the superuser."""
        connection = await asyncpg.connect(self.url("postgres", database))
        try:
            return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()

    async def hold_commits(self) -> None:
        """From now on no commit is acknowledged: the synchronous standby is nobody."""
        await self.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await self.ask("SELECT pg_reload_conf()")

        async def holds() -> bool:  # some process of the server has to notice first
            connection = await asyncpg.connect(self.url("postgres"))
            try:
                work = asyncio.ensure_future(connection.execute("SELECT pg_logical_emit_message(true, 'test', 'commit')"))
                _, hanging = await asyncio.wait([work], timeout=0.3)
                return bool(hanging)
            finally:
                connection.terminate()
                await asyncio.gather(work, return_exceptions=True)

        await until(holds)

    async def let_commits_go(self) -> None:
        """As before."""
        await self.ask("ALTER SYSTEM RESET synchronous_standby_names")
        await self.ask("SELECT pg_reload_conf()")
        await until(self.held_commits_are_none)

    async def held_commits(self) -> int:
        """How many sessions wait for the standby."""
        return int(await self.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))

    async def held_commits_are_none(self) -> bool:
        return await self.held_commits() == 0

    def processes(self) -> list[psutil.Process]:
        """The server's own process and those of its sessions."""
        assert self._process is not None
        try:
            top = psutil.Process(self._process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal(self, number: signal.Signals) -> None:
        """To every process of the server."""
        for process in self.processes():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    async def end(self) -> None:
        """Properly, with everything written."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        await self._process.wait()

    async def kill(self) -> None:
        """As a crash of the machine would."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGCONT)
            await self.kill()


class Cluster:
    """A primary with the shop's tables, and its replicas."""

    def __init__(self, folder: Path, servers: list[Server]) -> None:
        self.folder = folder
        self.servers = servers

    @property
    def primary(self) -> Server:
        return self.servers[0]

    @property
    def replicas(self) -> list[Server]:
        return self.servers[1:]

    def url(self, role: str = "securecart_app") -> str:
        """All of them, the replicas first: whoever writes has to be found."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in reversed(self.servers))
        return f"postgresql://{role}@{hosts}/securecart"

    async def add_replica(self, name: str) -> Server:
        """A copy that follows the primary."""
        replica = Server(self.folder / name)
        command = [str(bundled() / "pg_basebackup"), "-D", str(replica.folder), "-R", "-X", "stream", "--checkpoint=fast"]
        command += ["-d", f"host=127.0.0.1 port={self.primary.port} user=postgres application_name={name}"]
        await _run(command)
        await replica.start()
        self.servers.append(replica)
        return replica

    async def all_replayed(self) -> None:
        """Wait until every replica has what the primary has."""
        position = await self.primary.ask("SELECT pg_current_wal_lsn()::text")

        async def replayed() -> bool:
            sql = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            return all([await replica.ask(sql, position) for replica in self.replicas])

        await until(replayed)

    async def stop(self) -> None:
        for one in self.servers:
            await one.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@asynccontextmanager
async def a_cluster(folder: Path, *, replicas: int = 2) -> AsyncIterator[Cluster]:
    """A fresh cluster for as long as the block runs."""
    primary = Server(folder / "primary")
    cluster = Cluster(folder, [primary])
    try:
        shutil.copytree(await _furnished(folder.parent), primary.folder)
        await primary.start()
        await asyncio.gather(*(cluster.add_replica(f"replica_{number + 1}") for number in range(replicas)))
        yield cluster
    finally:
        await cluster.stop()


async def _furnished(folder: Path) -> Path:
    """A primary's folder with roles and tables, as the engine makes them; made once in a test run, to be copied."""
    template = Server(folder / "template")
    if template.folder.exists():
        return template.folder
    command = [str(bundled() / "initdb"), "-D", str(template.folder), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    await _run([*command, "--locale=C.UTF-8"])
    await template.start()
    for role in ("securecart_owner", "securecart_app"):
        await template.ask(f"CREATE ROLE {role} LOGIN", database="postgres")
    await template.ask("CREATE DATABASE securecart OWNER securecart_owner", database="postgres")
    for statement in (
        "CREATE EXTENSION pg_trgm",
        "CREATE EXTENSION unaccent",
        "ALTER SCHEMA public OWNER TO securecart_owner",
        "GRANT pg_read_all_stats TO securecart_owner",
        "GRANT USAGE ON SCHEMA public TO securecart_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE securecart_owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO securecart_app",
        "ALTER DEFAULT PRIVILEGES FOR ROLE securecart_owner GRANT USAGE, SELECT ON SEQUENCES TO securecart_app",
    ):
        await template.ask(statement)
    await migrations.apply(template.url("securecart_owner"))
    await template.end()
    return template.folder


async def _run(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *as_ordinary_user(command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
