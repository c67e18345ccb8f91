"""What is known of orders about to be paid: asked of the graph for many at once, by look-ups of nodes alone.

One round trip brings what is kept of all that the orders are linked to. Only where these were seen with something else, up to two
more bring what a ring is made of.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from securecart.errors import StoreAway
from securecart.fraud.model import WALKED, Attempt, Known, Past, Ring
from securecart.fraud.replay import RING_DEPTH, RING_THINGS_MAX, Thing
from securecart.fraud.traces import Trace, load_traces, things_of
from securecart.stores.graph import Graph

__all__ = ["ask_past"]

# So many nodes are looked up for the rings of one group in a round trip; what lies beyond is in no ring.
LOOKED_UP_MAX = 600
# Of the time given, what each round trip for the rings may take, and what must be left for one to begin.
RING_SHARE = 0.3


async def ask_past(graph: Graph, attempts: Sequence[Attempt], *, within_s: float) -> list[Known]:
    """What the graph knows of these attempts, in their order; `StoreAway`.

    A ring that cannot be walked to its end in time is as far as it was walked.
    """
    began = time.monotonic()
    things = dict.fromkeys(thing for attempt in attempts for thing in things_of(attempt))
    traces = await load_traces(graph, list(things), within_s=within_s)
    walks = [_Walk(attempt, traces) for attempt in attempts]
    known = set(things)
    for _ in range(1, RING_DEPTH):
        wanted = _wanted(walks, known)
        if wanted and time.monotonic() - began < within_s * (1 - RING_SHARE):
            known.update(wanted)
            try:
                traces.update(await load_traces(graph, wanted, within_s=within_s * RING_SHARE))
            except StoreAway:
                break
        for walk in walks:
            walk.step()
    return [_known(attempt, traces, walk.ring()) for attempt, walk in zip(attempts, walks, strict=True)]


def _wanted(walks: Sequence[_Walk], known: set[Thing]) -> list[Thing]:
    """What the walks would step on and nobody has looked at, shared out among them."""
    each = [[thing for thing in walk.ahead() if thing not in known] for walk in walks]
    share = max(1, LOOKED_UP_MAX // max(1, sum(map(bool, each))))
    return list(dict.fromkeys(thing for one in each for thing in one[:share]))


def _known(attempt: Attempt, traces: Mapping[Thing, Trace], ring: Ring) -> Known:
    own = {kind: traces[kind, key] for kind, key in things_of(attempt) if (kind, key) in traces}
    account = own.get("account")
    together = dict.fromkeys(("device", "card", "address", "email"), 0)
    if account is not None:
        for kind in together:
            if kind in own:
                together[kind] = account.together((kind, getattr(attempt, kind))) or 0
                if account.met is None:
                    together[kind] = own[kind].together(("account", attempt.account)) or 0
    past = Past(
        **{kind: trace.seen(attempt.at) for kind, trace in own.items()},
        ring=ring,
        amounts=account.amounts() if account else Past().amounts,
        with_device=together["device"],
        with_card=together["card"],
        with_address=together["address"],
        with_email=together["email"],
    )
    return Known(past, account.made_at if account else None)


class _Walk:
    """From an attempt's own things, level by level, over what each was seen with."""

    def __init__(self, attempt: Attempt, traces: Mapping[Thing, Trace]) -> None:
        self._traces = traces
        self._account = attempt.account
        self._level = [thing for thing in things_of(attempt) if self._leads(thing)]
        self._reached = dict.fromkeys(self._level)
        self._depth = 1
        self._hops = self._fraud()

    def ahead(self) -> list[Thing]:
        """What the things of this level were seen with, if a ring may go through it."""
        return [
            (kind, key)
            for thing in self._level
            for kind, keys in (self._traces[thing].met or {}).items()
            if kind in WALKED
            for key in keys
            if (kind, key) not in self._reached
        ]

    def step(self) -> None:
        """Go on to as much of it as is known."""
        ahead = [thing for thing in self.ahead() if self._leads(thing)]
        self._level = list(dict.fromkeys(ahead))[: RING_THINGS_MAX - len(self._reached)]
        self._reached.update(dict.fromkeys(self._level))
        self._depth += 1
        self._hops = self._hops or self._fraud()

    def ring(self) -> Ring:
        """All that was reached."""
        accounts = [key for kind, key in self._reached if kind == "account" and key != self._account]
        things = {thing for thing in self._reached if thing[0] != "account"}
        links = sum(
            (kind, key) in things
            for account in accounts
            for kind, keys in (self._traces["account", account].met or {}).items()
            for key in keys
        )
        return Ring(self._hops, len(accounts), len(things), links)

    def _fraud(self) -> int | None:
        return self._depth if any(self._traces[thing].frauds for thing in self._level) else None

    def _leads(self, thing: Thing) -> bool:
        """Whether a ring goes through it: not where it has too many neighbours to know them."""
        trace = self._traces.get(thing)
        return thing[0] in WALKED and trace is not None and bool(trace.orders) and trace.met is not None
