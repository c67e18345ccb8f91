"""The nouns of backup and recovery: where the database's archive is, what it holds, and to which moment one can go back.

Times are UTC, sizes bytes, places in the log (LSN) numbers; a segment is 16 MiB of log. Everything here is frozen and pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

from securecart.engines import Home
from securecart.errors import BadInput
from securecart.settings import Settings
from securecart.stores.archive import Archive

__all__ = [
    "SEGMENT_BYTES",
    "Base",
    "Beat",
    "Fork",
    "Gap",
    "Holdings",
    "Moment",
    "Piece",
    "Site",
    "Window",
    "covering",
    "lsn_in_words",
    "lsn_of",
    "parse_moment",
    "segment_name",
]

SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENTS_IN_A_LOG = 0x1_0000_0000 // SEGMENT_BYTES

AGO = re.compile(r"^(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>s|sec|second|m|min|minute|h|hour|d|day)s?(?:\s+ago)?$")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
PLACED = re.compile(r"^(?P<side>before|after):(?P<xid>\d+)$")


class Site(Struct, frozen=True):
    """A shop as backup and recovery see it: its home, its settings, its opened archive."""

    home: Home
    settings: Settings
    archive: Archive


class Moment(Struct, frozen=True):
    """A moment of the database: a time, or right `before` or after a transaction commits."""

    at: datetime | None = None
    xid: int | None = None
    before: bool = False

    @property
    def in_words(self) -> str:
        """As a person reads it."""
        if self.at is not None:
            return f"{self.at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
        return f"the moment right {'before' if self.before else 'after'} transaction {self.xid}"


class Base(Struct, frozen=True):
    """A base backup in the archive; an incremental one holds what changed since its `parent`.

    Restored, it is whole from `stop_lsn` on, so moments after `ended_at` can be reached from it.
    """

    label: str
    kind: Literal["full", "incremental"]
    parent: str
    timeline: int
    start_lsn: int
    stop_lsn: int
    started_at: datetime
    ended_at: datetime
    database_bytes: int
    archive_bytes: int
    source: str
    seconds: float = 0.0
    # a transaction of this number or a later one had not begun when the backup ended; 0: not known
    next_xid: int = 0
    # when `backup verify` last read all of it
    verified_at: datetime | None = None


class Beat(Struct, frozen=True):
    """Whatever was committed by `at` is in the archive: its log up to `lsn` on `timeline`."""

    at: datetime
    timeline: int
    lsn: int


class Piece(Struct, frozen=True):
    """A stretch of log in the archive, from `start` up to `end` (LSN, exclusive); a whole segment or a part of the newest."""

    name: str
    timeline: int
    start: int
    end: int
    bytes: int


class Fork(Struct, frozen=True):
    """Where a timeline left its parent. `resumed_at`: a person went back there, and at that time the shop sold again.

    Without it the timeline is a failover's: whatever its parent had beyond `lsn` was never acknowledged.
    """

    timeline: int
    parent: int
    lsn: int
    resumed_at: datetime | None = None


class Gap(Struct, frozen=True):
    """A hole in the log: nothing between these places was archived. Moments from `after` until `until` cannot be reached."""

    timeline: int
    start: int
    end: int
    after: datetime | None = None
    until: datetime | None = None


class Window(Struct, frozen=True):
    """The moments that can be reached: from `since` until `until`, but for those in a gap."""

    since: datetime
    until: datetime


class Holdings(Struct, frozen=True):
    """What the archive holds of the database, in one look.

    `unread` are objects that cannot be understood, each with the reason; `strays` belong to backups that were never finished.
    """

    bases: tuple[Base, ...]
    pieces: tuple[Piece, ...]
    forks: tuple[Fork, ...]
    gaps: tuple[Gap, ...]
    beat: Beat | None
    windows: tuple[Window, ...]
    bytes: int
    unread: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()


def parse_moment(text: str, *, now: datetime | None = None) -> Moment | None:
    """What a person means by `text`: a time (UTC unless it says otherwise), `2 minutes ago`, `before:XID`, `after:XID`.

    None when it is none of these, and so may be an order's number; `BadInput` when it is a time that does not exist or lies
    in the future.
    """
    text, now = text.strip(), now or datetime.now(UTC)
    if text.lower() == "now":
        return Moment(at=now)
    if (ago := AGO.match(text.lower())) is not None:
        return Moment(at=now - timedelta(seconds=float(ago["count"]) * UNIT_SECONDS[ago["unit"][0]]))
    if (placed := PLACED.match(text.lower())) is not None:
        return Moment(xid=int(placed["xid"]), before=placed["side"] == "before")
    if not re.match(r"^\d{4}-\d\d-\d\d", text):
        return None
    try:
        at = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError as error:
        raise BadInput(field="at", problem=f"{text!r} is no time; give it as 2026-11-30 14:05:00 (UTC).") from error
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if at > now:
        raise BadInput(field="at", problem=f"{at:%Y-%m-%d %H:%M:%S} UTC is in the future.")
    return Moment(at=at)


def lsn_of(text: str) -> int:
    """The number of a place in the log that PostgreSQL writes as `0/3000028`."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_in_words(lsn: int) -> str:
    """As PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFF_FFFF:X}"


def segment_name(timeline: int, lsn: int) -> str:
    """The file in which PostgreSQL keeps this place of the log."""
    number = lsn // SEGMENT_BYTES
    return f"{timeline:08X}{number // SEGMENTS_IN_A_LOG:08X}{number % SEGMENTS_IN_A_LOG:08X}"


def covering(pieces: Sequence[Piece], start: int) -> int:
    """How far the pieces reach without a hole from `start` on (LSN, exclusive)."""
    reached = start
    for piece in sorted(pieces, key=lambda one: (one.start, -one.end)):
        if piece.start > reached:
            break
        reached = max(reached, piece.end)
    return reached
