"""The rows that are gone or different now, as they were: read from the server aside, kept until it is known what is to be done.

The server aside goes on to right after the accident before that is known, so everything that may be needed is read before.
Rows travel as PostgreSQL's own text, in batches; nobody but the servers looks into them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import asyncpg
from msgspec import Struct

from securecart.ops.recovery.comparing import KEYS_AT_ONCE, Comparison, Key, values_of
from securecart.ops.recovery.deciding import Counts, Fact, Facts, Policy, links_of
from securecart.ops.recovery.schema import ForeignKey, Shape, Table, by_keys, quoted, row_hash
from securecart.patience import POSTGRES_LONG

__all__ = ["Lost"]

IN_MEMORY_BYTES = 64 * 1024 * 1024


class _Row(Struct, frozen=True, gc=False):
    """What was learnt of a row before the accident."""

    number: int
    links: tuple[Key | None, ...]
    counters: tuple[int, ...]
    others: int


class Lost:
    """The rows that are gone or different now, as they were before: read from the server aside and kept until they are needed.

    A context manager: files that did not fit into memory go at its end.
    """

    def __init__(self, comparison: Comparison, policy: Policy, folder: Path) -> None:
        self.comparison = comparison
        self.shape = comparison.now
        self._policy = policy
        self._folder = folder
        self._rows: dict[str, dict[Key, _Row]] = {}
        self._others_now: dict[str, dict[Key, int]] = {}
        self._files: dict[str, BinaryIO] = {}
        # what each row hung on, by table and key
        self.links: dict[str, dict[Key, tuple[Key | None, ...]]] = {}

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of what was read."""
        for file in self._files.values():
            file.close()

    def columns(self, table: str) -> tuple[str, ...]:
        """What a row of it consists of, then and now."""
        return self.comparison.differences[table].columns

    def file(self, table: str) -> BinaryIO:
        """Its rows as COPY writes them, from the beginning."""
        self._files[table].seek(0)
        return self._files[table]

    async def read(self, before: asyncpg.Connection, now: asyncpg.Connection) -> None:
        """Copy the rows that are gone or different now, and what they hung on; nothing of tables that follow from others."""
        for name, difference in self.comparison.differences.items():
            keys = difference.deleted + difference.changed
            if not keys or name in self._policy.follows:
                continue
            table, links = self.shape.tables[name], links_of(self.shape, name)
            counters = self._policy.counters.get(name, ())
            linked = [f"t.{quoted(column)}::text" for one in links for column in _in_key_order(self.shape, one)]
            asked = [*linked, *(f"t.{quoted(column)}::bigint" for column in counters)]
            asked += [row_hash(self._others(name))] if counters else []
            widths = [len(one.columns) for one in links]
            found = await values_of(before, table, keys, asked)
            self._rows[name] = {key: _row(self._number(name, key), told, widths, len(counters)) for key, told in found.items()}
            self.links[name] = {key: row.links for key, row in self._rows[name].items()}
            if counters:
                there = await values_of(now, table, keys, [row_hash(self._others(name))])
                self._others_now[name] = {key: _int(told[0]) for key, told in there.items()}
            await self._copy(before, table, list(found))

    async def facts(self, after: asyncpg.Connection) -> Facts:
        """What became of each row, given the server as it was right after the accident."""
        facts: dict[str, dict[Key, Fact]] = {}
        for name, rows in self._rows.items():
            counters = self._policy.counters.get(name, ())
            asked = [row_hash(self.columns(name))]
            if counters:
                asked += [row_hash(self._others(name)), *(f"t.{quoted(one)}::bigint" for one in counters)]
            left = await values_of(after, self.shape.tables[name], list(rows), asked)
            facts[name] = {key: self._fact(name, key, row, left.get(key)) for key, row in rows.items()}
        return facts

    def _fact(self, table: str, key: Key, row: _Row, left: tuple[object, ...] | None) -> Fact:
        now = self.comparison.differences[table].differing[key][1]
        after = None if left is None else _int(left[0])
        counts = None
        if table in self._policy.counters:
            counts = Counts(
                before=row.counters,
                after=None if left is None else tuple(_int(one) for one in left[2:]),
                others_before=row.others,
                others_after=None if left is None else _int(left[1]),
                others_now=self._others_now[table].get(key),
            )
        return Fact(row.number, after, now, row.links, counts)

    def _number(self, table: str, key: Key) -> int:
        number = self.comparison.differences[table].differing[key][0]
        assert number is not None
        return number

    def _others(self, table: str) -> list[str]:
        """The columns that are not counted."""
        counted = self._policy.counters.get(table, ())
        return [name for name in self.columns(table) if name not in counted]

    async def _copy(self, before: asyncpg.Connection, table: Table, keys: Sequence[Key]) -> None:
        file: Any = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(self._folder))  # noqa: SIM115 - closed by __exit__
        self._files[table.name] = file
        columns = ", ".join(f"t.{quoted(name)}" for name in self.columns(table.name))
        statement = f"SELECT {columns} FROM {by_keys(table)}"  # noqa: S608 - quoted
        for start in range(0, len(keys), KEYS_AT_ONCE):
            part = [list(column) for column in zip(*keys[start : start + KEYS_AT_ONCE], strict=True)]
            await before.copy_from_query(statement, *part, output=file, timeout=POSTGRES_LONG.answer_s)


def _in_key_order(shape: Shape, link: ForeignKey) -> list[str]:
    """The link's columns in the order of the key that they name."""
    place = dict(zip(link.parent_columns, link.columns, strict=True))
    return [place[name] for name in shape.tables[link.parent].key]


def _row(number: int, told: tuple[Any, ...], widths: Sequence[int], counters: int) -> _Row:
    links: list[Key | None] = []
    at = 0
    for width in widths:
        part = told[at : at + width]
        links.append(None if None in part else tuple(part))
        at += width
    return _Row(number, tuple(links), tuple(told[at : at + counters]), told[at + counters] if counters else 0)


def _int(told: object) -> int:
    assert isinstance(told, int)
    return told
