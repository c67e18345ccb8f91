"""Teach the graph what orders were linked to and what became of them, many at once, each once.

Whoever teaches is alone: it asks what is kept, works out what is to be kept now, and writes it with the orders in one statement.
An order's node is made in the statement that counts it, so an order that is there has been counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from securecart.fraud.model import WALKED, Kind, Lesson
from securecart.fraud.replay import Thing
from securecart.fraud.traces import CYPHER, LABELS, LINKS, Trace, load_traces, memo_of, of_kind, things_of
from securecart.stores.graph import Graph, Row, Statement, chained

__all__ = ["NewAccount", "Taught", "forget_all", "orders_after", "taught", "teach"]

# Orders in a statement: enough to share its cost, and few enough for its body to stay far below what the engine takes.
LESSONS_MOST = 500
MEMOS_BYTES_MAX = 4 * 2**20
ACCOUNTS_MOST = 1_000
FORGOTTEN_AT_ONCE = 5_000
ORDERS = ("new_orders", "changed_orders", "marked_orders", "cleared_orders")


class NewAccount(Struct, frozen=True):
    """An account as shoppers are named (`account:` and its UUID), and when it was made, in microseconds."""

    account: str
    made_at: int


class Taught(Struct, frozen=True):
    """An order as the graph has it."""

    status: str
    is_fraud: bool

    @classmethod
    def of(cls, lesson: Lesson) -> Taught:
        """As the graph has it once it is taught."""
        return cls(lesson.status, lesson.fraud_at is not None)


async def teach(graph: Graph, lessons: Sequence[Lesson], accounts: Sequence[NewAccount] = ()) -> None:
    """Have the graph know these orders and accounts; `StoreAway`, after which the same may be taught again.

    Of an order that it knows, what became of it and whether it is fraud are brought up to date. Only one may teach at a time.
    """
    for start in range(0, len(accounts), ACCOUNTS_MOST):
        await _teach_accounts(graph, accounts[start : start + ACCOUNTS_MOST])
    latest = sorted({lesson.number: lesson for lesson in lessons}.values(), key=lambda lesson: lesson.attempt.at)
    for start in range(0, len(latest), LESSONS_MOST):
        await _teach_orders(graph, latest[start : start + LESSONS_MOST])


async def taught(graph: Graph, numbers: Sequence[str]) -> dict[str, Taught]:
    """Those of the orders that the graph knows, by number; `StoreAway`."""
    rows = await graph.ask(CYPHER["taught"], orders=list(numbers)) if numbers else []
    return {row["id"]: Taught(row["status"], row["fraud"]) for row in rows}


async def orders_after(graph: Graph, after: int, *, limit: int) -> dict[int, str]:
    """A page of the orders that the graph knows: their numbers by their keys in the orders database; `StoreAway`."""
    rows = await graph.ask(CYPHER["orders_after"], after=after, limit=limit)
    return {row["order_id"]: row["id"] for row in rows}


async def forget_all(graph: Graph) -> None:
    """Have the graph know nothing; may be repeated where it broke off."""
    statements = [CYPHER["forget_orders"], *(of_kind(CYPHER["forget_things"], kind) for kind in LABELS)]
    for statement in statements:
        while (await graph.write(statement, limit=FORGOTTEN_AT_ONCE))[0]["forgotten"]:
            pass


async def _teach_accounts(graph: Graph, accounts: Sequence[NewAccount]) -> None:
    changes = _Changes(await load_traces(graph, [("account", one.account) for one in accounts]))
    for one in accounts:
        changes.trace(("account", one.account), one.made_at).made_at = one.made_at
    await changes.write(graph)


async def _teach_orders(graph: Graph, lessons: Sequence[Lesson]) -> None:
    """Teach what is new of these, in halves where what is kept of their things is too much for one statement."""
    known = await taught(graph, [lesson.number for lesson in lessons])
    fresh = [lesson for lesson in lessons if known.get(lesson.number) != Taught.of(lesson)]
    things = dict.fromkeys(thing for lesson in fresh for thing in things_of(lesson.attempt))
    changes = _Changes(await load_traces(graph, list(things)))
    if len(fresh) > 1 and changes.bytes() > MEMOS_BYTES_MAX:
        half = len(fresh) // 2
        await _teach_orders(graph, fresh[:half])
        await _teach_orders(graph, fresh[half:])
        return
    for lesson in fresh:
        changes.learn(lesson, known.get(lesson.number))
    await changes.spread(graph)
    await changes.write(graph)


class _Changes:
    """What is to be written: traces as they will be, and rows for orders and links."""

    def __init__(self, traces: dict[Thing, Trace]) -> None:
        self._traces = traces
        self._before: dict[Thing, tuple[int, int, int]] = {}
        self._remember(traces)
        self._nearer: Counter[Thing] = Counter()
        self._new: dict[Thing, int] = {}
        self._changed: dict[Thing, None] = {}
        self._orders: dict[str, list[Any]] = {name: [] for name in ORDERS}
        self._order_links: dict[Kind, list[Row]] = {kind: [] for kind in LINKS}
        self._account_links: dict[Kind, list[Row]] = {kind: [] for kind in LINKS}

    def trace(self, thing: Thing, at: int) -> Trace:
        """What is kept of the thing, to be changed; a new one was seen first at `at`."""
        if thing not in self._traces:
            self._traces[thing] = Trace()
            self._new[thing] = at
        if thing not in self._new:
            self._changed[thing] = None
        return self._traces[thing]

    def _remember(self, traces: Mapping[Thing, Trace]) -> None:
        self._before |= {thing: (trace.accounts, trace.frauds, trace.near_shown) for thing, trace in traces.items()}

    def bytes(self) -> int:
        """About how much text the traces are."""
        return sum(len(memo_of(trace)) for trace in self._traces.values())

    def learn(self, lesson: Lesson, before: Taught | None) -> None:
        """Count the order if it is new, and its fraud if that is."""
        is_fraud = lesson.fraud_at is not None
        if before is None:
            self._count(lesson)
        elif before.status != lesson.status:
            self._orders["changed_orders"].append({"id": lesson.number, "status": lesson.status})
        if is_fraud == (before is not None and before.is_fraud):
            return
        if is_fraud:
            self._orders["marked_orders"].append({"id": lesson.number, "fraud_at": lesson.fraud_at})
        else:
            self._orders["cleared_orders"].append(lesson.number)
        for thing in things_of(lesson.attempt):
            trace = self.trace(thing, lesson.attempt.at)
            had = bool(trace.frauds)
            (trace.mark if is_fraud else trace.clear)(lesson.attempt.at)
            if had != bool(trace.frauds) and thing[0] in WALKED:
                self._come_nearer(trace.walked(), 1 if is_fraud else -1)

    def _come_nearer(self, things: Iterable[Thing], step: int) -> None:
        """Something that these were seen with has known fraud now, or has it no more."""
        for thing in things:
            self._nearer[thing] += step

    async def spread(self, graph: Graph) -> None:
        """Tell what was seen with known fraud that it was, also where that is all that changed of it."""
        beyond = [thing for thing, steps in self._nearer.items() if steps and thing not in self._traces]
        found = await load_traces(graph, beyond)
        self._remember(found)
        self._traces |= found
        for thing, steps in self._nearer.items():
            if steps and thing in self._traces:
                self.trace(thing, 0).near += steps

    async def write(self, graph: Graph) -> None:
        """Write all of it in one statement; nothing where nothing changes."""
        rows: dict[tuple[str, Kind | None], list[Any]] = {
            **self._nodes(),
            ("new_orders", None): self._orders["new_orders"],
            **{("order_links", kind): links for kind, links in self._order_links.items()},
            **{("account_links", kind): links for kind, links in self._account_links.items()},
            **{(name, None): self._orders[name] for name in ORDERS[1:]},
        }
        pieces = [(name, kind) for (name, kind), found in rows.items() if found]
        if pieces:
            given = {_parameter(name, kind): rows[name, kind] for name, kind in pieces}
            await graph.write(chained(_piece(name, kind) for name, kind in pieces), **given)

    def _count(self, lesson: Lesson) -> None:
        attempt, things = lesson.attempt, things_of(lesson.attempt)
        traces = {thing: self.trace(thing, attempt.at) for thing in things}
        # asked before anything is counted: a pair is new when neither of those who know their neighbours knows it
        new = {(one, other): self._is_new(one, other) for one in things for other in things if one != other}
        suspect = {one: trace.walked() for one, trace in traces.items() if trace.frauds and one[0] in WALKED}
        for one, trace in traces.items():
            trace.add(attempt.at)
            for other in things:
                if other != one:
                    trace.meet(other, is_new=new[one, other])
        for one, before in suspect.items():
            if traces[one].met is None:  # too much by now: no ring goes through it any more
                self._come_nearer(before, -1)
            else:
                self._come_nearer((other for other in things if other[0] in WALKED and other != one and new[one, other]), 1)
        account: Thing = ("account", attempt.account)
        traces[account].spend(attempt.amount_minor, attempt.at)
        self._orders["new_orders"].append(
            {
                "id": lesson.number,
                "order_id": lesson.order_id,
                "account": attempt.account,
                "at": attempt.at,
                "amount_minor": attempt.amount_minor,
                "currency": attempt.currency,
                "status": lesson.status,
            }
        )
        for kind, key in things:
            if kind in LINKS:
                self._order_links[kind].append({"number": lesson.number, "thing": key, "at": attempt.at})
                # thousands share a network: who was there knows nobody, and its orders show who it was
                if kind != "network" and new[account, (kind, key)]:
                    self._account_links[kind].append({"account": attempt.account, "thing": key, "at": attempt.at})

    def _is_new(self, one: Thing, other: Thing) -> bool:
        shared = [self._traces[one].together(other), self._traces[other].together(one)]
        return any(count == 0 for count in shared) and not any(shared)

    def _nodes(self) -> dict[tuple[str, Kind | None], list[Any]]:
        """Rows for the things. Counts that are asked for by number stand beside the memo, and are written when they change."""
        names = ("new_things", "changed_things", "shared_by_more", "suspected", "nearer")
        rows: dict[tuple[str, Kind | None], list[Any]] = {(name, kind): [] for name in names for kind in LABELS}
        for (kind, key), at in self._new.items():
            trace = self._traces[kind, key]
            counts = {"frauds": trace.frauds, "accounts": trace.accounts, "near": trace.near_shown}
            rows["new_things", kind].append({"id": key, "at": at, **counts, "memo": memo_of(trace)})
        for kind, key in self._changed:
            trace = self._traces[kind, key]
            accounts, frauds, near = self._before[kind, key]
            rows["changed_things", kind].append({"id": key, "memo": memo_of(trace)})
            if trace.accounts != accounts:
                rows["shared_by_more", kind].append({"id": key, "accounts": trace.accounts})
            if trace.frauds != frauds:
                rows["suspected", kind].append({"id": key, "frauds": trace.frauds})
            if trace.near_shown != near:
                rows["nearer", kind].append({"id": key, "near": trace.near_shown})
        return rows


def _piece(name: str, kind: Kind | None) -> Statement:
    return CYPHER[name] if kind is None else of_kind(CYPHER[name], kind)


def _parameter(name: str, kind: Kind | None) -> str:
    """What the piece's list is called in its statement."""
    if kind is None:
        return name
    return f"{name.partition('_')[0]}_{kind}"
