"""The orders database's shape, as numbered SQL files that are applied once each, in order.

`apply` is safe to repeat and to race: an advisory lock lets one runner work, each file runs in a
transaction with the note that it ran, and a file that was changed after it ran is refused.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

import asyncpg

from securecart.errors import OperatorError

__all__ = ["apply"]

LOCK = 7_236_001  # any number that nobody else locks in this database


async def apply(owner_url: str) -> list[str]:
    """Bring the database to the newest shape, as the role that owns the tables; names what was applied."""
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration "
            "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT name, sha256 FROM migration")}
        return [name for name, sql in _in_order() if await _apply_once(connection, name, sql, known.get(name))]
    finally:
        await connection.close()


async def _apply_once(connection: asyncpg.Connection, name: str, sql: str, applied: str | None) -> bool:
    digest = hashlib.sha256(sql.encode()).hexdigest()
    if applied == digest:
        return False
    if applied is not None:
        raise OperatorError(problem=f"Migration {name} was changed after it ran here; write a new one instead.")
    async with connection.transaction():
        await connection.execute(sql)
        await connection.execute("INSERT INTO migration (name, sha256) VALUES ($1, $2)", name, digest)
    return True


def _in_order() -> list[tuple[str, str]]:
    found = (file for file in files(__package__).iterdir() if file.name.endswith(".sql"))
    return sorted((file.name, file.read_text(encoding="utf-8")) for file in found)
