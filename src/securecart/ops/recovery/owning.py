"""An archive is one database's: another's log under the same names would spoil both, and an empty one is not begun twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from securecart.errors import ArchiveMissing, RecoveryRefused, StoreAway
from securecart.stores.archive import Archive

__all__ = ["own"]

OWNER = "database"


class Owner(Struct, frozen=True):
    """Which database's log an archive holds, by PostgreSQL's own number of it; the home's note says which `archive` it was."""

    system: int
    archive: str = ""


def own(archive: Archive, system: int | None, note: Path) -> None:
    """Make this archive the database's; `RecoveryRefused` says why it cannot be. `system` is None while the database is away.

    The home's `note` knows it then; and it knows that an archive was in use, when that is found empty.
    """
    noted = msgspec.json.decode(note.read_bytes(), type=Owner) if note.exists() else None
    if system is None:
        if noted is None:
            raise StoreAway(store="orders database", retry_after=1)
        system = noted.system
    try:
        owner = msgspec.json.decode(archive.read(OWNER), type=Owner)
    except ArchiveMissing:
        if noted == Owner(system, archive.where):
            raise RecoveryRefused(
                problem=f"The archive {archive.where} was in use and is empty now; is its disk mounted? Put it back, or remove "
                f"{note} to begin it anew. Nothing is archived until then."
            ) from None
        archive.put(OWNER, msgspec.json.encode(Owner(system)))
    else:
        if owner.system != system:
            raise RecoveryRefused(
                problem=f"The archive {archive.where} holds another database's log ({owner.system}; this one is {system}), "
                "and nothing is archived. Give this shop another with SECURECART_ARCHIVE, or move what is there away."
            )
    note.write_bytes(msgspec.json.encode(Owner(system, archive.where)))
