"""Names of log in a folder and in the archive, and what is to be shipped next: arithmetic, no files.

A segment is known to the archive as a whole, or as pieces of it that go away when the whole one is there.
"""

from __future__ import annotations

import re

from msgspec import Struct

from securecart.ops.recovery.model import SEGMENT_BYTES, lsn_of

__all__ = ["History", "Segment", "history_object", "history_of", "number_of", "segment_of", "span_of", "to_merge", "whole_of"]

SEGMENTS_A_NAME = 0x1_0000_0000 // SEGMENT_BYTES
FILE = re.compile(r"^(?P<timeline>[0-9A-F]{8})(?P<high>[0-9A-F]{8})(?P<low>[0-9A-F]{8})(?P<partial>\.partial)?$")
PIECE = re.compile(r"\.(?P<start>[0-9A-F]{7})-(?P<end>[0-9A-F]{7})$")
# So many pieces of a segment are kept apart before they become one: what is shipped twice by that stays little, and a slow
# hour of log is not ten thousand objects.
APART = 32
# Where each timeline that came before ended.
History = dict[int, int]


class Segment(Struct, frozen=True, order=True):
    """A segment by its number and timeline; the newer timeline's comes after its parent's of the same number."""

    number: int
    timeline: int

    @property
    def start(self) -> int:
        """Its first place in the log."""
        return self.number * SEGMENT_BYTES

    @property
    def end(self) -> int:
        """The first place after it."""
        return self.start + SEGMENT_BYTES

    @property
    def file(self) -> str:
        """PostgreSQL's name of it."""
        return f"{self.timeline:08X}{self.number // SEGMENTS_A_NAME:08X}{self.number % SEGMENTS_A_NAME:08X}"

    @property
    def whole(self) -> str:
        """Its name in the archive."""
        return f"wal/{self.timeline:08X}/{self.file}"

    def piece(self, start: int, end: int) -> str:
        """The name in the archive of a part of it, by bytes from its beginning."""
        return f"{self.whole}.{start:07X}-{end:07X}"


def segment_of(file: str) -> tuple[Segment, bool] | None:
    """The segment that a file holds and whether it is only partly written; None when it is none."""
    match = FILE.match(file)
    if match is None:
        return None
    number = int(match["high"], 16) * SEGMENTS_A_NAME + int(match["low"], 16)
    return Segment(number, int(match["timeline"], 16)), match["partial"] is not None


def number_of(file: str) -> int:
    """The number of a segment by PostgreSQL's name of it."""
    return int(file[8:16], 16) * SEGMENTS_A_NAME + int(file[16:24], 16)


def span_of(name: str) -> tuple[int, int] | None:
    """From where to where a piece in the archive reaches within its segment; None when it is no piece."""
    match = PIECE.search(name)
    return None if match is None else (int(match["start"], 16), int(match["end"], 16))


def whole_of(timeline: int, lsn: int) -> Segment:
    """The segment that holds this place."""
    return Segment(lsn // SEGMENT_BYTES, timeline)


def history_object(timeline: int) -> str:
    """The name in the archive of PostgreSQL's history of a timeline."""
    return f"wal/{timeline:08X}.history"


def history_of(text: str) -> History:
    """Where each earlier timeline ended, from PostgreSQL's history of one."""
    lines = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {int(line[0]): lsn_of(line[1]) for line in lines}


def to_merge(pieces: list[tuple[int, int]], merged: int) -> int | None:
    """From which piece on the pieces of a segment become one, None while they are few; the first `merged` have done so before.

    A new one takes in older ones that are no larger than it, so their number stays small and each byte is shipped a few times.
    """
    if len(pieces) - merged < APART:
        return None
    first, total = merged, sum(end - start for start, end in pieces[merged:])
    while first > 0 and (size := pieces[first - 1][1] - pieces[first - 1][0]) <= total:
        first, total = first - 1, total + size
    return first
