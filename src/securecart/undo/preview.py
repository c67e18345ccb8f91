"""What differs from an earlier moment: table by table, and what happened since, transaction by transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec import Struct

from securecart.ops.recovery.comparing import Comparison, Difference, Key, compare
from securecart.ops.recovery.going_back import held_at
from securecart.ops.recovery.model import Moment, Site
from securecart.ops.recovery.restoring import Tell
from securecart.ops.recovery.schema import SESSION, Shape
from securecart.undo.accident import Transaction, read_line
from securecart.undo.live import check_names, connect_live
from securecart.undo.policies import POLICY

__all__ = ["Preview", "TableSeen", "preview"]

KEYS_SHOWN = 5
TRANSACTIONS_SHOWN = 10


class TableSeen(Struct, frozen=True):
    """A table then and now: how many rows it had and has, how many are gone, different and new, with a few keys of each."""

    table: str
    rows_then: int
    rows_now: int
    deleted: int
    changed: int
    added: int
    examples: dict[str, list[str]] = {}
    note: str = ""

    @property
    def differs(self) -> bool:
        """Whether there is anything to say of it."""
        return bool(self.deleted or self.changed or self.added or self.note or self.rows_then != self.rows_now)


class Preview(Struct, frozen=True):
    """What differs from the moment; `line` are the transactions since that deleted and changed most, the largest first.

    `transactions` counts all of them. `left_out` are tables that only follow from others.
    """

    moment: str
    reached: datetime | None
    tables: list[TableSeen]
    left_out: list[str]
    transactions: int
    line: list[Transaction]


async def preview(site: Site, at: Moment, tables: Sequence[str], *, tell: Tell) -> Preview:
    """Compare the database with what it was; nothing of it is changed. `RecoveryRefused` for a moment that cannot be reached."""
    await check_names(site, tables)
    async with held_at(site, at, tell=tell) as held:
        before = await held.connect(settings=SESSION)
        now = await connect_live(site)
        try:
            found = await compare(before, now, lambda shape: _chosen(shape, tables), tell=tell)
        finally:
            await before.close()
            await now.close()
        line = await read_line(held, at, tell=tell)
        reached = held.reached.at
    largest = sorted(line, key=lambda one: (one.truncates, one.lost), reverse=True)
    return Preview(
        at.in_words,
        reached,
        [_seen(one) for one in found.differences.values()],
        sorted(_left_out(found, tables)),
        len(line),
        [Transaction.of(one) for one in largest[:TRANSACTIONS_SHOWN] if one.lost or one.truncates],
    )


def _chosen(shape: Shape, tables: Sequence[str]) -> Collection[str]:
    return tables or [name for name in shape.tables if name not in POLICY.follows]


def _left_out(found: Comparison, tables: Sequence[str]) -> set[str]:
    return set() if tables else {name for name in found.now.tables if name in POLICY.follows}


def _seen(one: Difference) -> TableSeen:
    kinds = {"deleted": one.deleted, "changed": one.changed, "added": one.added}
    return TableSeen(
        one.table,
        one.rows_before,
        one.rows_now,
        len(one.deleted),
        len(one.changed),
        len(one.added),
        {kind: [in_words(key) for key in sorted(keys)[:KEYS_SHOWN]] for kind, keys in kinds.items() if keys},
        one.note,
    )


def in_words(key: Key) -> str:
    """A key as a person reads it."""
    return ", ".join(key)
