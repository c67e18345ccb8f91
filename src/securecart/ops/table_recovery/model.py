"""What the archive holds of a DynamoDB table, and to which moments it leads: names, windows, what may go. Pure decisions.

A journal is a chain of pieces, numbered from 1 without a hole. A chain that broke (the stream was lost, the journal was
turned off) is closed with its reason, and a new *era* begins, with a snapshot of its own. A snapshot is a scan made while
writes went on: it leads to a moment after its end once every change from its beginning on is laid over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from msgspec import Raw, Struct

from securecart.ops.recovery.model import Window
from securecart.settings import FIRST_REGIONS
from securecart.stores.dynamodb.stream import Place

__all__ = [
    "BEAT",
    "NEVER",
    "ROOT",
    "Beat",
    "Change",
    "End",
    "Entry",
    "Era",
    "Holdings",
    "Kept",
    "Piece",
    "PieceHead",
    "Route",
    "Snapshot",
    "chain",
    "folder_of",
    "gaps",
    "is_covered",
    "is_whole",
    "piece_name",
    "piece_of",
    "route_to",
    "stamp",
    "surplus",
    "time_of",
    "windows",
]

ROOT = "tables"
BEAT = "beat"
STAMP = "%Y%m%dT%H%M%S.%f"
PIECE = re.compile(r"^(?P<first>\d{10})-(?P<last>\d{10})\.(?P<since>\d{8}T\d{6}\.\d{3})-(?P<until>\d{8}T\d{6}\.\d{3})$")
# A snapshot without a journal is a scan and no more: it is told as the second in which it ended.
MOMENT_OF_A_SCAN = timedelta(seconds=1)
NEVER = datetime.min.replace(tzinfo=UTC)
# What was begun and has no end yet may still be at work.
UNFINISHED_FOR = timedelta(days=1)
# What was merged and not removed, by a sudden end, may be read by somebody who has seen it listed.
MERGED_FOR = timedelta(hours=1)


class Change(Struct, frozen=True, array_like=True):
    """What became of one key, and when (microseconds since 1970): its new item in DynamoDB's JSON, null when it was removed."""

    time_us: int
    key: str
    image: Raw

    @property
    def removes(self) -> bool:
        """Whether there is no item from then on."""
        return bytes(self.image) == b"null"


class Entry(Struct, frozen=True, array_like=True):
    """An item and its key, both in DynamoDB's JSON."""

    key: str
    image: Raw


class PieceHead(Struct, frozen=True):
    """The first line of a piece: where in the table's stream it ends."""

    place: Place


class Piece(Struct, frozen=True):
    """An object with the changes number `first` to `last` of the journal's rounds, made from `since` until `until`."""

    name: str
    first: int
    last: int
    since: datetime
    until: datetime
    bytes: int


class Snapshot(Struct, frozen=True):
    """A scan of the table; `first` is the piece from which on the journal is laid over it, 0 where none was kept.

    `shape` is what a table needs to be made in this one's image.
    """

    label: str
    first: int
    began_at: datetime
    ended_at: datetime
    items: int
    parts: int
    bytes: int
    shape: dict[str, Any]
    expires: str = ""


class End(Struct, frozen=True):
    """The journal of an era reaches to `at` and piece number `last`, and why it went no further."""

    at: datetime
    last: int
    why: str


class Era(Struct, frozen=True):
    """One unbroken journal with its snapshots; `unfinished` are scans that have no `about`, with their objects.

    `through`: everything changed before is in the pieces up to number `last`; None when nothing is known beyond the pieces.
    """

    name: str
    pieces: tuple[Piece, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    unfinished: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    end: End | None = None
    through: datetime | None = None
    last: int = 0
    bytes: int = 0


class Kept(Struct, frozen=True):
    """How far one table's journal is: the era, the next piece's number, the place in the stream, and the time it reaches to."""

    era: str
    next: int
    place: Place
    through: datetime


class Beat(Struct, frozen=True):
    """How far each table's journal was when the archiver last looked, by folder."""

    at: datetime
    tables: dict[str, Kept]


class Holdings(Struct, frozen=True):
    """What the archive holds of one table, oldest era first; `folder` is where."""

    folder: str
    eras: tuple[Era, ...]
    bytes: int


class Route(Struct, frozen=True):
    """How a moment is reached: a snapshot, and the pieces to lay over it, oldest first."""

    era: Era
    snapshot: Snapshot
    pieces: tuple[Piece, ...]


def folder_of(table: str, region: str) -> str:
    """Where a table is in the archive; the first region's have their plain names."""
    return f"{ROOT}/{table}" if region in FIRST_REGIONS else f"{ROOT}/{table}@{region}"


def stamp(at: datetime) -> str:
    """A time to the millisecond, as it stands in names."""
    return at.astimezone(UTC).strftime(STAMP)[:-3]


def time_of(text: str) -> datetime:
    """The time that a name tells."""
    return datetime.strptime(text, STAMP).replace(tzinfo=UTC)


def piece_name(first: int, last: int, since_us: int, until_us: int) -> str:
    """The last part of a piece's name."""
    return f"{first:010d}-{last:010d}.{stamp(_time(since_us))}-{stamp(_time(until_us))}"


def piece_of(name: str, size: int) -> Piece | None:
    """The piece that an object's name tells of; None when it tells of none."""
    told = PIECE.match(name.rpartition("/")[2])
    if told is None:
        return None
    return Piece(name, int(told["first"]), int(told["last"]), time_of(told["since"]), time_of(told["until"]), size)


def chain(pieces: Iterable[Piece], first: int) -> list[Piece]:
    """The pieces that hold number `first` and all that follow without a hole; what was merged stands for its parts.

    Of two with the same number, which a sudden end may leave behind, the longer one holds what the other has.
    """
    found: list[Piece] = []
    for piece in sorted(pieces, key=lambda one: (one.first, -one.last, -one.until.timestamp())):
        if piece.last < first:
            continue
        if piece.first > first:
            break
        found.append(piece)
        first = piece.last + 1
    return found


def windows(holdings: Holdings) -> list[Window]:
    """The moments that can be reached, oldest first."""
    found: list[Window] = []
    for era in holdings.eras:
        for snapshot in era.snapshots:
            window = Window(snapshot.ended_at, _reach(era, snapshot))
            if window.until < window.since:
                continue
            if found and found[-1].until >= window.since:
                found[-1] = Window(found[-1].since, max(found[-1].until, window.until))
            else:
                found.append(window)
    return found


def gaps(holdings: Holdings) -> list[tuple[Window, str]]:
    """The stretches between two windows, and why no moment in them can be reached."""
    reached = windows(holdings)
    reasons = [era.end for era in holdings.eras if era.end is not None]
    found = []
    for before, after in pairwise(reached):
        why = next((end.why for end in reasons if before.since <= end.at < after.since), "the journal was not kept")
        found.append((Window(before.until, after.since), why))
    return found


def is_covered(holdings: Holdings, at: datetime) -> bool:
    """Whether this moment can be reached."""
    return any(window.since <= at <= window.until for window in windows(holdings))


def route_to(holdings: Holdings, at: datetime) -> Route | None:
    """The shortest way to this moment: the newest snapshot before it, and the pieces until then; None when there is none."""
    best: Route | None = None
    for era in holdings.eras:
        for snapshot in era.snapshots:
            if not snapshot.ended_at <= at <= _reach(era, snapshot):
                continue
            if best is None or snapshot.ended_at > best.snapshot.ended_at:
                pieces = chain(era.pieces, snapshot.first) if snapshot.first else []
                best = Route(era, snapshot, tuple(piece for piece in pieces if piece.since <= at))
    return best


def surplus(holdings: Holdings, now: datetime, days: float) -> list[str]:
    """The objects that nobody needs who wants to go back at most so many days; the newest snapshot always stays."""
    horizon = now - timedelta(days=days)
    newest = max((one.ended_at for era in holdings.eras for one in era.snapshots), default=None)
    gone: list[str] = []
    for era in holdings.eras:
        ended = era.end is not None
        reach = max((_reach(era, one) for one in era.snapshots), default=None)
        keeps_newest = any(one.ended_at == newest for one in era.snapshots)
        if ended and not keeps_newest and (reach is None or reach < horizon):
            gone += [*(piece.name for piece in era.pieces), *era.parts, *era.unfinished, _end_name(holdings, era)]
            continue
        older = [one for one in era.snapshots if one.ended_at <= horizon]
        kept = [one for one in era.snapshots if one not in older[:-1]]
        gone += [name for name in era.parts for one in older[:-1] if f"/{one.label}/" in name]
        gone += [name for name in era.unfinished if ended or _began(name) < now - UNFINISHED_FOR]
        first = min((one.first for one in kept), default=0)
        gone += [piece.name for piece in era.pieces if piece.last < first]
        needed = {piece.name for piece in chain(era.pieces, max(first, min((one.first for one in era.pieces), default=1)))}
        gone += [
            piece.name
            for piece in era.pieces
            if piece.last >= first and piece.name not in needed and piece.until < now - MERGED_FOR and is_whole(era)
        ]
    return gone


def is_whole(era: Era) -> bool:
    """Whether the journal has no hole after the beginning of its first snapshot."""
    first = min((one.first for one in era.snapshots if one.first), default=0)
    return not first or _chain_end(era, first) >= _last(era)


def _reach(era: Era, snapshot: Snapshot) -> datetime:
    """The last moment to which the journal leads from this snapshot."""
    if not snapshot.first:
        return snapshot.ended_at + MOMENT_OF_A_SCAN
    whole = _chain_end(era, snapshot.first) >= _last(era)
    times = [piece.until for piece in chain(era.pieces, snapshot.first)]
    times += [one for one in (era.end.at if era.end else None, era.through) if one is not None and whole]
    return max(times, default=NEVER)


def _chain_end(era: Era, first: int) -> int:
    """The number of the last piece before the first hole."""
    found = chain(era.pieces, first)
    return found[-1].last if found else first - 1


def _last(era: Era) -> int:
    """The number of the last piece that there should be."""
    return max([era.last, era.end.last if era.end else 0, *(piece.last for piece in era.pieces)])


def _end_name(holdings: Holdings, era: Era) -> str:
    return f"{holdings.folder}/{era.name}/end"


def _began(name: str) -> datetime:
    """When the snapshot of this object began, as its label says."""
    return time_of(name.split("/snapshots/")[1].partition("/")[0])


def _time(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC) + timedelta(microseconds=us % 1_000_000)
