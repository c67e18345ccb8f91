"""Rows inserted, updated and deleted, counted by transaction and table from what `pg_waldump` prints."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from securecart.ops.recovery.model import Moment, lsn_of
from securecart.ops.recovery.waldump import END

__all__ = ["Changes", "Counting", "Happening"]

# as many transactions are kept; the largest deletions and changes, where there were more
MOST = 5_000
AFTER = timedelta(seconds=1)

CHANGE = re.compile(rb"tx: +(\d+), .{32,48}desc: ((?:MULTI_)?INSERT|(?:HOT_)?UPDATE|DELETE)[ +]([^#\n]*)#0: rel \d+/(\d+)/(\d+) ")
ROWS = re.compile(rb"ntuples: (\d+)")
GAVE_WAY = re.compile(rb"flags: 0x\w[89A-Fa-f],")  # an insertion that is taken back for another one's conflicting row
PARTS = re.compile(rb"subxacts:((?: \d+)+)")
FILES = re.compile(rb"base/(\d+)/(\d+)")
INSERTED, UPDATED, DELETED = range(3)
KINDS = {b"INSERT": INSERTED, b"MULTI_INSERT": INSERTED, b"UPDATE": UPDATED, b"HOT_UPDATE": UPDATED, b"DELETE": DELETED}


class Changes(Struct, frozen=True):
    """Rows of one table; `truncated`: its file went as a whole, by TRUNCATE, DROP or a rewrite."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    truncated: bool = False


class Happening(Struct, frozen=True):
    """What one transaction did, when it committed, and where its commit is in the log."""

    xid: int
    at: datetime
    lsn: int
    tables: dict[str, Changes]

    @property
    def lost(self) -> int:
        """Rows that are not what they were: deleted or updated."""
        return sum(one.deleted + one.updated for one in self.tables.values())

    @property
    def truncates(self) -> bool:
        """Whether it emptied or removed a whole table."""
        return any(one.truncated for one in self.tables.values())


class Counting:
    """Counts along; `done` once nothing that follows is wanted. `lsn` is the place of the newest end of a transaction."""

    def __init__(self, tables: Mapping[int, str], database: int, since: Moment, until: Moment | None) -> None:
        self.done = False
        self.lsn = 0
        self._names = {str(file).encode(): name for file, name in tables.items()}
        self._database = str(database).encode()
        self._since = since
        self._until = until
        self._begun = since.xid is None
        self._open: dict[bytes, dict[bytes, list[int]]] = {}
        self._largest: list[tuple[tuple[bool, int, int], int, Happening]] = []

    def take(self, lines: bytes) -> None:
        """Whole lines more."""
        names, database, begun = self._names, self._database, self._open
        for xid, what, rest, base, file in CHANGE.findall(lines):
            if file not in names or base != database:
                continue
            mine = begun.get(xid)
            if mine is None:
                mine = begun[xid] = {}
            counts = mine.get(file)
            if counts is None:
                counts = mine[file] = [0, 0, 0]
            if what == b"DELETE" and GAVE_WAY.search(rest):
                counts[INSERTED] -= 1
            elif what == b"MULTI_INSERT" and (rows := ROWS.search(rest)):
                counts[INSERTED] += int(rows[1])
            else:
                counts[KINDS[what]] += 1
        for xid, lsn, _, how, prepared, at, rest in END.findall(lines):
            if not prepared:
                self._end(xid, lsn_of(lsn.decode()), how == b"COMMIT", at, rest)

    def happenings(self) -> list[Happening]:
        """What was counted, in the order of the commits."""
        return sorted((happening for _, _, happening in self._largest), key=lambda one: one.lsn)

    def _end(self, xid: bytes, lsn: int, committed: bool, at: bytes, rest: bytes) -> None:  # noqa: FBT001
        self.lsn = lsn
        parts = PARTS.search(rest)
        family = [xid, *(parts[1].split() if parts else ())]
        counts = [self._open.pop(one) for one in family if one in self._open]
        if not committed or not self._wanted(int(xid), at):
            return
        gone = {name for base, file in FILES.findall(rest) if base == self._database and (name := self._names.get(file))}
        if counts or gone:
            self._keep(int(xid), _time(at), lsn, self._tables(counts, gone))

    def _wanted(self, xid: int, at: bytes) -> bool:
        """Whether a commit lies between the moments; notes when nothing can follow."""
        since, until = self._since, self._until
        if self.done:
            return False
        if not self._begun:
            assert since.xid is not None
            self._begun = xid == since.xid % 2**32
            if not (self._begun and since.before):
                return False
        if since.at is not None and _time(at) <= since.at:
            return False
        if until is None:
            return True
        if until.xid is not None:
            self.done = xid == until.xid % 2**32
            return not (self.done and until.before)
        assert until.at is not None
        self.done = _time(at) > until.at + AFTER
        return _time(at) <= until.at

    def _tables(self, counts: list[dict[bytes, list[int]]], gone: set[str]) -> dict[str, Changes]:
        sums: dict[str, list[int]] = {name: [0, 0, 0] for name in gone}
        for one in counts:
            for file, rows in one.items():
                mine = sums.setdefault(self._names[file], [0, 0, 0])
                for kind, count in enumerate(rows):
                    mine[kind] += count
        return {
            name: Changes(inserted, updated, deleted, truncated=name in gone)
            for name, (inserted, updated, deleted) in sums.items()
        }

    def _keep(self, xid: int, at: datetime, lsn: int, tables: dict[str, Changes]) -> None:
        happening = Happening(xid, at, lsn, tables)
        size = (happening.truncates, happening.lost, sum(one.inserted for one in tables.values()))
        (heapq.heappush if len(self._largest) < MOST else heapq.heappushpop)(self._largest, (size, lsn, happening))


def _time(at: bytes) -> datetime:
    return datetime.fromisoformat(at.decode()).replace(tzinfo=UTC)
