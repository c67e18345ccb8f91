"""From which pieces the archive's log is put together along a branch: arithmetic only."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from securecart.ops.recovery.branches import Leg
from securecart.ops.recovery.model import SEGMENT_BYTES, Base, Holdings, Piece, segment_name
from securecart.ops.recovery.reach import segment_start

__all__ = ["Part", "Segment", "enough_for", "joined", "log_plan", "parts_on"]


class Part(Struct, frozen=True):
    """What is taken of a piece: from `start` up to `end` (LSN, exclusive)."""

    piece: Piece
    start: int
    end: int


class Segment(Struct, frozen=True):
    """A segment file to be laid out: from which parts it is joined, and where the log in it ends (LSN, exclusive)."""

    name: str
    start: int
    end: int
    parts: tuple[Part, ...]


def log_plan(holdings: Holdings, legs: Sequence[Leg], since: int) -> list[Segment]:
    """The segments of a branch of the log, from the one that holds `since` on, as far as there is no hole.

    A timeline's first segment begins with what its parent wrote of it; so the file of the newest timeline stands for both, and
    what it lacks is taken from the parent's.
    """
    parts: dict[int, list[Part]] = defaultdict(list)
    for part in parts_on(holdings.pieces, legs):
        parts[segment_start(part.start)].append(part)
    plan: list[Segment] = []
    start = segment_start(since)
    while chosen := joined(parts[start], start):
        owner = max(leg.timeline for leg in legs if segment_start(leg.start) <= start)
        plan.append(Segment(segment_name(owner, start), start, chosen[-1].end, chosen))
        if chosen[-1].end < start + SEGMENT_BYTES:
            break
        start += SEGMENT_BYTES
    return plan


def enough_for(bases: Sequence[Base], legs: Sequence[Leg], time: datetime) -> int:
    """A place on the branch from which on everything is later than this time: where a base ended that began after it."""
    ends = {leg.timeline: leg.end for leg in legs}
    return min(
        (
            base.stop_lsn
            for base in bases
            if base.started_at > time and base.timeline in ends and base.stop_lsn <= (ends[base.timeline] or base.stop_lsn)
        ),
        default=sys.maxsize,
    )


def parts_on(pieces: Iterable[Piece], legs: Sequence[Leg]) -> Iterable[Part]:
    """What of these pieces is on the branch."""
    by_timeline = {leg.timeline: leg for leg in legs}
    for piece in pieces:
        if (leg := by_timeline.get(piece.timeline)) is not None:
            start, end = max(piece.start, segment_start(leg.start)), piece.end if leg.end is None else min(piece.end, leg.end)
            if start < end:
                yield Part(piece, start, end)


def joined(parts: Sequence[Part], start: int) -> tuple[Part, ...]:
    """The fewest parts that cover a segment from its start on, as far as they do."""
    chosen: list[Part] = []
    reached = start
    while following := [part for part in parts if part.start <= reached < part.end]:
        chosen.append(max(following, key=lambda part: part.end))
        reached = chosen[-1].end
    return tuple(chosen)
