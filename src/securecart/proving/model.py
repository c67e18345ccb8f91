"""What a restored database is judged by: how many rows it must have, and which log must be there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from securecart.ops.recovery.certificates import Flaw
from securecart.ops.recovery.model import Base, Holdings, lsn_in_words, segment_name

__all__ = ["Books", "Tally", "missing_log", "missing_rows", "rows_unchecked"]


class Tally(Struct, frozen=True):
    """A table of the living database: its rows, what was ever inserted and deleted, and the file it is in.

    `file` is another one after a TRUNCATE, which no count of deleted rows shows.
    """

    rows: int
    inserted: int
    deleted: int
    file: int


class Books(Struct, frozen=True):
    """The tables of the living database, `counted_at` a moment of its own clock; after a restart `server` is another one."""

    server: str
    counted_at: datetime
    tables: dict[str, Tally]


def missing_rows(before: Books, after: Books, restored: Mapping[str, int]) -> list[Flaw]:
    """The tables that are not as the living database was at a moment between `before` and `after`.

    At that moment a table had at least the rows of before less all that were deleted since, and at most those and all that
    were inserted since. Where nothing changed that is one number.
    """
    return [
        Flaw("rows", name, _difference(name, least, most, restored.get(name)))
        for name, (least, most) in _bounds(before, after)
        if not least <= restored.get(name, -1) <= most
    ]


def rows_unchecked(before: Books, after: Books) -> list[str]:
    """The tables whose rows cannot be judged, as sentences."""
    if before.server != after.server:
        return ["how many rows there must be: the database was restarted or handed over during the proof"]
    judged = dict(_bounds(before, after))
    return [
        f"how many rows {name} must have: it was made anew or dropped during the proof" for name in before.tables.keys() - judged
    ]


def missing_log(holdings: Holdings, base: Base) -> list[Flaw]:
    """The holes in the log that would have to be replayed on this base, each named by the first segment that is not whole."""
    return [
        Flaw(
            "log",
            f"wal/{gap.timeline:08X}/{segment_name(gap.timeline, gap.start)}",
            f"The log from {lsn_in_words(gap.start)} to {lsn_in_words(gap.end)} is not in the archive: "
            "nothing after it can be reached from this base.",
        )
        for gap in holdings.gaps
        if gap.timeline >= base.timeline and gap.end > base.start_lsn
    ]


def _bounds(before: Books, after: Books) -> Iterator[tuple[str, tuple[int, int]]]:
    if before.server != after.server:
        return
    for name, then in before.tables.items():
        now = after.tables.get(name)
        if now is None or now.file != then.file:
            continue
        yield name, (then.rows - (now.deleted - then.deleted), then.rows + now.inserted - then.inserted)


def _difference(name: str, least: int, most: int, found: int | None) -> str:
    wanted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"Table {name} must have {wanted} rows and " + ("is not there." if found is None else f"has {found:,}.")
