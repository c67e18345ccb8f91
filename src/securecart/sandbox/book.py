"""The sandbox gateway's own book: SQLite on disk, one writer, an answer only after the commit.

Requests that arrive while a commit is under way wait for the next one and share it, so many shoppers cost few
disk syncs. A payment is keyed by its reference; money is captured at most once for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from securecart.sandbox.cards import Card, TestCard

__all__ = ["Book", "Card", "Payment", "Refund", "Refused"]

T = TypeVar("T")

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS payment (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, reference TEXT UNIQUE, status TEXT, amount_minor INTEGER,
    currency TEXT, refunded_minor INTEGER DEFAULT 0, brand TEXT, last4 TEXT, fingerprint TEXT, decline_reason TEXT,
    country TEXT DEFAULT ''
);
CREATE TABLE IF NOT EXISTS refund (id TEXT PRIMARY KEY, payment_id TEXT, amount_minor INTEGER, reason TEXT);
CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, digest BLOB, body BLOB);
"""
COLUMNS = "id, reference, status, amount_minor, currency, refunded_minor, brand, last4, fingerprint, country, decline_reason"


class Refused(Exception):
    """A request that the gateway will not carry out; its text says why, `field` which part of it."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


class Payment(Struct, frozen=True):
    """One reference's entry, in minor units.

    It is captured, authorised (promised, not taken), declined, waiting for the buyer's approval, or closed: no money
    moved and none will. `action` is what the buyer's browser would need to approve.
    """

    id: str
    reference: str
    status: str
    amount_minor: int
    currency: str
    refunded_minor: int
    card: Card
    decline_reason: str | None
    action: dict[str, str] | None = None


class Refund(Struct, frozen=True):
    """Money that went back, in minor units of the payment's currency."""

    id: str
    payment_id: str
    amount_minor: int
    status: str = "done"


class Book:
    """The book and its single writer; open it inside a running event loop, and close it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "book.sqlite", check_same_thread=False, isolation_level=None)
        self._database.executescript(SCHEMA)
        if not any(row[1] == "country" for row in self._database.execute("PRAGMA table_info(payment)")):
            self._database.execute("ALTER TABLE payment ADD COLUMN country TEXT DEFAULT ''")  # a book from before it was told
        # Readers have a connection of their own: the writer's would show them what is not committed yet.
        self._reader = sqlite3.connect(folder / "book.sqlite", check_same_thread=False, isolation_level=None)
        self._queue: asyncio.Queue[tuple[Callable[[], Any], asyncio.Future[Any]]] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write())

    async def charge(self, key: str, reference: str, money: tuple[int, str], card: TestCard, *, capture: bool) -> Payment:
        """Capture, promise or decline `money` (minor units, currency), once per reference; repeated, the first outcome."""
        amount_minor, currency = money

        def write() -> Payment:
            known = _find(self._database, "reference", reference)
            if known is not None:
                return known
            payment = Payment(
                id=f"pay_{secrets.token_hex(10)}",
                reference=reference,
                status=outcome,
                amount_minor=amount_minor,
                currency=currency,
                refunded_minor=0,
                card=card.told,
                decline_reason=card.decline_reason,
            )
            return self._keep(payment)

        outcome = "captured" if capture else "authorised"
        if card.asks:
            outcome = f"waiting_{outcome}"
        if card.decline_reason:
            outcome = "declined"
        asked = [reference, amount_minor, currency, card.token, capture]
        return await self._do(lambda: self._once(key, asked, write, Payment))

    async def conclude(self, reference: str) -> Payment:
        """The last word on a reference: what happened, or closed for ever."""

        def write() -> Payment:
            known = _find(self._database, "reference", reference)
            if known is not None:
                return self._change(known, "closed", "closed") if known.status == "waiting" else known
            closed = Payment(f"pay_{secrets.token_hex(10)}", reference, "closed", 0, "", 0, Card("", "", ""), "closed")
            return self._keep(closed)

        return await self._do(write)

    async def refund(self, key: str, payment_id: str, amount_minor: int, reason: str) -> Refund:
        """Give money back, once per key; `Refused` when that much is not left."""

        def write() -> Refund:
            payment = _find(self._database, "id", payment_id)
            if payment is None or payment.status != "captured":
                raise Refused("payment_id", f"There is no captured payment {payment_id}.")
            if amount_minor > payment.amount_minor - payment.refunded_minor:
                raise Refused("amount_minor", "That much is not left of the payment.")
            refund = Refund(f"ref_{secrets.token_hex(10)}", payment_id, amount_minor)
            self._database.execute("INSERT INTO refund VALUES (?, ?, ?, ?)", (refund.id, payment_id, amount_minor, reason))
            self._database.execute(
                "UPDATE payment SET refunded_minor = refunded_minor + ? WHERE id = ?", (amount_minor, payment_id)
            )
            return refund

        return await self._do(lambda: self._once(key, [payment_id, amount_minor, reason], write, Refund))

    async def approve(self, payment_id: str, *, approved: bool) -> Payment | None:
        """The buyer answers the bank's question: a waiting payment goes on, or is declined; None when there is none."""

        def write() -> Payment | None:
            known = _find(self._database, "id", payment_id)
            if known is None or known.status != "waiting":
                return known
            row = self._database.execute("SELECT status FROM payment WHERE id = ?", (payment_id,)).fetchone()
            if approved:
                return self._change(known, row[0].removeprefix("waiting_"), None)
            return self._change(known, "declined", "authentication_failed")

        return await self._do(write)

    async def capture(self, payment_id: str, amount_minor: int) -> Payment | None:
        """Take promised money, all or a part (the rest is given up); what is not promised stays as it is."""

        def write() -> Payment | None:
            known = _find(self._database, "id", payment_id)
            if known is None or known.status != "authorised":
                return known
            if amount_minor > known.amount_minor:
                raise Refused("amount_minor", "That much was not promised.")
            self._database.execute("UPDATE payment SET amount_minor = ? WHERE id = ?", (amount_minor, payment_id))
            return self._change(known, "captured", None)

        return await self._do(write)

    async def void(self, payment_id: str) -> Payment | None:
        """Give a promise up; what is not promised stays as it is."""

        def write() -> Payment | None:
            known = _find(self._database, "id", payment_id)
            return self._change(known, "closed", "voided") if known is not None and known.status == "authorised" else known

        return await self._do(write)

    def find(self, column: str, value: str) -> Payment | None:
        """The payment with this `id` or `reference`."""
        return _find(self._reader, column, value)

    def page(self, after: int, limit: int) -> tuple[list[Payment], int | None]:
        """The book in the order it was written, from position `after`, and where the next page begins."""
        found = self._reader.execute(
            f"SELECT sequence, {COLUMNS} FROM payment WHERE sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608 - constants
            (after, limit),
        ).fetchall()
        return [_payment(row[1:]) for row in found], found[-1][0] if found and len(found) == limit else None

    def totals(self) -> dict[str, dict[str, int]]:
        """Money captured and refunded by currency, in minor units, how many payments made it up, and what is promised."""
        found = self._reader.execute(
            """
            SELECT currency, total(amount_minor) FILTER (WHERE status = 'captured'), sum(refunded_minor),
                count(*) FILTER (WHERE status = 'captured'), total(amount_minor) FILTER (WHERE status = 'authorised')
            FROM payment WHERE status IN ('captured', 'authorised') GROUP BY 1
            """
        )
        return {
            row[0]: {
                "captured_minor": int(row[1]),
                "refunded_minor": row[2],
                "payments": row[3],
                "authorised_minor": int(row[4]),
            }
            for row in found
        }

    async def close(self) -> None:
        """Finish what is queued, then close the file."""
        await self._queue.join()
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer
        self._reader.close()
        self._database.close()

    async def _do(self, write: Callable[[], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((write, future))
        return await future

    async def _write(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            outcomes = await asyncio.to_thread(self._commit, [write for write, _ in batch])
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                self._queue.task_done()
                if future.cancelled():
                    continue  # the caller went away; the book has it all the same
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _commit(self, writes: list[Callable[[], Any]]) -> list[Any]:
        outcomes: list[Any] = []
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for write in writes:
                try:
                    outcomes.append(write())
                except Refused as refused:  # refused before anything was written
                    outcomes.append(refused)
            self._database.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the single writer outlives whatever one batch met
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            return [error] * len(writes)
        return outcomes

    def _once(self, key: str, asked: list[Any], write: Callable[[], T], kind: type[T]) -> T:
        digest = hashlib.sha256(msgspec.json.encode(asked)).digest()
        known = self._database.execute("SELECT digest, body FROM answer WHERE key = ?", (key,)).fetchone()
        if known is not None:
            if known[0] != digest:
                raise Refused("Idempotency-Key", "This key was used for another request.")
            return msgspec.json.decode(known[1], type=kind)
        answer = write()
        self._database.execute("INSERT INTO answer VALUES (?, ?, ?)", (key, digest, msgspec.json.encode(answer)))
        return answer

    def _keep(self, payment: Payment) -> Payment:
        values = (*msgspec.structs.astuple(payment)[:6], *msgspec.structs.astuple(payment.card), payment.decline_reason)
        self._database.execute(f"INSERT INTO payment ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608
        return _payment(values)

    def _change(self, payment: Payment, status: str, reason: str | None) -> Payment:
        self._database.execute("UPDATE payment SET status = ?, decline_reason = ? WHERE id = ?", (status, reason, payment.id))
        changed = _find(self._database, "id", payment.id)
        assert changed is not None, "payments are never deleted"
        return changed


def _find(database: sqlite3.Connection, column: str, value: str) -> Payment | None:
    assert column in {"id", "reference"}
    row = database.execute(f"SELECT {COLUMNS} FROM payment WHERE {column} = ?", (value,)).fetchone()  # noqa: S608 - constants
    return None if row is None else _payment(row)


def _payment(row: tuple[Any, ...]) -> Payment:
    payment_id, reference, status, amount_minor, currency, refunded_minor, brand, last4, fingerprint, country, reason = row
    card = Card(brand, last4, fingerprint, country)
    # the book keeps what a waiting payment waits to become
    said = "waiting" if status.startswith("waiting_") else status
    action = {"type": "sandbox", "approve": f"/v1/payments/{payment_id}/approve"} if said == "waiting" else None
    return Payment(payment_id, reference, said, amount_minor, currency, refunded_minor, card, reason, action)
