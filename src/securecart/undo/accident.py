"""What went wrong: one transaction, or all between two moments, and the tables that it touched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.going_back import Held
from securecart.ops.recovery.happenings import Changes, Happening
from securecart.ops.recovery.model import Moment, Site
from securecart.ops.recovery.restoring import Tell
from securecart.ops.recovery.time_line import tables_of, time_line
from securecart.stores.postgres import statements_of
from securecart.undo.live import connect_live
from securecart.undo.policies import BOOKS, POLICY

__all__ = ["Accident", "Transaction", "find_accident", "read_line"]

SQL = statements_of(__package__)

OTHERS_MAX = 5
# a transaction's number begins anew after so many others; longer than this no recovery takes
LOG_NUMBERS = 2**32
RECOVERY_WITHIN = timedelta(hours=1)


class Transaction(Struct, frozen=True):
    """A transaction as a person sees it: when it committed, rows deleted and changed, and what it did to each table."""

    xid: int
    at: datetime
    rows: int
    tables: dict[str, Changes]

    @classmethod
    def of(cls, happening: Happening, tables: Collection[str] = ()) -> Transaction:
        """What it did, in these tables or in all."""
        mine = {name: changes for name, changes in happening.tables.items() if not tables or name in tables}
        rows = sum(one.deleted + one.updated for one in mine.values())
        return cls(happening.xid, happening.at, rows, happening.tables)

    @property
    def name(self) -> str:
        """What to type to mean the moment right before it."""
        return f"before:{self.xid}"


class Accident(Struct, frozen=True):
    """What is to be undone: from right before `before` to right after `after`.

    `tables` are those touched; `others` the next largest transactions, in case it was one of them.
    """

    before: Moment
    after: Moment
    tables: frozenset[str]
    transaction: Transaction | None = None
    others: tuple[Transaction, ...] = ()


async def find_accident(site: Site, held: Held, at: Moment, until: Moment | None, tables: Sequence[str], tell: Tell) -> Accident:
    """The accident that is meant by these moments; the server aside stands at the first of them.

    Between two moments it is everything. `before:XID` is that transaction. Since any other moment it is the transaction that
    deleted and changed most rows, in the tables that are named, and was no recovery. `RecoveryRefused` when there is none.
    """
    if until is not None:
        line = await read_line(held, at, until, tell=tell)
        return Accident(at, until, frozenset(name for one in line for name in one.tables))
    exact = at.xid is not None and at.before
    line = await read_line(held, at, Moment(xid=at.xid) if exact else None, tell=tell)
    # what is named by its number is meant, whatever it did
    recoveries = {} if exact else await _recoveries(site)
    meant = line if exact else [one for one in line if _size(one, tables) > (False, 0) and not _is_recovery(one, recoveries)]
    found = sorted(meant, key=lambda one: _size(one, tables), reverse=True)
    if not found:
        where = f" in {', '.join(tables)}" if tables else ""
        what = f"transaction {at.xid}" if exact else f"any transaction since {at.in_words}"
        raise RecoveryRefused(problem=f"Nothing was deleted or changed{where} by {what}. Nothing was done.")
    worst = found[0]
    return Accident(
        Moment(xid=worst.xid, before=True),
        Moment(xid=worst.xid),
        frozenset(worst.tables),
        Transaction.of(worst, tables),
        tuple(Transaction.of(one, tables) for one in found[1 : OTHERS_MAX + 1]),
    )


async def read_line(held: Held, since: Moment, until: Moment | None = None, *, tell: Tell) -> list[Happening]:
    """What was done to the shop's tables since, by transaction; the books of the log, in which everybody writes, left out."""
    connection = await held.connect()
    try:
        known = {file: name for file, name in (await tables_of(connection)).items() if name not in BOOKS}
    finally:
        await connection.close()
    return await time_line(held, since, until, tables=known, tell=tell)


async def _recoveries(site: Site) -> dict[int, datetime]:
    """The transactions that brought rows back, by the half of their number that the log knows."""
    now = await connect_live(site)
    try:
        return {row["xid"] % LOG_NUMBERS: row["at"] for row in await now.fetch(SQL["recoveries"])}
    finally:
        await now.close()


def _is_recovery(happening: Happening, recoveries: Mapping[int, datetime]) -> bool:
    began = recoveries.get(happening.xid)
    return began is not None and abs(happening.at - began) < RECOVERY_WITHIN


def _size(happening: Happening, tables: Sequence[str]) -> tuple[bool, int]:
    """How much a transaction took: whole tables first, then rows; of the tables that are named, and can come back."""
    mine = [
        changes for name, changes in happening.tables.items() if name not in POLICY.follows and (not tables or name in tables)
    ]
    return any(one.truncated for one in mine), sum(one.deleted + one.updated for one in mine)
