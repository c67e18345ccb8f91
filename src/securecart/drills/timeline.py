"""What shoppers and readers got, moment by moment, and for how long they got nothing.

Moments are seconds of `time.monotonic`. A kind is "checkout" or "read"; `what` tells the pages of a kind apart.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from http import HTTPStatus

__all__ = ["BIN_S", "Timeline"]

BIN_S = 0.1

Moments = dict[tuple[str, str], list[float]]


class Timeline:
    """Every success and every failure with its moment, in the order in which they came."""

    def __init__(self) -> None:
        self._successes: Moments = defaultdict(list)
        self._failures: Moments = defaultdict(list)
        self._waits: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def succeeded(self, kind: str, what: str = "") -> None:
        """Somebody just got what they asked for."""
        self._successes[kind, what].append(time.monotonic())

    def failed(self, kind: str, what: str = "") -> None:
        """Somebody was just sent away: an answer of 500 or above, or no connection."""
        self._failures[kind, what].append(time.monotonic())

    def took(self, kind: str, seconds: float) -> None:
        """Somebody has just waited so long for it, repetitions included."""
        self._waits[kind].append((time.monotonic(), seconds))

    def hear(self, method: str, path: str, status: int) -> None:
        """Note a request of a shopper, also one that the client repeats by itself; status 0 is no answer."""
        well = 0 < status < HTTPStatus.INTERNAL_SERVER_ERROR
        (self.succeeded if well else self.failed)("request", f"{method} {'/'.join(path.split('/')[:3])}")

    def whats(self, kind: str) -> list[str]:
        """The pages of a kind that anybody asked for."""
        return sorted({what for one, what in (*self._successes, *self._failures) if one == kind})

    def successes(self, kind: str, what: str | None = None, *, since: float, until: float) -> int:
        """How many got what they asked for in these moments."""
        return len(_between(self._successes, kind, what, since, until))

    def failures(self, kind: str, what: str | None = None, *, since: float, until: float) -> int:
        """How many were sent away in these moments."""
        return len(_between(self._failures, kind, what, since, until))

    def waits(self, kind: str, *, since: float, until: float) -> list[float]:
        """How long those waited, in seconds, who had it in these moments, the shortest first."""
        return sorted(seconds for at, seconds in self._waits[kind] if since <= at <= until)

    def first_success(self, kind: str, *, since: float) -> float | None:
        """The moment of the first success from `since` on."""
        return next(iter(_between(self._successes, kind, None, since, float("inf"))), None)

    def longest_without(self, kind: str, what: str | None = None, *, since: float, until: float) -> float:
        """The longest time in these moments in which nobody got it, in seconds."""
        begin, end = self.longest_break(kind, what, since=since, until=until)
        return end - begin

    def longest_break(self, kind: str, what: str | None = None, *, since: float, until: float) -> tuple[float, float]:
        """The two moments between which nobody got it for the longest time."""
        return max(self._breaks(kind, what, since, until), key=lambda one: one[1] - one[0])

    def total_without(self, kind: str, what: str | None = None, *, since: float, until: float, unnoticed_s: float) -> float:
        """All breaks in these moments that last longer than `unnoticed_s`, each with its whole length, in seconds."""
        lengths = [end - begin for begin, end in self._breaks(kind, what, since, until)]
        return sum(length for length in lengths if length > unnoticed_s)

    def counts(self, kind: str, *, since: float, until: float) -> list[int]:
        """How many got it in each tenth of a second from `since` on."""
        bins = [0] * max(round((until - since) / BIN_S), 1)
        for at in _between(self._successes, kind, None, since, until):
            bins[min(int((at - since) / BIN_S), len(bins) - 1)] += 1
        return bins

    def _breaks(self, kind: str, what: str | None, since: float, until: float) -> list[tuple[float, float]]:
        moments = [since, *_between(self._successes, kind, what, since, until), max(until, since)]
        return list(itertools.pairwise(moments))


def _between(moments: Moments, kind: str, what: str | None, since: float, until: float) -> list[float]:
    chosen: Iterable[list[float]] = (
        found for (one, page), found in moments.items() if one == kind and (what is None or page == what)
    )
    return sorted(at for found in chosen for at in found[bisect_left(found, since) : bisect_right(found, until)])
