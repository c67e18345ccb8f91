"""Write facts into the log, read them in order, remember how far a reader has come."""

from __future__ import annotations

from collections.abc import Sequence

from securecart.events import Event
from securecart.stores.postgres.database import Transaction
from securecart.stores.postgres.statements import statements_of

SQL = statements_of(__package__)


async def publish(tx: Transaction, facts: Sequence[Event]) -> None:
    """Write these facts, in order; the readers are woken when the transaction commits."""
    if facts:
        await tx.execute(SQL["publish"], list(facts))
