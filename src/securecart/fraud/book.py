"""The shop's own book of fraud: what each order was judged by, which wait for a person, what orders turned out to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from securecart.errors import NotFound
from securecart.fraud.model import Attempt
from securecart.fraud.scoring import Decision, Reason
from securecart.stores.postgres import Fresh, Read, Transaction, statements_of
from securecart.values import Money, decode_cursor, encode_cursor

SQL = statements_of(__package__)

JudgedBy = Literal["model", "caution"]
Outcome = Literal["released", "cancelled"]
Source = Literal["chargeback", "operator"]
FIRST = (datetime(1970, 1, 1, tzinfo=UTC), 0)


class Judgement(Struct, frozen=True):
    """What was said of an order before its payment: by the model, or by caution where the graph gave no answer in time."""

    verdict: Decision
    probability: float | None
    reasons: tuple[Reason, ...]
    judged_by: JudgedBy


class Assessed(Struct, frozen=True):
    """An order's attempt, and what was said of it."""

    attempt: Attempt
    judgement: Judgement


class Review(Struct, frozen=True):
    """An order's wait for a person, until `due_at` at most; `outcome` is None while it lasts."""

    held_at: datetime
    due_at: datetime
    outcome: Outcome | None
    decided_at: datetime | None
    decided_by: str


class Mark(Struct, frozen=True):
    """What is known of an order since it was bought, by whose word, and since when."""

    is_fraud: bool
    source: Source
    said_by: str
    note: str
    marked_at: datetime


class Risk(Struct, frozen=True):
    """What an order was judged by and what became of that; an order that nobody judged has no verdict."""

    order_id: int
    number: str
    shopper_id: str
    verdict: Decision | None
    probability: float | None
    reasons: tuple[Reason, ...]
    judged_by: JudgedBy | None
    device: str | None
    network: str | None
    network_country: str | None
    card: str | None
    card_country: str | None
    review: Review | None
    mark: Mark | None

    @property
    def is_held(self) -> bool:
        """Whether it waits for a person."""
        return self.review is not None and self.review.outcome is None


class Waiting(Struct, frozen=True):
    """A held order, as a line of the queue."""

    number: str
    shopper_id: str
    email: str
    total: Money
    placed_at: datetime
    held_at: datetime
    due_at: datetime
    probability: float | None
    reasons: tuple[Reason, ...]
    judged_by: JudgedBy


async def keep(tx: Transaction, assessed: Mapping[int, Assessed]) -> None:
    """Keep what was said of new orders, by order, with what it was said by."""
    attempts, said = [one.attempt for one in assessed.values()], [one.judgement for one in assessed.values()]
    await tx.execute(
        SQL["keep_risks"],
        list(assessed),
        [one.device for one in attempts],
        [one.network for one in attempts],
        [one.network_country for one in attempts],
        [one.card for one in attempts],
        [one.card_country for one in attempts],
        [one.probability for one in said],
        [one.verdict for one in said],
        [one.reasons for one in said],
        [one.judged_by for one in said],
    )


async def hold(tx: Transaction, order_ids: Sequence[int], *, seconds: float) -> set[int]:
    """Have those of these bought orders wait for a person that were to be reviewed; which ones do."""
    return {row["order_id"] for row in await tx.fetch(SQL["hold"], order_ids, seconds)}


async def decide_review(tx: Transaction, order_id: int, outcome: Outcome, *, said_by: str) -> bool:
    """End an order's wait; False when it did not wait, or not any more."""
    return await tx.fetchval(SQL["decide_review"], order_id, outcome, said_by) is not None


async def is_held(tx: Transaction, order_id: int) -> bool:
    """Whether the order waits for a person; the caller holds its lock."""
    return bool(await tx.fetchval(SQL["is_held"], order_id))


async def waiting(read: Read, *, after: str | None, limit: int) -> tuple[list[Waiting], str | None]:
    """A page of the held orders, the soonest due first, and the cursor of the next page."""
    due_at, order_id = decode_cursor(after, datetime, int) if after else FIRST
    found = await read.fetch(SQL["waiting"], due_at, order_id, limit + 1)
    page = [
        msgspec.convert({**row, "total": Money(row["total_minor"], row["currency"])}, Waiting) for row in map(dict, found[:limit])
    ]
    last = found[limit - 1] if len(found) > limit else None
    return page, encode_cursor(last["due_at"], last["order_id"]) if last else None


async def count_waiting(read: Read) -> int:
    """How many orders wait for a person."""
    return int(await read.fetchval(SQL["count_waiting"]))


async def lapsed(fresh: Fresh, *, limit: int) -> list[str]:
    """Numbers of held orders that nobody decided on in time, the longest overdue first."""
    return [row["number"] for row in await fresh.fetch(SQL["lapsed"], limit)]


async def risk_of(read: Read, number: str) -> Risk:
    """What the order was judged by and what became of that; `NotFound`."""
    row = await read.fetchrow(SQL["find_risk"], number)
    if row is None:
        raise NotFound(noun="order", key=number)
    return msgspec.convert({**dict(row), "reasons": row["reasons"] or []}, Risk)


async def mark(
    tx: Transaction, order_ids: Sequence[int], *, is_fraud: bool, source: Source, said_by: str, note: str = ""
) -> list[int]:
    """Say of orders that they are fraud, or are not; the ids of those of which something else was known before, or nothing."""
    return [row["order_id"] for row in await tx.fetch(SQL["mark"], order_ids, is_fraud, source, said_by, note)]
