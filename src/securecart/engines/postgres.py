"""PostgreSQL on one node: the bundled 18, or a system's 16 or newer where `postgres_bin` points at it."""

from __future__ import annotations

import asyncio
import signal

from securecart.engines.postgres_files import as_ordinary_user, clear_the_way, initdb, programs_of, sockets_of
from securecart.engines.postgres_roles import APP, ARCHIVER, NOT_READY, OWNER, SUPERUSER, Roles, look_at
from securecart.engines.process import Engine
from securecart.settings import Settings

__all__ = ["CONFIGURATION", "Postgres", "archived"]

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
# What the archiver needs: log that says all, a place to send it from, and a slot that keeps at most 2 GB of it for an
# archiver that is away, so that a full archive never fills the database's disk.
ARCHIVED = {
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "2GB",
}
SUMMARIES_SINCE = 17


class Postgres(Engine):
    """The orders database on one node."""

    name = "postgres"
    url_setting = "postgres_url"
    stop_signal = signal.SIGINT  # "fast": end the sessions, write a checkpoint, leave
    stop_within_s = 30

    async def start(self) -> None:
        """Make an empty cluster the first time, then start the server."""
        programs = await asyncio.to_thread(programs_of, self)
        data = self.home.data(self.name)
        if not (data / "PG_VERSION").exists():
            await initdb(self, programs, data, SUPERUSER, Roles(self.home).password(SUPERUSER))
        await clear_the_way(data, self.home.run() / f".s.PGSQL.{self.port}.lock")
        configuration = {**CONFIGURATION, **archived(self.version, self.settings), "unix_socket_directories": sockets_of(self)}
        given = [part for name, value in configuration.items() for part in ("-c", f"{name}={value}")]
        self.spawn(as_ordinary_user(self, [str(programs / "postgres"), "-D", str(data), "-p", str(self.port), *given]))

    async def answers(self) -> bool:
        """Whether the shop's own role can log in; the roles and the database are made on the way."""
        try:
            await Roles(self.home).make([self.port], to_replicate=True)
        except NOT_READY:
            return False
        return await super().answers()

    @staticmethod
    async def look(url: str) -> str | None:
        """Log in and ask for the version."""
        return await look_at(url)

    def connections(self) -> dict[str, str]:
        """The shop's role, and the owner's for migrations; and that there are no other nodes, where there were some before."""
        roles = Roles(self.home)
        return {
            "postgres_url": roles.url(APP, [self.port]),
            "postgres_owner_url": roles.url(OWNER, [self.port]),
            "cluster_urls": "",
        }


def archived(version: str, settings: Settings) -> dict[str, str]:
    """How a server of this version is configured to be archived; on one node a commit may wait for the archiver.

    With summaries of its log (17 and newer), base backups can be incremental.
    """
    summaries = {"summarize_wal": "on"} if int(version.partition(".")[0]) >= SUMMARIES_SINCE else {}
    if settings.archive == "off":
        return dict(ARCHIVED)
    waits = settings.profile == "single" and settings.archive_synchronous
    return {**ARCHIVED, **summaries, **({"synchronous_standby_names": ARCHIVER} if waits else {})}
