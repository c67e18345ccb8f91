"""Which of the log's timelines leads to a moment: a failover begins one, and so does every recovery of the whole database.

Timelines are numbered in the order in which they began, so at any time the live one was the newest that had begun.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.model import Fork, Holdings, Moment

__all__ = ["Leg", "branch_at", "legs_of", "newest_timeline"]


class Leg(Struct, frozen=True):
    """The stretch of one timeline that a branch follows, from `start` up to `end` (LSN, exclusive; None: as far as it goes)."""

    timeline: int
    start: int
    end: int | None


def newest_timeline(holdings: Holdings) -> int:
    """The highest number of a timeline that the archive knows of."""
    return max((*(one.timeline for one in holdings.pieces), *(one.timeline for one in holdings.forks), 1))


def branch_at(holdings: Holdings, moment: Moment) -> int:
    """The timeline that was live at the moment; for a transaction, the newest of all.

    Where somebody went back after that moment, what they left behind is followed, not what they made of it.
    """
    archived = {one.timeline for one in holdings.pieces}
    if moment.at is not None:
        for fork in sorted(holdings.forks, key=lambda one: one.timeline):
            if fork.resumed_at is not None and fork.resumed_at > moment.at:
                archived = {timeline for timeline in archived if timeline < fork.timeline}
                break
    if not archived:
        raise RecoveryRefused(problem=f"The archive holds no log of {moment.in_words}.")
    return max(archived)


def legs_of(forks: Iterable[Fork], timeline: int) -> list[Leg]:
    """The way to a timeline from the first one on, oldest stretch first."""
    known = {one.timeline: one for one in forks}
    legs = [Leg(timeline, 0, None)]
    while (fork := known.get(legs[0].timeline)) is not None:
        legs[0] = Leg(fork.timeline, fork.lsn, legs[0].end)
        legs.insert(0, Leg(fork.parent, 0, fork.lsn))
    return legs
