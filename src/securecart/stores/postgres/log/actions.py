"""Write facts into the log, read them in order, remember how far a reader has come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from securecart.events import Event
from securecart.stores.postgres.database import Fresh, Transaction, one, value
from securecart.stores.postgres.log.model import BEGINNING, Batch, Place, Standing
from securecart.stores.postgres.statements import statements_of

SQL = statements_of(__package__)

_facts: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


async def publish(tx: Transaction, facts: Sequence[Event]) -> None:
    """Write these facts, in order; the readers are woken when the transaction commits."""
    if facts:
        await tx.execute(SQL["publish"], list(facts))


async def register(tx: Transaction, names: Sequence[str]) -> None:
    """Make these readers known; a new one begins where the log begins, and no day is dropped before it has passed."""
    await tx.execute(SQL["register_readers"], list(names))


async def read_batch(fresh: Fresh, after: Place, *, limit: int) -> Batch | None:
    """The next facts behind a place, or None; whatever an open transaction may still write in front waits for it."""
    found = await fresh.fetch(SQL["read_batch"], after.xid, after.id, limit)
    if not found:
        return None
    facts, unreadable = [], []
    for row in found:
        try:
            facts.append(_facts.decode(row["body"]))
        except msgspec.DecodeError as error:
            unreadable.append(f"{row['xid']}/{row['id']}: {error}")
    last = found[-1]
    return Batch(facts, Place(last["xid"], last["id"]), last["at"], len(found), unreadable)


async def place_of(fresh: Fresh, name: str) -> Place:
    """Where a reader stands; at the beginning when nobody knows it."""
    return await one(fresh, SQL["find_place"], Place, name) or BEGINNING


async def move(tx: Transaction, name: str, old: Place, new: Place, passed: datetime) -> bool:
    """Move a reader on; False, and nothing changes, when it does not stand at `old` any more."""
    moved = await value(tx, SQL["move_reader"], name, old.xid, old.id, new.xid, new.id, passed)
    return moved is not None


async def horizon(fresh: Fresh) -> Place:
    """The place in front of which nothing can be written any more; what was committed before it can all be read now."""
    return await one(fresh, SQL["horizon"], Place) or BEGINNING


async def newest(fresh: Fresh) -> Place:
    """The place of the last committed fact; the beginning when there is none."""
    return await one(fresh, SQL["newest_place"], Place) or BEGINNING


async def standings(fresh: Fresh) -> list[Standing]:
    """How far every reader has come, by name."""
    return [
        Standing(
            name=row["name"],
            behind_events=row["behind_events"],
            behind_seconds=row["behind_seconds"],
            place=Place(row["xid"], row["id"]),
            passed=row["passed"],
            moved_at=row["moved_at"],
        )
        for row in await fresh.fetch(SQL["standings"])
    ]


async def tend(tx: Transaction, *, days_ahead: int, keep_from: datetime) -> list[str]:
    """Make the coming days' partitions, and drop the days before `keep_from` that every reader has passed; says which."""
    done: list[str] = await value(tx, SQL["tend_log"], days_ahead, keep_from)
    return done
