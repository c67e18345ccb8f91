"""What differs between the database as it was, on a server aside, and as it is now: table by table, row by row.

Rows are put into buckets by a number made of their key, and of each bucket both servers say how many rows it has and a
number made of all of them. Only the rows of buckets that differ are looked at one by one. Both servers work at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import asyncpg
from msgspec import Struct

from securecart.ops.recovery.schema import Shape, Table, by_keys, columns_in_both, key_text, quoted, read_shape, row_hash

__all__ = ["Comparison", "Difference", "Key", "Pair", "compare", "values_of"]

Key = tuple[str, ...]
# a number made of a row as it was and as it is, None where there is none
Pair = tuple[int | None, int | None]

ROW_BYTES = 128
ROWS_A_BUCKET = 8
BUCKETS_MIN, BUCKETS_MAX = 1 << 4, 1 << 17
KEYS_AT_ONCE = 20_000

Tell = Callable[[str], None]


class Difference(Struct, frozen=True):
    """How a table differs: its rows then and now, and each row that is not what it was, by key.

    `columns` are those that were compared. `note` says what could not be compared, and why.
    """

    table: str
    columns: tuple[str, ...] = ()
    rows_before: int = 0
    rows_now: int = 0
    differing: dict[Key, Pair] = {}
    note: str = ""

    @property
    def deleted(self) -> list[Key]:
        """The rows that are gone, by key."""
        return [key for key, (_, now) in self.differing.items() if now is None]

    @property
    def added(self) -> list[Key]:
        """The rows that are new."""
        return [key for key, (before, _) in self.differing.items() if before is None]

    @property
    def changed(self) -> list[Key]:
        """The rows that are there and different."""
        return [key for key, (before, now) in self.differing.items() if before is not None and now is not None]


class Comparison(Struct, frozen=True):
    """The shapes of both databases, and the difference of each table that was looked at."""

    before: Shape
    now: Shape
    differences: dict[str, Difference]


async def compare(
    before: asyncpg.Connection,
    now: asyncpg.Connection,
    tables: Callable[[Shape], Collection[str]],
    *,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Compare the tables that `tables` chooses of those there are now; of `now` all is seen as at one moment.

    Both connections must have been opened with the settings `schema.SESSION`.
    """
    async with now.transaction(isolation="repeatable_read", readonly=True):
        was, present = await asyncio.gather(read_shape(before), read_shape(now))
        both = Shape({**was.tables, **present.tables}, present.foreign_keys, present.uniques)
        chosen = [both.tables[name] for name in sorted(tables(both)) if name in both.tables]
        found: dict[str, Difference] = {}
        for number, table in enumerate(sorted(chosen, key=lambda one: -one.bytes), 1):
            tell(f"Comparing: {table.name}, {number} of {len(chosen)} tables")
            found[table.name] = await _difference(before, now, was.tables.get(table.name), present.tables.get(table.name))
        return Comparison(was, present, {table.name: found[table.name] for table in chosen})


async def values_of(
    connection: asyncpg.Connection, table: Table, keys: Sequence[Key], expressions: Sequence[str]
) -> dict[Key, tuple[object, ...]]:
    """What these expressions over a row `t` come to, for each of the keys that are there."""
    found: dict[Key, tuple[object, ...]] = {}
    width = len(table.key)
    statement = f"SELECT {', '.join([key_text(table.key), *expressions])} FROM {by_keys(table)}"  # noqa: S608 - quoted
    for start in range(0, len(keys), KEYS_AT_ONCE):
        columns = [list(column) for column in zip(*keys[start : start + KEYS_AT_ONCE], strict=True)]
        for row in await connection.fetch(statement, *columns):
            found[tuple(row[:width])] = tuple(row[width:])
    return found


async def _difference(
    before: asyncpg.Connection, now: asyncpg.Connection, was: Table | None, present: Table | None
) -> Difference:
    if was is None or present is None:
        one = was or present
        assert one is not None
        rows = await _count(before if was else now, one)
        if was is None:
            return Difference(one.name, rows_now=rows, note="is new since")
        return Difference(one.name, rows_before=rows, note="was dropped since; only going back as a whole brings it back")
    columns, notes = columns_in_both(present, was), list[str]()
    if gone := set(was.kept) - set(columns):
        notes.append(f"columns that went since are left out: {', '.join(sorted(gone))}")
    if came := set(present.kept) - set(columns):
        notes.append(f"columns that came since are left out: {', '.join(sorted(came))}")
    if not present.key or was.key != present.key:
        rows_before, rows_now = await asyncio.gather(_count(before, was), _count(now, present))
        notes.append(
            "its primary key is another now; rows were only counted" if present.key else "no primary key: rows were only counted"
        )
        return Difference(present.name, columns, rows_before, rows_now, note="; ".join(notes))
    mask = _buckets(max(was.bytes, present.bytes)) - 1
    then, today = await asyncio.gather(_by_bucket(before, was, columns, mask), _by_bucket(now, present, columns, mask))
    suspects = sorted(bucket for bucket in then.keys() | today.keys() if then.get(bucket) != today.get(bucket))
    old, new = await asyncio.gather(
        _rows_in(before, was, columns, mask, suspects), _rows_in(now, present, columns, mask, suspects)
    )
    return Difference(
        present.name,
        columns,
        sum(rows for rows, _ in then.values()),
        sum(rows for rows, _ in today.values()),
        _unlike(old, new),
        "; ".join(notes),
    )


def _unlike(old: dict[Key, int], new: dict[Key, int]) -> dict[Key, Pair]:
    """The rows that are not the same in both; `new` is used up."""
    found: dict[Key, Pair] = {}
    for key, was in old.items():
        now = new.pop(key, None)
        if was != now:
            found[key] = (was, now)
    found.update({key: (None, now) for key, now in new.items()})
    return found


def _buckets(size: int) -> int:
    """A power of two: few rows a bucket, so that a row that differs brings few others with it."""
    wanted = size // ROW_BYTES // ROWS_A_BUCKET
    return min(BUCKETS_MAX, max(BUCKETS_MIN, 1 << wanted.bit_length()))


def _bucket(table: Table, mask: int) -> str:
    return f"{row_hash(table.key)} & {mask}"


async def _count(connection: asyncpg.Connection, table: Table) -> int:
    return int(await connection.fetchval(f"SELECT count(*) FROM {quoted(table.name)}"))  # noqa: S608 - a quoted name


async def _by_bucket(
    connection: asyncpg.Connection, table: Table, columns: Sequence[str], mask: int
) -> dict[int, tuple[int, int]]:
    """Of each bucket that has rows: how many, and a number made of all of them, in whichever order they come."""
    found = await connection.fetch(
        f"SELECT {_bucket(table, mask)} AS bucket, count(*) AS rows, bit_xor({row_hash(columns)}) AS all_of_them "  # noqa: S608 - quoted
        f"FROM {quoted(table.name)} AS t GROUP BY bucket"
    )
    return {row["bucket"]: (row["rows"], row["all_of_them"]) for row in found}


async def _rows_in(
    connection: asyncpg.Connection, table: Table, columns: Sequence[str], mask: int, buckets: Sequence[int]
) -> dict[Key, int]:
    """The rows of these buckets: a number made of each, by key."""
    if not buckets:
        return {}
    width = len(table.key)
    found = await connection.fetch(
        f"SELECT {key_text(table.key)}, {row_hash(columns)} FROM {quoted(table.name)} AS t "  # noqa: S608 - quoted
        f"WHERE {_bucket(table, mask)} = ANY ($1::bigint[])",
        buckets,
    )
    return {tuple(row[:width]): row[width] for row in found}
