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
    things = dict.fromkeys(thing for attempt in attempts for thing in things_of(attempt))
    traces = await load_traces(graph, list(things), within_s=within_s)
    hops = [_hops(attempt, traces) for attempt in attempts]
    ahead = [[] if found else _ahead(attempt, traces) for attempt, found in zip(attempts, hops, strict=True)]
    share = LOOKED_UP_MAX // max(1, sum(map(bool, ahead)))
    wanted = dict.fromkeys(thing for each in ahead for thing in each[:share])
    suspect = set[Thing]()
    left_s = within_s - (time.monotonic() - began)
    if wanted and left_s > within_s * STEP_SHARE:
        with contextlib.suppress(StoreAway):  # the rest is known
            suspect = await fraud_next_to(graph, list(wanted), within_s=left_s)
    return [
        _known(attempt, traces, found or (3 if suspect.intersection(each) else None))
        for attempt, found, each in zip(attempts, hops, ahead, strict=True)
    ]


def _leading(attempt: Attempt, traces: Mapping[Thing, Trace]) -> dict[Thing, Trace]:
    """The attempt's own things that rings go through."""
    own = {thing: traces[thing] for thing in things_of(attempt) if thing in traces}
    return {thing: trace for thing, trace in own.items() if thing[0] in WALKED and trace.met is not None}


def _hops(attempt: Attempt, traces: Mapping[Thing, Trace]) -> int | None:
    leading = _leading(attempt, traces).values()
    if any(trace.frauds for trace in leading):
        return 1
    return 2 if any(trace.near for trace in leading) else None


def _ahead(attempt: Attempt, traces: Mapping[Thing, Trace]) -> list[Thing]:
    """What the attempt's own things were seen with, beside these."""
    leading = _leading(attempt, traces)
    return list(dict.fromkeys(thing for trace in leading.values() for thing in trace.walked() if thing not in leading))


def _ring(attempt: Attempt, traces: Mapping[Thing, Trace], hops: int | None) -> Ring:
    shared = [
        others
        for (kind, _), trace in _leading(attempt, traces).items()
        if kind != "account" and (others := (trace.met or {}).get("account", {}).keys() - {attempt.account})
    ]
    return Ring(hops, len(set[str]().union(*shared)), len(shared), sum(map(len, shared)))


def _known(attempt: Attempt, traces: Mapping[Thing, Trace], hops: int | None) -> Known:
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
        ring=_ring(attempt, traces, hops),
        amounts=account.amounts() if account else Past().amounts,
        with_device=together["device"],
        with_card=together["card"],
        with_address=together["address"],
        with_email=together["email"],
    )
    return Known(past, account.made_at if account else None)
