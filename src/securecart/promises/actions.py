"""Hold the databases against the promises."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from securecart import readers
from securecart.app import Shop
from securecart.patience import POSTGRES_LONG
from securecart.promises.book import Book, read_book
from securecart.promises.model import Finding, Report, Told, contradictions
from securecart.stores.postgres import Fresh, log, statements_of, value

__all__ = ["check", "look", "look_at"]

SQL = statements_of(__package__)
# Statements over whole tables take longer than a shopper would wait.
# The sweeper looks again at refunds after 30 s, and works on a queue.
UNFINISHED_AFTER_S = 90.0

READ_WITHIN_S = 60.0
LOOKS_MAX = 3


async def check(
    shop: Shop,
    *,
    told: Sequence[Told] = (),
    received: Mapping[str, int] | None = None,
    at_rest: bool = False,
    projections: bool = True,
) -> Report:
    """Check every promise; `told` is what shoppers heard, `received` the units of each SKU that ever arrived.

    Looks twice before it says that something is wrong: between the gateway's book and the database a running shop goes
    on selling. With `at_rest` nobody is buying, and nothing may be left under way. Comparing `projections`, which readers
    write from the event log, costs most of the time. `StoreAway` when a store gives no answer.
    """
    began = time.perf_counter()
    findings, unchecked = contradictions(told), list[str]()
    sandbox = shop.till.gateway.name == "sandbox"
    if not sandbox:
        unchecked.append(f"the book of the gateway {shop.till.gateway.name}, which it does not show")
    findings += await _look_twice(shop, told=told, received=received, at_rest=at_rest, sandbox=sandbox)
    differences: dict[str, int] | None = None
    try:
        differences = await _projections(shop) if projections else None
        if differences is None:
            unchecked.append("the projections" + (", which changed whenever they were looked at" if projections else ""))
    except TimeoutError:
        what = f"The event log's readers did not catch up within {READ_WITHIN_S:.0f} s."
        findings.append(Finding("left_pending", "readers", what))
    async with shop.database.fresh() as fresh:
        orders = await value(fresh, SQL["count_orders"])
    return Report.of(
        findings,
        orders=orders,
        acknowledged=len({one.number for one in told}),
        projections=differences,
        unchecked=unchecked,
        seconds=time.perf_counter() - began,
    )


async def look(
    fresh: Fresh,
    *,
    told: Sequence[Told] = (),
    received: Mapping[str, int] | None = None,
    book: Book | None = None,
    at_rest: bool = False,
) -> list[Finding]:
    """Everything wrong that one look at the orders database shows, at most 10,000 things of each kind."""
    found = [
        *await _ask(fresh, "doubled"),
        *await _ask(fresh, "incomplete", None),
        *await _ask(fresh, "stock", None),
        *await _ask(fresh, "left_pending", at_rest, UNFINISHED_AFTER_S),
    ]
    if told:
        heard = [one.number for one in told], [one.total_minor for one in told], [one.state for one in told]
        found += await _ask(fresh, "told", *heard)
    if received:
        found += await _ask(fresh, "received", list(received), list(received.values()))
    if book is not None:
        found += await _ask(fresh, "captures", *book.columns)
        found += await _ask(fresh, "uncaptured", *book.columns)
    return found


async def look_at(fresh: Fresh, *, order_ids: Sequence[int], skus: Sequence[str]) -> list[Finding]:
    """What is wrong with the parts of these orders, and with the books of these SKUs."""
    found = await _ask(fresh, "incomplete", list(order_ids)) if order_ids else []
    return found + (await _ask(fresh, "stock", list(skus)) if skus else [])


async def _look_twice(
    shop: Shop, *, told: Sequence[Told], received: Mapping[str, int] | None, at_rest: bool, sandbox: bool
) -> list[Finding]:
    """What one look finds and another finds again."""
    findings: list[Finding] = []
    for again in (False, True):
        book = await read_book(shop.settings) if sandbox else None
        async with shop.database.fresh() as fresh:
            found = await look(fresh, told=told, received=received, book=book, at_rest=at_rest)
        before = {(finding.promise, finding.key) for finding in findings}
        findings = [finding for finding in found if not again or (finding.promise, finding.key) in before]
        if not findings:
            break
    return findings


async def _projections(shop: Shop) -> dict[str, int] | None:
    """What each reader shows otherwise than the orders database; None when that went on selling during every look."""
    for _ in range(LOOKS_MAX):
        await readers.catch_up(shop.stores, within_s=READ_WITHIN_S)
        async with shop.database.fresh() as fresh:
            before = await log.newest(fresh)
        found = await readers.differences(shop.stores)
        async with shop.database.fresh() as fresh:
            unmoved = await log.newest(fresh) == before
        if unmoved or not any(found.values()):
            return found
    return None


async def _ask(fresh: Fresh, statement: str, *arguments: Any) -> list[Finding]:
    rows = await fresh.fetch(SQL[statement], *arguments, timeout=POSTGRES_LONG.answer_s)
    return [msgspec.convert(dict(row), Finding) for row in rows]
