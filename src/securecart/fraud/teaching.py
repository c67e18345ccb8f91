"""Teach the graph what orders were linked to and what became of them, many at once, each once.

Whoever teaches is alone: it asks what is kept, works out what is to be kept now, and writes it with the orders in one statement.
An order's node is made in the statement that counts it, so an order that is there has been counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from securecart.fraud.model import Kind, Lesson
from securecart.fraud.replay import Thing
from securecart.fraud.traces import CYPHER, LABELS, LINKS, Trace, load_traces, memo_of, of_kind, things_of
from securecart.stores.graph import Graph, Row, Statement, chained

__all__ = ["NewAccount", "Taught", "forget_all", "orders_after", "taught", "teach"]

# Orders in a statement: enough to share its cost, and few enough for its body to stay far below what the engine takes.
LESSONS_MOST = 200
MEMOS_BYTES_MAX = 2 * 2**20
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
    await changes.write(graph)


class _Changes:
    """What is to be written: traces as they will be, and rows for orders and links."""

    def __init__(self, traces: dict[Thing, Trace]) -> None:
        self._traces = traces
        self._before = {thing: (trace.accounts, trace.frauds) for thing, trace in traces.items()}
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
            (trace.mark if is_fraud else trace.clear)(lesson.attempt.at)

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
        for one, trace in traces.items():
            trace.add(attempt.at)
            for other in things:
                if other != one:
                    trace.meet(other, is_new=new[one, other])
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
        names = ("new_things", "changed_things", "shared_by_more", "suspected")
        rows: dict[tuple[str, Kind | None], list[Any]] = {(name, kind): [] for name in names for kind in LABELS}
        for (kind, key), at in self._new.items():
            trace = self._traces[kind, key]
            counts = {"frauds": trace.frauds, "accounts": trace.accounts}
            rows["new_things", kind].append({"id": key, "at": at, **counts, "memo": memo_of(trace)})
        for kind, key in self._changed:
            trace = self._traces[kind, key]
            accounts, frauds = self._before[kind, key]
            rows["changed_things", kind].append({"id": key, "memo": memo_of(trace)})
            if trace.accounts != accounts:
                rows["shared_by_more", kind].append({"id": key, "accounts": trace.accounts})
            if trace.frauds != frauds:
                rows["suspected", kind].append({"id": key, "frauds": trace.frauds})
        return rows


def _piece(name: str, kind: Kind | None) -> Statement:
    return CYPHER[name] if kind is None else of_kind(CYPHER[name], kind)


def _parameter(name: str, kind: Kind | None) -> str:
    """What the piece's list is called in its statement."""
    if kind is None:
        return name
    return f"{name.partition('_')[0]}_{kind}"
