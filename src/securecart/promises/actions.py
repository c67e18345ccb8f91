"""Hold the databases against the promises."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from securecart.app import Shop
from securecart.promises.book import Book, read_book
from securecart.promises.model import Finding, Report, Told, contradictions
from securecart.stores.postgres import Read, statements_of, value

__all__ = ["Differences", "check", "look"]

SQL = statements_of(__package__)
# Statements over whole tables take longer than a shopper would wait.
STATEMENT_S = 600.0
# The sweeper looks again at refunds after 30 s, and works on a queue.
UNFINISHED_AFTER_S = 90.0

# how many things each of the event log's readers shows otherwise than the orders database
Differences = Callable[[Shop], Awaitable[Mapping[str, int]]]


async def check(
    shop: Shop,
    *,
    told: Sequence[Told] = (),
    received: Mapping[str, int] | None = None,
    at_rest: bool = False,
    differences: Differences | None = None,
) -> Report:
    """Check every promise; `told` is what shoppers heard, `received` the units of each SKU that ever arrived.

    Looks twice before it says that something is wrong: between the gateway's book and the database a running shop goes
    on selling. With `at_rest` nobody is buying, and no order may be pending. `StoreAway` when a store gives no answer.
    """
    began = time.perf_counter()
    sandbox = shop.till.gateway.name == "sandbox"
    findings: list[Finding] = []
    for again in (False, True):
        book = await read_book(shop.settings) if sandbox else None
        async with shop.database.read() as read:
            found = await look(read, told=told, received=received, book=book, at_rest=at_rest)
            orders = await value(read, SQL["count_orders"])
        before = {(finding.promise, finding.key) for finding in findings}
        findings = [finding for finding in found if not again or (finding.promise, finding.key) in before]
        if not findings:
            break
    projections = None if differences is None else await differences(shop)
    unchecked = [] if sandbox else [f"the book of the gateway {shop.till.gateway.name}, which shows no pages of it"]
    if differences is None:
        unchecked.append("the event log's readers")
    return Report.of(
        [*findings, *contradictions(told)],
        orders=orders,
        acknowledged=len({one.number for one in told}),
        projections=projections,
        unchecked=unchecked,
        seconds=time.perf_counter() - began,
    )


async def look(
    read: Read,
    *,
    told: Sequence[Told] = (),
    received: Mapping[str, int] | None = None,
    book: Book | None = None,
    at_rest: bool = False,
) -> list[Finding]:
    """Everything wrong that one look at the orders database shows, at most 10,000 things of each kind."""
    found = [
        *await _ask(read, "doubled"),
        *await _ask(read, "incomplete"),
        *await _ask(read, "stock"),
        *await _ask(read, "left_pending", at_rest, UNFINISHED_AFTER_S),
    ]
    if told:
        heard = [one.number for one in told], [one.total_minor for one in told], [one.state for one in told]
        found += await _ask(read, "told", *heard)
    if received:
        found += await _ask(read, "received", list(received), list(received.values()))
    if book is not None:
        found += await _ask(read, "captures", *book.columns)
        found += await _ask(read, "uncaptured", *book.columns)
    return found


async def _ask(read: Read, statement: str, *arguments: Any) -> list[Finding]:
    rows = await read.fetch(SQL[statement], *arguments, timeout=STATEMENT_S)
    return [msgspec.convert(dict(row), Finding) for row in rows]
