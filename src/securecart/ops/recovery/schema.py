"""What a database's catalogue says of its tables: columns, keys, which table hangs on which, and what must be unique.

Names are put into SQL by `quoted` alone, and only names that the catalogue gave are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import asyncpg
import msgspec
from msgspec import Struct

from securecart.stores.postgres import Transaction, statements_of

__all__ = [
    "SESSION",
    "Column",
    "ForeignKey",
    "Shape",
    "Table",
    "Unique",
    "by_keys",
    "columns_in_both",
    "key_text",
    "parents_first",
    "quoted",
    "read_shape",
    "row_hash",
    "speak_alike",
    "with_ancestors",
]

SQL = statements_of(__package__)

# Two servers are compared by what they say in text, so both have to say it the same way.
SESSION = {
    "search_path": "public, pg_catalog",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "application_name": "securecart recover",
    "jit": "off",
    "work_mem": "64MB",
}


class Column(Struct, frozen=True):
    """A column and its type as SQL writes it; a generated one is worked out by the server, an identity one numbered by it."""

    name: str
    type: str
    generated: bool = False
    identity: bool = False


class ForeignKey(Struct, frozen=True):
    """Rows of `table` hang on rows of `parent`: these columns name those."""

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


class Unique(Struct, frozen=True):
    """An index that allows each value once: its parts as expressions, and the condition under which a row is in it."""

    name: str
    table: str
    parts: tuple[str, ...]
    condition: str = ""


class Table(Struct, frozen=True):
    """A table; `key` are the columns of its primary key, none where it has none. Partitions are part of their table.

    `bytes` is what its rows take. `checks` are the conditions that every row has to meet.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    bytes: int = 0
    checks: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that a row is made of, in order; what the server generates from them is not among them."""
        return tuple(column.name for column in self.columns if not column.generated)

    def type_of(self, name: str) -> str:
        """The type of one of its columns."""
        return next(column.type for column in self.columns if column.name == name)


class Shape(Struct, frozen=True):
    """The tables of a database by name, what hangs on what, and what must be unique."""

    tables: dict[str, Table]
    foreign_keys: tuple[ForeignKey, ...] = ()
    uniques: tuple[Unique, ...] = ()

    def parents_of(self, table: str) -> list[ForeignKey]:
        """What rows of this table hang on."""
        return [one for one in self.foreign_keys if one.table == table]

    def children_of(self, table: str) -> list[ForeignKey]:
        """What hangs on rows of this table."""
        return [one for one in self.foreign_keys if one.parent == table]

    def uniques_of(self, table: str) -> list[Unique]:
        """What must be unique in this table."""
        return [one for one in self.uniques if one.table == table]


async def read_shape(connection: asyncpg.Connection) -> Shape:
    """The tables in the schema `public`."""
    tables = [msgspec.convert(msgspec.json.decode(row["found"]), Table) for row in await connection.fetch(SQL["tables"])]
    foreign_keys = [msgspec.convert(dict(row), ForeignKey) for row in await connection.fetch(SQL["foreign_keys"])]
    uniques = [msgspec.convert(dict(row), Unique) for row in await connection.fetch(SQL["uniques"])]
    return Shape({table.name: table for table in tables}, tuple(foreign_keys), tuple(uniques))


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def columns_in_both(one: Table, other: Table) -> tuple[str, ...]:
    """The columns that both have, in the first one's order: a column that came or went changes no row."""
    there = set(other.kept)
    return tuple(name for name in one.kept if name in there)


def row_hash(columns: Sequence[str], of: str = "t") -> str:
    """SQL for a number made of these columns of a row: other rows have others, but for one case in 2^64."""
    return f"hashtextextended(ROW({', '.join(f'{of}.{quoted(name)}' for name in columns)})::text, 0)"


def key_text(key: Sequence[str], of: str = "t") -> str:
    """SQL for the columns of a key as text, named k1, k2..."""
    return ", ".join(f"{of}.{quoted(name)}::text AS k{number}" for number, name in enumerate(key, 1))


def by_keys(table: Table) -> str:
    """SQL for the rows `t` of a table with the keys that are given as parameters, one text array a column of the key."""
    places = range(1, len(table.key) + 1)
    given = ", ".join(f"${place}::text[]" for place in places)
    names = ", ".join(f"k{place}" for place in places)
    pairs = zip(places, table.key, strict=True)
    meets = " AND ".join(f"t.{quoted(name)} = wanted.k{place}::{table.type_of(name)}" for place, name in pairs)
    return f"unnest({given}) AS wanted ({names}) JOIN {quoted(table.name)} AS t ON {meets}"


async def speak_alike(tx: Transaction) -> None:
    """Have this transaction write rows as text like every session with the settings `SESSION`."""
    for name, value in SESSION.items():
        if name != "application_name":
            await tx.execute("SELECT set_config($1, $2, true)", name, value)


def with_ancestors(shape: Shape, tables: Iterable[str]) -> set[str]:
    """These tables, and all on which their rows hang."""
    found, waiting = set[str](), list(tables)
    while waiting:
        table = waiting.pop()
        if table not in found and table in shape.tables:
            found.add(table)
            waiting += [one.parent for one in shape.parents_of(table)]
    return found


def parents_first(shape: Shape, tables: Iterable[str], *, before_others: Sequence[str] = ()) -> list[str]:
    """The tables in an order in which rows can be written: what hangs on a table comes after it.

    Among those that could come next, `before_others` come first, then by name. Tables that hang on each other in a ring
    come by name; a table's rows that hang on its own are the caller's matter.
    """
    left = set(tables)
    rank: Mapping[str, int] = {name: number for number, name in enumerate(before_others)}
    ordered: list[str] = []
    while left:
        free = [name for name in left if not any(one.parent in left - {name} for one in shape.parents_of(name))] or list(left)
        first = min(free, key=lambda name: (rank.get(name, len(rank)), name))
        ordered.append(first)
        left.remove(first)
    return ordered
