"""Which node writes, and which may answer a read: decided from what was seen of each, and from nothing else.

Pure functions, so that every situation can be tried without a database. A node is its place in the list of hosts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NewType

from msgspec import Struct

__all__ = [
    "NEWEST",
    "NOWHERE",
    "History",
    "Lag",
    "Position",
    "Seen",
    "View",
    "choose",
    "eligible",
    "eligible_without_writer",
    "follows",
    "writer_of",
]

# How far the writer's log is written, in bytes since the cluster was made; a commit is before the position asked after it.
Position = NewType("Position", int)
NOWHERE = Position(0)  # every node has replayed this
NEWEST = Position(2**63 - 1)  # no replica has: only the writer knows what comes last

HISTORY_LOOKS = 2_400  # ten minutes of four a second
# A reader that was left out serves again once it is within this share of the limit, so that one at the limit does not flap.
BACK_WITHIN = 0.5
# Readers whose lags differ by less than the watch can tell apart are equally good.
ALIKE_S = 0.5
UNTOLD = -1


class Seen(Struct, frozen=True):
    """What a node said of itself, and when it was asked and had answered, in seconds of the monotonic clock.

    `position` is None where the node cannot tell. `replayed_s` is the age of the last commit that a replica replayed,
    `lag_s` its lag where it knows that itself (Aurora), `received` how far it has the writer's log, replayed or not.
    `receives` is the timeline that it receives: 0 for none, `UNTOLD` where nobody may ask or there never is one.
    """

    in_recovery: bool
    timeline: int
    position: int | None
    replayed_s: float | None
    lag_s: float | None
    asked_at: float
    at: float
    received: int | None = None
    receives: int = UNTOLD


class Lag(Struct, frozen=True):
    """How far a replica is behind; None is what nobody can tell."""

    bytes: int | None
    seconds: float | None


class View(Struct, frozen=True):
    """Who does what: the node that writes, those that serve reads (the least lagging first), and each one's lag."""

    writer: int | None = None
    readers: tuple[int, ...] = ()
    lags: tuple[Lag | None, ...] = ()


class History:
    """Where the writer was and when, so that a replica's position can be told in seconds, by our own clock alone.

    While nobody writes, nobody falls further behind: then the last sight of a writer counts as now.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[int, float, float]] = deque(maxlen=HISTORY_LOOKS)

    @property
    def newest(self) -> int | None:
        """The last position that a writer had, None before there was one."""
        return self._looks[-1][0] if self._looks else None

    def note(self, position: int, at: float) -> None:
        """The writer was here then."""
        if self._looks and self._looks[-1][0] == position:
            since = self._looks.pop()[1]
            self._looks.append((position, since, at))
        else:
            self._looks.append((position, at, at))

    def begin_anew(self) -> None:
        """Forget what another writer did: its positions are not comparable with the times of the next."""
        self._looks.clear()

    def seconds_behind(self, position: int) -> float | None:
        """How long before the last look the writer was last seen at or before this position; None: before we looked."""
        if not self._looks or position >= self._looks[-1][0]:
            return 0.0
        for at_position, _, until in reversed(self._looks):
            if at_position <= position:
                return self._looks[-1][2] - until
        return None


def writer_of(seen: Sequence[Seen | None], *, since: int = 0) -> int | None:
    """The node that writes, None when there is none; never one of a timeline before `since`, which another has ended."""
    writers = [i for i, one in enumerate(seen) if one is not None and not one.in_recovery and one.timeline >= since]
    # a server that was thought dead and came back says that it writes, too: the later timeline is the true one
    return max(writers, key=lambda i: _timeline(seen[i])) if writers else None


def follows(now: Seen | None, *, timeline: int, already: bool) -> bool:
    """Whether a node goes the way of the writer, who is on this timeline, by what it is seen to receive, now or before.

    Positions alone do not tell: a writer that was frozen has written what nobody else has, and once the next writer is past
    that place, the old one looks like a replica that has it all. It may even receive: the end of its own timeline, which the
    next writer has too. But nobody sends it the new one, which began before the place that it has come to.
    """
    if now is None or not now.in_recovery:
        return False
    return already or now.receives == UNTOLD or 0 < now.receives == timeline


def choose(
    seen: Sequence[Seen | None],
    writer: int | None,
    history: History,
    *,
    limit_s: float,
    serving: Sequence[int] = (),
    following: Sequence[bool] | None = None,
) -> View:
    """Who reads, given who writes. A node that is None did not answer; `serving` read until now; `limit_s` is the most lag.

    Where there is a writer, only those read that are `following`.
    """
    lags = tuple(_lag(one, seen[writer] if writer is not None else None, history) for one in seen)
    readers = []
    for i, one in enumerate(seen):
        lag = lags[i]
        if one is None or lag is None:
            continue
        if writer is not None and (_is_astray(one, seen[writer]) or (following is not None and not following[i])):
            continue
        if lag.seconds is None or lag.seconds <= (limit_s if i in serving else limit_s * BACK_WITHIN):
            readers.append(i)
    readers.sort(key=lambda i: (_or_worst(lags[i]), i))
    return View(writer, tuple(readers), lags)


def eligible(view: View, seen: Sequence[Seen | None], after: Position | None) -> list[int]:
    """The readers that will do for a read which must see everything up to `after`: those of the least lag, all as good."""
    return _least_lagging(view, [i for i in view.readers if not after or _has(seen[i], after)])


def eligible_without_writer(view: View, seen: Sequence[Seen | None], after: Position | None) -> list[int]:
    """The same while nobody writes, where each commit is confirmed by another node before it is acknowledged.

    A position may then be after what any node has: it was asked of a writer that had written more, or could not be asked
    any more. But when only the writer is missing, the log that the others received holds everything acknowledged.
    """
    there = [one for one in seen if one is not None]
    if not after or view.writer is not None or len(there) < len(seen) - 1 or any(one.received is None for one in there):
        return eligible(view, seen, after)
    furthest = Position(max((one.received or NOWHERE for one in there), default=NOWHERE))
    return eligible(view, seen, min(after, furthest))


def _least_lagging(view: View, fit: list[int]) -> list[int]:
    if not fit:
        return []
    least = _or_worst(view.lags[fit[0]])
    return [i for i in fit if _or_worst(view.lags[i]) <= least + ALIKE_S]


def _timeline(one: Seen | None) -> int:
    return one.timeline if one is not None else -1


def _lag(one: Seen | None, writer: Seen | None, history: History) -> Lag | None:
    """A replica's lag; None for a node that is none, or is away."""
    if one is None or not one.in_recovery:
        return None
    newest = writer.position if writer is not None else history.newest
    behind = None if one.position is None or newest is None else max(newest - one.position, 0)
    if one.lag_s is not None:
        return Lag(behind, one.lag_s)
    if one.position is None or newest is None:
        return Lag(behind, None)
    seconds = history.seconds_behind(one.position)
    if seconds is None:  # it was there before we looked at the writer: its own clock says too much rather than too little
        seconds = float("inf") if one.replayed_s is None else one.replayed_s
    return Lag(behind, seconds)


def _is_astray(one: Seen, writer: Seen | None) -> bool:
    """Whether a replica had replayed what the writer, asked later, has not written: it followed somebody else."""
    if writer is None or writer.position is None or one.position is None:
        return False
    return writer.asked_at > one.at and one.position > writer.position


def _has(one: Seen | None, after: Position) -> bool:
    return one is not None and one.position is not None and one.position >= after


def _or_worst(lag: Lag | None) -> float:
    """For sorting: one whose lag nobody knows comes last."""
    return lag.seconds if lag is not None and lag.seconds is not None else float("inf")
