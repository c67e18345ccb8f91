"""What happened to the tables, transaction by transaction, read from the log that was laid out beside a restored folder.

`pg_waldump` tells every change of a row; they are counted by transaction and table. Subtransactions count for the one that
they belong to; what was rolled back, and what was only prepared, does not count.
"""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from securecart.ops.recovery.going_back import Held
from securecart.ops.recovery.happenings import Changes, Counting, Happening
from securecart.ops.recovery.model import Moment
from securecart.ops.recovery.restoring import Tell

__all__ = ["Changes", "Happening", "Tables", "tables_of", "time_line"]

KINDS = ("Heap", "Heap2", "Transaction")

TABLES = """
SELECT pg_relation_filenode(oid)::bigint AS file, coalesce(pg_partition_root(oid), oid)::regclass::text AS name
FROM pg_class
WHERE relkind = 'r' AND relpersistence = 'p'
  AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
DATABASE = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"

# In which file of the database each table's rows are; a table that was truncated gets another file.
Tables = Mapping[int, str]


async def tables_of(connection: asyncpg.Connection) -> dict[int, str]:
    """The tables of a database by the file that each is in; partitions under the name of their table."""
    return {row["file"]: row["name"] for row in await connection.fetch(TABLES)}


async def time_line(
    held: Held, since: Moment, until: Moment | None = None, *, tables: Tables | None = None, tell: Tell = lambda _: None
) -> list[Happening]:
    """What committed after `since`, in order; where it was very much, only the largest deletions and changes.

    The held server names the tables, unless `tables` does; name only those that matter, and the rest is passed over.
    """
    connection = await held.connect()
    try:
        known = await tables_of(connection) if tables is None else tables
        database = int(await connection.fetchval(DATABASE))
    finally:
        await connection.close()
    counting = Counting(known, database, since, until)
    from_time = since.at or (held.reached.at if held.moment == since else None)
    start = 0 if from_time is None else await held.wal.start_before(from_time)
    await held.wal.tell_to(counting, KINDS, start=start, tell=tell)
    return counting.happenings()
