"""What is known of orders about to be paid: asked of the graph for many at once, by look-ups of nodes alone.

One round trip brings what is kept of all that the orders are linked to: who shares it, and whether fraud is known of it or next
to it. Only where neither is, and these were seen with something else, one more asks whether fraud is known one step further.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence

from securecart.errors import StoreAway
from securecart.fraud.model import WALKED, Attempt, Known, Past, Ring
from securecart.fraud.replay import Thing
from securecart.fraud.traces import Trace, fraud_next_to, load_traces, things_of
from securecart.stores.graph import Graph

__all__ = ["ask_past"]

# So many nodes are looked at for the last step in a round trip, shared out among the attempts of a group.
LOOKED_UP_MAX = 300
# Of the time given, what must be left for that to begin.
STEP_SHARE = 0.4


async def ask_past(graph: Graph, attempts: Sequence[Attempt], *, within_s: float) -> list[Known]:
    """What the graph knows of these attempts, in their order; `StoreAway`.

    When the time is short, fraud that is three steps away is not looked for.
    """
    began = time.monotonic()
    linked = [things_of(attempt) for attempt in attempts]
    traces = await load_traces(graph, list(dict.fromkeys(thing for things in linked for thing in things)), within_s=within_s)
    asked = [_Asked(one, things, traces) for one, things in zip(attempts, linked, strict=True)]
    ahead = [[] if one.hops else one.ahead() for one in asked]
    share = LOOKED_UP_MAX // max(1, sum(map(bool, ahead)))
    wanted = dict.fromkeys(thing for each in ahead for thing in each[:share])
    suspect = set[Thing]()
    left_s = within_s - (time.monotonic() - began)
    if wanted and left_s > within_s * STEP_SHARE:
        with contextlib.suppress(StoreAway):  # the rest is known
            suspect = await fraud_next_to(graph, list(wanted), within_s=left_s)
    return [one.known(is_further=not suspect.isdisjoint(each)) for one, each in zip(asked, ahead, strict=True)]


class _Asked:
    """An attempt with what is kept of its own things, and of those the ones that rings go through."""

    def __init__(self, attempt: Attempt, things: Sequence[Thing], traces: Mapping[Thing, Trace]) -> None:
        self._attempt = attempt
        known = {thing: traces[thing] for thing in things if thing in traces}
        self._own = {kind: trace for (kind, _), trace in known.items()}
        self._leading = {thing: one for thing, one in known.items() if thing[0] in WALKED and one.met is not None}
        self.hops = self._hops()

    def ahead(self) -> list[Thing]:
        """What the attempt's own things were seen with, beside these."""
        met = (thing for trace in self._leading.values() for thing in trace.walked())
        return list(dict.fromkeys(thing for thing in met if thing not in self._leading))

    def known(self, *, is_further: bool) -> Known:
        """All of it; `is_further` when known fraud is three steps away."""
        if not self._own:
            return Known()
        attempt, own = self._attempt, self._own
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
            ring=self._ring(self.hops or (3 if is_further else None)),
            amounts=account.amounts() if account else Past().amounts,
            with_device=together["device"],
            with_card=together["card"],
            with_address=together["address"],
            with_email=together["email"],
        )
        return Known(past, account.made_at if account else None)

    def _hops(self) -> int | None:
        if any(trace.frauds for trace in self._leading.values()):
            return 1
        return 2 if any(trace.near for trace in self._leading.values()) else None

    def _ring(self, hops: int | None) -> Ring:
        shared = [
            others
            for (kind, _), trace in self._leading.items()
            if kind != "account" and (others := (trace.met or {}).get("account", {}).keys() - {self._attempt.account})
        ]
        return Ring(hops, len(set[str]().union(*shared)), len(shared), sum(map(len, shared)))
