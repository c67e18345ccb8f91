"""Rows of the orders database written down as text: an order with all that hangs on it, whole tables, and who wrote what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg
from msgspec import Struct

from securecart.drills.undelete_model import Rows
from securecart.stores.postgres import statements_of

__all__ = ["Table", "kin_of", "rows_of", "tables_of", "writers_of", "written_by"]

SQL = statements_of(__package__)


class Table(Struct, frozen=True):
    """A table, its primary key, and which of its rows are meant: a condition that may use $1. All names are quoted."""

    name: str
    key: str
    condition: str = "true"


async def tables_of(connection: asyncpg.Connection) -> dict[str, Table]:
    """Every table of the shop that is no part of another one."""
    return {row["name"]: Table(row["name"], row["key"]) for row in await connection.fetch(SQL["keys"])}


async def kin_of(connection: asyncpg.Connection, name: str, column: str) -> list[Table]:
    """The rows of a table whose `column` is among $1, and all rows that a deletion of those takes along, table by table."""
    known, cascades = await tables_of(connection), await connection.fetch(SQL["cascades"])
    found = [Table(name, known[name].key, f"{column} = ANY ($1)")]
    for parent in found:  # grows on the way
        for row in cascades:
            if row["parent"] == parent.name and row["child"] not in {one.name for one in found}:
                within = f"{row['child_column']} IN (SELECT {row['parent_column']} FROM {parent.name} WHERE {parent.condition})"  # noqa: S608 - quoted names
                found.append(Table(row["child"], known[row["child"]].key, within))
    return found


async def rows_of(connection: asyncpg.Connection, tables: Iterable[Table], *arguments: object) -> Rows:
    """These rows as PostgreSQL writes them."""
    found: Rows = {}
    for table in tables:
        statement = f"SELECT {table.key} AS key, each::text AS row FROM {table.name} AS each WHERE {table.condition}"  # noqa: S608 - quoted names
        found |= {(table.name, row["key"]): row["row"] for row in await connection.fetch(statement, *arguments)}
    return found


async def written_by(connection: asyncpg.Connection, tables: Iterable[Table], xids: Sequence[str]) -> list[tuple[str, str]]:
    """The rows whose newest version one of these transactions wrote."""
    found: list[tuple[str, str]] = []
    for table in tables:
        statement = f"SELECT {table.key} AS key FROM {table.name} WHERE xmin::text = ANY ($1::text[])"  # noqa: S608 - quoted names
        found += [(table.name, row["key"]) for row in await connection.fetch(statement, xids)]
    return found


async def writers_of(connection: asyncpg.Connection, table: Table, *arguments: object) -> list[str]:
    """The transactions that wrote the newest versions of these rows."""
    statement = f"SELECT DISTINCT xmin::text AS xid FROM {table.name} WHERE {table.condition}"  # noqa: S608 - quoted names
    return [row["xid"] for row in await connection.fetch(statement, *arguments)]
