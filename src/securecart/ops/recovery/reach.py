"""How far each base backup reaches: along the log that is in the archive without a hole, on the branch that was live.

All of it is arithmetic with places in the log. A place is known by time where somebody noted both: a base, a gap, the beat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from securecart.ops.recovery.branches import Leg, legs_of
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Beat, Fork, Gap, Piece, Window

__all__ = ["Era", "Reach", "chain_in", "eras_of", "gaps_in", "reaches_in", "segment_start", "windows_of"]

EVER = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


class Era(Struct, frozen=True):
    """A time from `since` until `until` in which one branch was live; a person who goes back to a moment begins the next.

    `stretches` are those parts of the branch that are in the archive, `points` places on it whose time is known, `end` how far
    its log went as far as anybody knows.
    """

    since: datetime
    until: datetime
    legs: tuple[Leg, ...]
    stretches: tuple[tuple[int, int], ...]
    points: tuple[tuple[int, datetime], ...]
    bases: tuple[Base, ...]
    end: int

    def has(self, timeline: int, lsn: int) -> bool:
        """Whether this place of the log is on the branch."""
        return any(leg.timeline == timeline and (leg.end is None or lsn <= leg.end) for leg in self.legs)

    def end_of(self, lsn: int) -> int:
        """How far the log reaches from here without a hole; 0 when it is not there."""
        return next((end for start, end in self.stretches if start <= lsn <= end), 0)

    def time_of(self, lsn: int) -> datetime | None:
        """A time such that whatever was committed by then is before this place; None when none is known."""
        if self.until != NEVER and lsn >= self.end:
            return self.until  # whoever went back then left nothing behind that is not here
        return max((time for place, time in self.points if place <= lsn), default=None)


class Reach(Struct, frozen=True):
    """A base whose chain is whole: moments from `since` until `until` are reached from it, along the log up to `end`."""

    base: Base
    end: int
    since: datetime
    until: datetime

    def has(self, at: datetime) -> bool:
        """Whether the moment is reached."""
        return self.since <= at <= self.until


def segment_start(lsn: int) -> int:
    """Where the segment begins that holds this place: PostgreSQL reads a segment from its first page on."""
    return lsn - lsn % SEGMENT_BYTES


def chain_in(bases: Mapping[str, Base], base: Base) -> tuple[Base, ...]:
    """The full backup under this one, those between, and itself; nothing when one of them is missing."""
    chain = [base]
    while chain[0].kind == "incremental":
        parent = bases.get(chain[0].parent)
        if parent is None or parent in chain:
            return ()
        chain.insert(0, parent)
    return tuple(chain)


def eras_of(
    bases: Sequence[Base], pieces: Sequence[Piece], forks: Sequence[Fork], gaps: Sequence[Gap], beat: Beat | None
) -> tuple[Era, ...]:
    """The branches that were live one after the other, oldest first."""
    timelines = {piece.timeline for piece in pieces}
    eras = []
    since, ends = EVER, [fork for fork in sorted(forks, key=lambda one: one.timeline) if fork.resumed_at is not None]
    for fork in [*ends, None]:
        until = fork.resumed_at - MOMENT if fork is not None and fork.resumed_at is not None else NEVER
        then = [timeline for timeline in timelines if fork is None or timeline < fork.timeline]
        if then:
            legs = tuple(legs_of(forks, max(then)))
            eras.append(_era(since, until, legs, bases, pieces, gaps, beat))
        since = until + MOMENT if until < NEVER else NEVER
    return tuple(eras)


def reaches_in(era: Era, known: Mapping[str, Base]) -> list[Reach]:
    """How far each base reaches on this branch, oldest base first; those that reach nothing are left out."""
    found = []
    for base in sorted(era.bases, key=lambda one: one.ended_at):
        chain = chain_in(known, base)
        end = era.end_of(segment_start(base.start_lsn))
        if not chain or end < base.stop_lsn or not all(era.has(one.timeline, one.stop_lsn) for one in chain):
            continue
        since, until = max(base.ended_at, era.since), min(era.time_of(end) or base.ended_at, era.until)
        if since <= until:
            found.append(Reach(base, end, since, until))
    return found


def windows_of(reaches: Iterable[Reach]) -> tuple[Window, ...]:
    """The moments that can be reached, as few windows as may be."""
    windows: list[Window] = []
    for reach in sorted(reaches, key=lambda one: (one.since, one.until)):
        if windows and reach.since - MOMENT <= windows[-1].until:
            windows[-1] = Window(windows[-1].since, max(windows[-1].until, reach.until))
        else:
            windows.append(Window(reach.since, reach.until))
    return tuple(windows)


def gaps_in(era: Era, reaches: Sequence[Reach]) -> list[Gap]:
    """The holes in the branch's log after its oldest base; without a base after its first piece."""
    first = era.stretches[0][0] if era.stretches else 0
    begin = min((segment_start(base.start_lsn) for base in era.bases), default=first)
    holes, reached = [], begin
    for start, end in [*era.stretches, (era.end, era.end)]:
        if start > reached:
            holes.append((reached, start))
        reached = max(reached, end)
    found = []
    for start, end in holes:
        again = min((reach.since for reach in reaches if segment_start(reach.base.start_lsn) >= end), default=None)
        timeline = next(leg.timeline for leg in era.legs if leg.end is None or start < leg.end)
        found.append(Gap(timeline, start, end, era.time_of(start), again))
    return found


def _stretches(pieces: Sequence[Piece], legs: Sequence[Leg]) -> tuple[tuple[int, int], ...]:
    """What the pieces cover of the branch: a timeline's first segment holds what its parent wrote of it, once more."""
    by_timeline = {leg.timeline: leg for leg in legs}
    spans = []
    for piece in pieces:
        if (leg := by_timeline.get(piece.timeline)) is not None:
            start, end = max(piece.start, segment_start(leg.start)), piece.end if leg.end is None else min(piece.end, leg.end)
            if start < end:
                spans.append((start, end))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def _era(
    since: datetime,
    until: datetime,
    legs: tuple[Leg, ...],
    bases: Sequence[Base],
    pieces: Sequence[Piece],
    gaps: Sequence[Gap],
    beat: Beat | None,
) -> Era:
    stretches = _stretches(pieces, legs)
    bare = Era(since, until, legs, stretches, (), (), 0)
    on_it = tuple(base for base in bases if bare.has(base.timeline, base.stop_lsn))
    # what was committed while a base was taken may lie beyond its end
    points = [(base.stop_lsn, base.started_at) for base in on_it]
    points += [(gap.start, gap.after) for gap in gaps if gap.after is not None and bare.has(gap.timeline, gap.start)]
    ends = [stretches[-1][1] if stretches else 0, *(gap.end for gap in gaps if bare.has(gap.timeline, gap.end))]
    if beat is not None and bare.has(beat.timeline, beat.lsn):
        points.append((beat.lsn, beat.at))
        ends.append(beat.lsn)
    return msgspec.structs.replace(bare, bases=on_it, points=tuple(points), end=max(ends))
