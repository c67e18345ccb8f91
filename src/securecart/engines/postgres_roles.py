"""The roles of the orders database, their passwords and addresses, and how a new server gets them."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from securecart.engines.home import Home

__all__ = ["APP", "ARCHIVER", "DATABASE", "NOT_READY", "OWNER", "REPLICATION", "REWIND", "SUPERUSER", "Roles", "look_at"]

SUPERUSER, OWNER, APP = "postgres", "securecart_owner", "securecart_app"
# One to stream: standbys and the archiver; one, where there are several nodes, to bring a diverged one back (pg_rewind).
REPLICATION, REWIND = "securecart_replication", "securecart_rewind"
# What the archiver's stream is called at the server, and the slot that keeps log for it.
ARCHIVER = "securecart_archiver"
DATABASE = "securecart"
NOT_READY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
CONNECT_TIMEOUT_S = 3
SECRETS = {SUPERUSER: "superuser", OWNER: "owner", APP: "app", REPLICATION: "replication", REWIND: "rewind"}
# What pg_rewind reads of the server that it brings a node in line with.
REWIND_READS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


class Roles:
    """The roles as one home knows them: a superuser nobody uses, the tables' owner, and the shop's own."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def password(self, role: str) -> str:
        """The role's secret, made the first time."""
        return self.home.secret(f"postgres_{SECRETS[role]}_password")

    def url(self, role: str, ports: Sequence[int], database: str = DATABASE) -> str:
        """The address of a database on one or several nodes of this machine."""
        return f"postgresql://{role}:{self.password(role)}@{','.join(f'127.0.0.1:{port}' for port in ports)}/{database}"

    async def make(self, ports: Sequence[int], *, to_replicate: bool = False) -> None:
        """Make roles and database on the node that takes writes, unless they are there; raises `NOT_READY`.

        With `to_replicate`, those for replication too. Nothing of it waits for a standby, which may come only later.
        """
        admin = await self.connect(ports, SUPERUSER)
        try:
            if not await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
                for role in (OWNER, APP):
                    statement = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
                    if not await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", role):
                        await admin.execute(await admin.fetchval(statement, role, self.password(role)))
                await self._make_template(ports)
                # Last, and in one step: as long as the database is missing, all of this is done again.
                await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER} TEMPLATE template1")
            await admin.execute(f"GRANT pg_read_all_stats TO {OWNER}")  # it tells the shop's role which timeline a node receives
            for statement in self.to_replicate() if to_replicate else ():
                await admin.execute(statement)
        finally:
            await admin.close()
        self._write_password_file()

    def to_replicate(self) -> list[str]:
        """Statements that give a server the roles for replication; safe to repeat. The secrets hold no quote."""
        return [
            *(
                "DO $$ BEGIN "
                f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role}; END IF; "
                f"ALTER ROLE {role} WITH LOGIN {'REPLICATION ' * (role == REPLICATION)}PASSWORD '{self.password(role)}'; "
                "END $$"
                for role in (REPLICATION, REWIND)
            ),
            *(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {REWIND}" for function in REWIND_READS),
        ]

    async def _make_template(self, ports: Sequence[int]) -> None:
        template = await self.connect(ports, "template1")
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

    async def connect(self, ports: Sequence[int], database: str) -> asyncpg.Connection:
        """Log in as the superuser on the node that takes writes; nothing then waits for a standby. Raises `NOT_READY`."""
        return await asyncpg.connect(
            f"{self.url(SUPERUSER, ports, database)}?target_session_attrs=read-write",
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"synchronous_commit": "local"},
        )

    def _write_password_file(self) -> None:
        # For people with psql: PGPASSFILE=HOME/run/pgpass psql -h 127.0.0.1 ...
        lines = [f"*:*:{DATABASE}:{role}:{self.password(role)}\n" for role in (APP, OWNER)]
        self.home.write_private(self.home.run() / "pgpass", "".join(lines))


async def look_at(url: str) -> str | None:
    """Log in and ask for the version; None when that cannot be done."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except (*NOT_READY, ValueError):
        return None
    try:
        return str(connection.get_settings().server_version).partition(" ")[0]
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
