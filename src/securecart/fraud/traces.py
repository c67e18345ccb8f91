"""What the graph keeps of each account, device, card, ...: counts and times, in one text on its node, read at a checkout.

The reader of the event log is the only one that writes it. docs/adr/0083 says why it is kept, and not counted when asked.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import msgspec
from msgspec import Struct, field

from securecart.fraud.model import MICROSECONDS, WALKED, WINDOWS, Amounts, Attempt, Kind, Seen
from securecart.fraud.replay import NEIGHBOURS_MAX, Thing
from securecart.stores.graph import Graph, Row, Statement, either, statements_of

CYPHER = statements_of(__package__)
_THINGS = re.compile(r"\$(\w*)things\b")

# The kinds that the graph knows, with the label of each and of the link to it.
LABELS: Mapping[Kind, str] = {
    "account": "Account",
    "device": "Device",
    "card": "Card",
    "address": "Address",
    "email": "Email",
    "network": "Network",
}
LINKS: Mapping[Kind, str] = {
    "device": "ON_DEVICE",
    "card": "PAID_WITH",
    "address": "SENT_TO",
    "email": "REACHED_AT",
    "network": "FROM_NETWORK",
}
KIND_OF: Mapping[str, Kind] = {label: kind for kind, label in LABELS.items()}
# The key of nothing, where nothing of a kind is asked about.
NOTHING = [""]
# Orders in a window are counted among the last so many; more than these are as many.
TIMES_MAX = 100


class Trace(Struct, array_like=True):
    """One thing's orders so far. Times are microseconds, the earliest first, and only the last hundred.

    `near` counts those of what it was seen with that rings go through and that have known fraud.
    `met` says how many orders it shared with each other thing, by kind; None once those are more than `NEIGHBOURS_MAX`.
    `seen_with` counts them by kind all the same. `squares` is text, for it may be wider than 64 bits.
    """

    orders: int = 0
    first: int | None = None
    times: list[int] = field(default_factory=list)
    frauds: int = 0
    fraud_times: list[int] = field(default_factory=list)
    seen_with: dict[str, int] = field(default_factory=dict)
    met: dict[str, dict[str, int]] | None = field(default_factory=dict)
    total: int = 0
    squares: str = "0"
    last_amount: int = 0
    made_at: int | None = None
    near: int = 0

    @property
    def accounts(self) -> int:
        """How many accounts it was seen with."""
        return self.seen_with.get("account", 0)

    @property
    def near_shown(self) -> int:
        """How much known fraud is next to it, as far as a ring may lead there through it."""
        return 0 if self.met is None else self.near

    def walked(self) -> list[Thing]:
        """What it was seen with that a ring may go through; nothing where it was seen with too much."""
        return [(kind, key) for kind, keys in (self.met or {}).items() if kind in WALKED for key in keys]

    def together(self, other: Thing) -> int | None:
        """The orders that it shared with the other; None when that is not known."""
        return None if self.met is None else self.met.get(other[0], {}).get(other[1], 0)

    def add(self, at: int) -> None:
        """Count an order of this time."""
        self.orders += 1
        self.first = at if self.first is None else min(self.first, at)
        _keep(self.times, at)

    def meet(self, other: Thing, *, is_new: bool) -> None:
        """Count one order that both are linked to, the first of them or not."""
        kind, key = other
        if is_new:
            self.seen_with[kind] = self.seen_with.get(kind, 0) + 1
        if self.met is None:
            return
        if sum(self.seen_with.values()) > NEIGHBOURS_MAX:
            self.met = None
            return
        of_kind = self.met.setdefault(kind, {})
        of_kind[key] = of_kind.get(key, 0) + 1

    def spend(self, amount_minor: int, at: int) -> None:
        """Count an order's amount; after `add`."""
        self.total += amount_minor
        self.squares = str(int(self.squares) + amount_minor * amount_minor)
        if at >= self.times[-1]:
            self.last_amount = amount_minor

    def mark(self, at: int) -> None:
        """The order of this time is known to be fraud."""
        self.frauds += 1
        _keep(self.fraud_times, at)

    def clear(self, at: int) -> None:
        """The order of this time is no fraud after all."""
        self.frauds -= 1
        if at in self.fraud_times:
            self.fraud_times.remove(at)

    def seen(self, at: int) -> Seen:
        """The same as counts and times, as of `at`."""
        times, count = self.times, len(self.times)
        recent = [count - bisect_left(times, at - window * MICROSECONDS) for window in WINDOWS]
        return Seen(
            orders=self.orders,
            recent=(recent[0], recent[1], recent[2], recent[3], recent[4]),
            first_seconds=None if self.first is None else (at - self.first) / MICROSECONDS,
            last_seconds=(at - times[-1]) / MICROSECONDS if times else None,
            frauds=self.frauds,
            fraud_seconds=(at - self.fraud_times[-1]) / MICROSECONDS if self.fraud_times else None,
            accounts=self.accounts,
            devices=self.seen_with.get("device", 0),
            cards=self.seen_with.get("card", 0),
            addresses=self.seen_with.get("address", 0),
        )

    def amounts(self) -> Amounts:
        """What its orders came to."""
        if not self.orders:
            return Amounts()
        spread = self.orders * int(self.squares) - self.total * self.total  # whole numbers: exact, never below zero
        return Amounts(self.orders, self.total / self.orders, sqrt(spread) / self.orders, self.last_amount)


_decoder = msgspec.json.Decoder(Trace)
_encoder = msgspec.json.Encoder()


def things_of(attempt: Attempt) -> list[Thing]:
    """All that the order is linked to and the graph has nodes for, the account first."""
    return [(kind, key) for kind, key in attempt.things().items() if kind in LABELS]


def memo_of(trace: Trace) -> str:
    """The text that is kept."""
    return _encoder.encode(trace).decode()


def trace_in(memo: str | None) -> Trace:
    """The trace in a node's text; of a node that has none, nothing is known."""
    return _decoder.decode(memo) if memo else Trace()


async def load_traces(graph: Graph, things: Sequence[Thing], *, within_s: float | None = None) -> dict[Thing, Trace]:
    """What the graph keeps of those of these things that it knows, in one round trip; `StoreAway`."""
    rows = await _look_up(graph, TRACES, things, within_s)
    return {(KIND_OF[row["label"]], row["id"]): trace_in(row["memo"]) for row in rows}


async def fraud_next_to(graph: Graph, things: Sequence[Thing], *, within_s: float | None = None) -> set[Thing]:
    """Those of these things that were seen with known fraud and that rings go through; `StoreAway`."""
    return {(KIND_OF[row["label"]], row["id"]) for row in await _look_up(graph, NEAR, things, within_s)}


async def _look_up(graph: Graph, statement: Statement, things: Sequence[Thing], within_s: float | None) -> list[Row]:
    if not things:
        return []
    wanted: dict[Kind, list[str]] = {kind: [] for kind in LABELS}
    for kind, key in things:
        wanted[kind].append(key)
    # always the same statement: each one more costs the local engine memory for good
    keys: dict[str, Any] = {kind: of_kind or NOTHING for kind, of_kind in wanted.items()}
    return await graph.ask(statement, within_s=within_s, **keys)


def of_kind(statement: Statement, kind: Kind) -> Statement:
    """The statement for things of one kind; a parameter `$new_things` becomes `$new_device`."""
    text = statement.replace("Thing", LABELS[kind]).replace("LINKED", LINKS.get(kind, "LINKED"))
    return Statement(_THINGS.sub(rf"$\1{kind}", text))


def _keep(times: list[int], at: int) -> None:
    insort(times, at)
    del times[:-TIMES_MAX]


TRACES = either([of_kind(CYPHER["traces"], kind) for kind in LABELS])
NEAR = either([of_kind(CYPHER["near_fraud"], kind) for kind in LABELS])
