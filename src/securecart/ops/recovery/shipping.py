"""The log is shipped: what was received goes into the archive piece by piece, and as a whole once a segment is full.

What is in the archive is asked of the archive itself, so an archiver that was killed goes on where it was. All of it blocks.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from securecart.ops.recovery.ending import Ending, ending_of
from securecart.ops.recovery.model import SEGMENT_BYTES
from securecart.ops.recovery.receiving import PARTIAL, Place
from securecart.ops.recovery.segments import Segment, history_object, history_of, segment_of, span_of, to_merge, whole_of
from securecart.stores.archive import Archive

__all__ = ["Rest", "Shipper"]

HISTORY = ".history"


class Known(Struct):
    """What the archive has of a segment: all of it, or these pieces, in order; the first `merged` were several before."""

    whole: bool = False
    pieces: list[tuple[int, int]] = []
    merged: int = 0

    @property
    def reached(self) -> int:
        """How far its bytes are there without a hole."""
        reached = SEGMENT_BYTES if self.whole else 0
        for start, end in sorted(self.pieces):
            if start <= reached:
                reached = max(reached, end)
        return reached


class Rest(Struct, frozen=True):
    """What was left when a stream broke: up to here, and when the newest transaction in it committed."""

    place: Place
    committed_at: datetime | None


class Shipper:
    """Brings what is in `folder` into the archive, and removes what is there and not needed to receive on."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self.archive = archive
        self.folder = folder
        self.shipped_bytes = 0
        self._known: dict[Segment, Known] = {}
        self._histories: set[str] = set()

    def ship(self, place: Place | None) -> Place | None:
        """Ship all that was received up to `place`: how far the archive reaches now, None when that is not known.

        Errors of the archive are let through; what was not shipped stays for the next time.
        """
        names = self._names()
        self._ship_histories([name for name in names if name.endswith(HISTORY)])
        found = sorted(one for name in names if (one := segment_of(name)) is not None)
        for segment, partial in found:
            if not partial:
                self._ship_whole(segment)
        if place is None:
            return None
        current = whole_of(place.timeline, place.lsn - 1)  # at the end of a segment: that one
        try:
            self._ship_pieces(current, place.lsn - current.start)
        except FileNotFoundError:
            return None  # it has become whole in this moment, and is shipped so the next time
        for segment, partial in found:
            if partial and segment < current and segment.timeline < current.timeline:
                self._finish(segment, place.timeline)
        whole = [segment for segment, partial in found if not partial]
        for segment in whole[:-1]:  # the newest stays, for the stream begins after it
            (self.folder / segment.file).unlink(missing_ok=True)
        self._known = {segment: known for segment, known in self._known.items() if segment in {current, *whole[-1:]}}
        return place

    def ship_rest(self) -> Rest | None:
        """Ship what a stream that broke left in its last segment, as far as that is whole; None when there is nothing new.

        Only when the stream does not run: while it does, its own word says how far its file is written.
        """
        left = max((segment for name in self._names() if (segment := _partial(name)) is not None), default=None)
        if left is None:
            return None
        content = (self.folder / (left.file + PARTIAL)).read_bytes()
        reached = self._look_up(left).reached
        ending = ending_of(content, left.start, reached) if content else Ending(0, None)
        if ending.offset <= reached:
            return None
        self._ship_pieces(left, ending.offset)
        return Rest(Place(left.timeline, left.start + ending.offset), ending.committed_at)

    def waiting_bytes(self) -> int:
        """How much log is in the folder, shipped or not."""
        return sum(file.stat().st_size for file in self.folder.iterdir())

    def _names(self) -> list[str]:
        return sorted(file.name for file in self.folder.iterdir())

    def _ship_histories(self, names: list[str]) -> None:
        for name in names:
            if name not in self._histories:
                content = (self.folder / name).read_bytes()
                self.shipped_bytes += self.archive.put(history_object(int(name[:8], 16)), content)
                self._histories.add(name)

    def _ship_whole(self, segment: Segment) -> None:
        known = self._look_up(segment)
        if not known.whole:
            self.shipped_bytes += self.archive.put_file(segment.whole, self.folder / segment.file)
            known.whole = True
        if known.pieces:
            self.archive.remove([segment.piece(*piece) for piece in known.pieces])
            known.pieces = []

    def _ship_pieces(self, segment: Segment, end: int) -> None:
        known = self._look_up(segment)
        start = known.reached
        if end <= start:
            return
        with (self.folder / (segment.file + PARTIAL)).open("rb") as file:
            self._put(segment, file.fileno(), start, end)
            known.pieces.append((start, end))
            first = to_merge(known.pieces, known.merged)
            if first is not None:
                one = (known.pieces[first][0], end)
                self._put(segment, file.fileno(), *one)
                replaced = known.pieces[first:]
                known.pieces[first:] = [one]
                known.merged = first + 1
                self.archive.remove([segment.piece(*piece) for piece in replaced if piece != one])

    def _put(self, segment: Segment, descriptor: int, start: int, end: int) -> None:
        content = os.pread(descriptor, end - start, start)
        self.shipped_bytes += self.archive.put(segment.piece(start, end), content)

    def _look_up(self, segment: Segment) -> Known:
        if segment not in self._known:
            names = [name for name, _ in self.archive.names(segment.whole)]
            pieces = [span for name in names if (span := span_of(name)) is not None]
            self._known[segment] = Known(segment.whole in names, sorted(pieces))
        return self._known[segment]

    def _finish(self, segment: Segment, timeline: int) -> None:
        """Ship the rest of what a timeline wrote before the one that follows began; what lies beyond was never acknowledged."""
        ends = history_of((self.folder / f"{timeline:08X}{HISTORY}").read_text()).get(segment.timeline, segment.start)
        if segment.start < ends <= segment.end:
            self._ship_pieces(segment, ends - segment.start)
        (self.folder / (segment.file + PARTIAL)).unlink()


def _partial(name: str) -> Segment | None:
    found = segment_of(name)
    return found[0] if found is not None and found[1] else None
