"""The past, replayed from rows in memory: each row sees only what came before it.

Rows are taken by time, and those of the same time in the order of the file. A row sees the orders of all rows before it,
also of the same time; it sees that one of them was fraud only when that row's time plus the delay is strictly earlier than
its own. So rows of the same time never see each other's label, and no row its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from math import sqrt

from securecart.fraud.model import MICROSECONDS, WALKED, WINDOWS, Amounts, Attempt, Kind, Past, Ring, Row, Seen

Thing = tuple[Kind, str]

RING_DEPTH = 3
# A device in a shop window has thousands of accounts, and who used it knows nobody: what met more than this is in no ring.
NEIGHBOURS_MAX = 60


class Trace:
    """One thing's orders so far: their times, what it was seen with, and which were known to be fraud."""

    __slots__ = ("fraud_last", "frauds", "neighbours", "seen_with", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.neighbours: dict[Thing, int] = {}
        self.seen_with: dict[Kind, int] = {}
        self.frauds = 0
        self.fraud_last: int | None = None

    def meet(self, other: Thing) -> None:
        """Count one order that both are linked to."""
        if other not in self.neighbours:
            self.seen_with[other[0]] = self.seen_with.get(other[0], 0) + 1
        self.neighbours[other] = self.neighbours.get(other, 0) + 1

    def seen(self, at: int) -> Seen:
        """The same as counts and times, as of `at`."""
        times, count = self.times, len(self.times)
        recent = [count - bisect_left(times, at - window * MICROSECONDS) for window in WINDOWS]
        return Seen(
            orders=count,
            recent=(recent[0], recent[1], recent[2], recent[3], recent[4]),
            first_seconds=(at - times[0]) / MICROSECONDS if times else None,
            last_seconds=(at - times[-1]) / MICROSECONDS if times else None,
            frauds=self.frauds,
            fraud_seconds=None if self.fraud_last is None else (at - self.fraud_last) / MICROSECONDS,
            accounts=self.seen_with.get("account", 0),
            devices=self.seen_with.get("device", 0),
            cards=self.seen_with.get("card", 0),
            addresses=self.seen_with.get("address", 0),
        )


class Memory:
    """All traces. Attempts must come by time: `past` says what is known, `learn` adds the order, `mark` its fraud."""

    def __init__(self) -> None:
        self._traces: dict[Thing, Trace] = {}
        self._sums: dict[str, tuple[int, int, int, int]] = {}

    def past(self, attempt: Attempt) -> Past:
        """What is known about all that the attempt is linked to."""
        own = [thing for thing in attempt.things().items() if thing in self._traces]
        seen = {kind: self._traces[kind, key].seen(attempt.at) for kind, key in own}
        account = self._traces.get(("account", attempt.account))
        met = account.neighbours if account else {}
        together = {kind: met.get((kind, key), 0) for kind, key in attempt.things().items()}
        return Past(
            **seen,
            ring=self._ring(own, attempt.account),
            amounts=self._amounts(attempt.account),
            with_device=together.get("device", 0),
            with_card=together.get("card", 0),
            with_address=together.get("address", 0),
            with_email=together.get("email", 0),
        )

    def learn(self, attempt: Attempt) -> None:
        """Remember the order with its links and its amount."""
        things = list(attempt.things().items())
        for thing in things:
            trace = self._traces.setdefault(thing, Trace())
            trace.times.append(attempt.at)
            for other in things:
                if other != thing:
                    trace.meet(other)
        count, total, squares, _ = self._sums.get(attempt.account, (0, 0, 0, 0))
        amount = attempt.amount_minor
        self._sums[attempt.account] = (count + 1, total + amount, squares + amount * amount, amount)

    def mark(self, attempt: Attempt) -> None:
        """From now on the order is known to be fraud."""
        for thing in attempt.things().items():
            trace = self._traces[thing]
            trace.frauds += 1
            trace.fraud_last = max(attempt.at, trace.fraud_last or attempt.at)

    def _amounts(self, account: str) -> Amounts:
        count, total, squares, last = self._sums.get(account, (0, 0, 0, 0))
        if not count:
            return Amounts()
        spread = count * squares - total * total  # whole numbers: exact, never below zero
        return Amounts(count, total / count, sqrt(spread) / count, last)

    def _ring(self, own: Iterable[Thing], account: str) -> Ring:
        """Who shares the attempt's own things, and how far known fraud is from these."""
        leading = [thing for thing in own if self._leads(thing)]
        shared = {
            thing: sharers
            for thing in leading
            if thing[0] != "account"
            and (sharers := {key for kind, key in self._traces[thing].neighbours if kind == "account" and key != account})
        }
        accounts = set[str]().union(*shared.values())
        return Ring(self._hops(leading), len(accounts), len(shared), sum(map(len, shared.values())))

    def _hops(self, level: Iterable[Thing]) -> int | None:
        reached = set(level)
        for depth in range(1, RING_DEPTH + 1):
            if any(self._traces[thing].frauds for thing in level):
                return depth
            level = {other for thing in level for other in self._traces[thing].neighbours if self._leads(other)} - reached
            reached |= level
        return None

    def _leads(self, thing: Thing) -> bool:
        """Whether a ring goes through it."""
        return thing[0] in WALKED and len(self._traces[thing].neighbours) <= NEIGHBOURS_MAX


def replay(rows: Sequence[Row], label_delay: int = 0) -> Iterator[tuple[int, Past]]:
    """The place of each row in `rows` with its past, by time; `label_delay` is in microseconds."""
    memory, waiting = Memory(), deque[Attempt]()
    for place in sorted(range(len(rows)), key=lambda place: rows[place].attempt.at):
        attempt = rows[place].attempt
        while waiting and waiting[0].at + label_delay < attempt.at:
            memory.mark(waiting.popleft())
        yield place, memory.past(attempt)
        memory.learn(attempt)
        if rows[place].is_fraud:
            waiting.append(attempt)
