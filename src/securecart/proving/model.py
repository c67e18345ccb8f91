"""What a restored database is judged by: how many rows it must have, and which log must be there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from securecart.ops.recovery.certificates import Flaw
from securecart.ops.recovery.holdings import known_of, reaches_of
from securecart.ops.recovery.model import Holdings, lsn_in_words, segment_name
from securecart.ops.recovery.reach import chain_in, gaps_in

__all__ = ["Books", "Tally", "missing_in", "missing_rows", "rows_unchecked"]


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


def missing_in(holdings: Holdings) -> list[Flaw]:
    """What keeps the newest base from leading to the newest moment, by name; and whatever in the archive cannot be read.

    A hole in the log is named by the first segment that is not whole.
    """
    flaws = [Flaw("archive", _named(why), why) for why in holdings.unread]
    eras, known = reaches_of(holdings), known_of(holdings)
    if not eras or not eras[-1][0].bases:
        return flaws
    era, reaches = eras[-1]
    newest = max(era.bases, key=lambda base: base.ended_at)
    if not chain_in(known, newest):
        lost = newest
        while lost.parent in known:
            lost = known[lost.parent]
        flaws.append(
            Flaw("base", f"base/{lost.parent}", f"The newest backup {newest.label} stands on it, and it is not in the archive.")
        )
    flaws += [
        Flaw(
            "log",
            f"wal/{gap.timeline:08X}/{segment_name(gap.timeline, gap.start)}",
            f"The log from {lsn_in_words(gap.start)} to {lsn_in_words(gap.end)} is not in the archive: "
            f"nothing after it can be reached from {newest.label}.",
        )
        for gap in gaps_in(era, reaches)
        if gap.end > newest.start_lsn
    ]
    return flaws


def _named(why: str) -> str:
    """The object that a complaint begins with."""
    name = why.partition(" ")[0]
    return name if "/" in name else "beat" if name == "beat" else "archive"


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
