"""After the whole orders database went back: what was sold since is told, and the stores beside it are made to agree.

The old database is asked for the orders and accounts that came after the moment, and for the numbers that it has given out,
once nobody buys any more (`note`). Before anybody buys on the recovered one, its sequences go on behind those numbers, the
cache is emptied, and the order history forgets what is no order any more (`agree`). While the shop sells again the
history is written anew and the gateway's book is held against the orders (`catch_up`).

Why the numbers must not be given out twice: the order history names an order by its id, and the gateway remembers a refund
by its own; one that is given to something else would be taken for the old.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from securecart import checkout, migrations, promises, readers, sessions
from securecart import settings as settings_table
from securecart.app import Shop, open_shop
from securecart.engines import Home
from securecart.errors import GatewayAway, RecoveryRefused, StoreAway
from securecart.ops.recovery.in_place import Voice
from securecart.ops.recovery.model import Moment
from securecart.orders import history
from securecart.patience import READER_ANEW, repeat
from securecart.payments import Notice
from securecart.promises import Finding
from securecart.stores.postgres import statements_of
from securecart.undo.moments import moment_of
from securecart.values import Money

__all__ = ["Account", "Changed", "Later", "Order", "Settling", "read_later", "totals"]

SQL = statements_of(__package__, "settle.sql")
# A transaction's own time is when it began; none may wait longer than this for its commit.
LONGEST_TRANSACTION = timedelta(minutes=10)
# The log's own numbers are known to nobody outside, and how far its readers are behind is counted by them.
STAYS = "event_id"
# Where the old database cannot tell what it has given out.
NUMBERS_SKIPPED = 1_000_000
ASK_WITHIN_S = 120.0


class Order(Struct, frozen=True):
    """An order as the old database has it; `captured`: its money is at the gateway. Amounts in minor units."""

    id: int
    number: str
    shopper_id: str
    email: str
    placed_at: datetime
    status: str
    currency: str
    total_minor: int
    refunded_minor: int
    gateway: str
    gateway_id: str
    captured: bool

    @property
    def held_minor(self) -> int:
        """What the gateway holds for it."""
        return self.total_minor - self.refunded_minor if self.captured else 0


class Changed(Struct, frozen=True):
    """An order that is there, and was something else after the moment."""

    number: str
    status: str
    status_since: str
    refunded_minor: int
    refunded_since_minor: int


class Account(Struct, frozen=True):
    """An account that was made after the moment."""

    id: str
    email: str
    created_at: datetime


class Later(Struct, frozen=True):
    """What came after the moment: the orders and accounts that are no more, the orders that were changed.

    Before the recovered database was asked, `orders` and `accounts` are all that may have come later. `unknown` says why the
    old database could not tell. `findings` is what is not as promised once all is done.
    """

    orders: tuple[Order, ...] = ()
    changed: tuple[Changed, ...] = ()
    accounts: tuple[Account, ...] = ()
    sequences: dict[str, int] = {}
    unknown: str = ""
    findings: tuple[Finding, ...] = ()
    asked_here: bool = False


def read_later(file: Path) -> Later:
    """What was noted."""
    return msgspec.json.decode(file.read_bytes(), type=Later) if file.exists() else Later(unknown="it was not asked")


def totals(orders: Sequence[Order]) -> str:
    """What these orders cost in all, currency by currency."""
    sums: dict[str, int] = {}
    for order in orders:
        sums[order.currency] = sums.get(order.currency, 0) + order.total_minor
    return ", ".join(str(Money(minor, currency)) for currency, minor in sorted(sums.items()))


class Settling:
    """A shop's part in a recovery of its whole database; `ops.recovery.in_place` says when each is done."""

    def __init__(self, home: Home) -> None:
        self.home = home

    async def moment(self, asked: str) -> Moment:
        """The moment that a person means; an order's, as long as the database answers."""
        try:
            return await moment_of(asked, settings_table.load(str(self.home.path)))
        except (OSError, asyncpg.PostgresError, StoreAway) as error:
            raise RecoveryRefused(problem=f"The database does not answer ({error}), so give a time, not an order.") from error

    async def prepare(self, owner_url: str) -> str:
        """Bring the restored database to the shape this version needs, and see that it is a shop's."""
        await migrations.apply(owner_url)
        connection = await asyncpg.connect(owner_url, command_timeout=ASK_WITHIN_S)
        try:
            orders = await connection.fetchval(SQL["count_orders"])
        finally:
            await connection.close()
        return f"{orders:,} orders"

    async def note(self, old_url: str, since: datetime, file: Path) -> str:
        """Write down what the old database has that may be later than the moment, and how far its numbers have come."""
        if not old_url:
            await self._write(file, Later(unknown="the old database did not answer"))
            return "The old database cannot say what came after the moment"
        begin = since - LONGEST_TRANSACTION
        connection = await asyncpg.connect(old_url, command_timeout=ASK_WITHIN_S)
        try:
            orders = [Order(**dict(row)) for row in await connection.fetch(SQL["orders_since"], begin)]
            made = await connection.fetch(SQL["accounts_since"], begin)
            sequences = {row["name"]: row["last"] for row in await connection.fetch(SQL["sequences"])}
        finally:
            await connection.close()
        accounts = [Account(str(row["id"]), row["email"], row["created_at"]) for row in made]
        await self._write(file, Later(tuple(orders), (), tuple(accounts), sequences))
        return "What came after the moment is noted"

    async def agree(self, file: Path) -> str:
        """Have what is beside the recovered database not contradict it, before anybody buys."""
        later, settings = await asyncio.to_thread(read_later, file), settings_table.load(str(self.home.path))
        if not later.asked_here:
            later = await _with_what_is_here(settings.postgres_owner_url, later)
            await self._write(file, later)
        await _move_sequences(settings.postgres_owner_url, later)
        async with open_shop(settings) as shop:
            dropped = await shop.cache.drop_all("")
            forgotten = await _forget_in_history(shop, later)
        cache = "the cache is emptied" if dropped is not None else "the cache is away, and what it keeps ends by itself"
        gone = f"{len(later.orders):,} orders came later and are no more" if not later.unknown else "what came later is not known"
        return f"The other stores agree: {gone}; {cache}; {forgotten}"

    async def catch_up(self, file: Path, voice: Voice) -> str:
        """Bring in line what may wait until the shop sells again, and look what is not as promised then."""
        later, settings = await asyncio.to_thread(read_later, file), settings_table.load(str(self.home.path))
        async with open_shop(settings) as shop:
            if later.accounts:
                ended = await sessions.end_all_of(shop.dynamodb, {account.id for account in later.accounts})
                voice.say(f"{len(later.accounts):,} accounts came later and are no more; {ended:,} sessions of theirs are ended.")
            looked_at = await repeat(READER_ANEW, StoreAway, lambda: readers.rebuild(shop.stores, "history", _counted(voice)))
            await _teach_anew(shop, voice)
            voice.tell("Looking at the promises")
            findings = await _findings(shop)
            if asked := await _book_again(shop, later, findings, file.stem):
                voice.say(f"What the gateway did later for {asked:,} orders that are there is booked again.")
                findings = await _findings(shop)
        await self._write(file, msgspec.structs.replace(later, findings=tuple(findings)))
        return f"The order history is as the orders are, {looked_at:,} of them"

    async def _write(self, file: Path, later: Later) -> None:
        text = msgspec.json.format(msgspec.json.encode(later)).decode()
        await asyncio.to_thread(self.home.write_private, file, text)


async def _teach_anew(shop: Shop, voice: Voice) -> None:
    """Have the graph forget the orders that are no more; a shop whose graph is away goes on without."""
    try:
        await readers.rebuild(shop.stores, "graph", _counted(voice))
    except StoreAway as away:
        voice.say(f"The graph is not taught anew ({away}): run `securecart readers rebuild graph` once it is there.")


async def _with_what_is_here(owner_url: str, later: Later) -> Later:
    """What is left of it once the recovered database was asked: orders and accounts that it has too are no more later."""
    connection = await asyncpg.connect(owner_url, command_timeout=ASK_WITHIN_S)
    try:
        numbers = [order.number for order in later.orders]
        here = {row["number"]: row for row in await connection.fetch(SQL["orders_here"], numbers)}
        ids = [account.id for account in later.accounts]
        known = {str(row["id"]) for row in await connection.fetch(SQL["accounts_here"], ids)}
    finally:
        await connection.close()
    changed = [
        Changed(order.number, row["status"], order.status, row["refunded_minor"], order.refunded_minor)
        for order in later.orders
        if (row := here.get(order.number)) is not None
        and (row["status"], row["refunded_minor"]) != (order.status, order.refunded_minor)
    ]
    return msgspec.structs.replace(
        later,
        orders=tuple(order for order in later.orders if order.number not in here),
        changed=tuple(changed),
        accounts=tuple(account for account in later.accounts if account.id not in known),
        asked_here=True,
    )


async def _move_sequences(owner_url: str, later: Later) -> None:
    # Nothing here may wait for who confirms commits: on one node that may be the archiver, which is started later.
    connection = await asyncpg.connect(owner_url, command_timeout=ASK_WITHIN_S, server_settings={"synchronous_commit": "local"})
    try:
        last = later.sequences
        if not last:
            last = {row["name"]: row["last"] + NUMBERS_SKIPPED for row in await connection.fetch(SQL["sequences"])}
        names = [name for name in last if name != STAYS]
        await connection.fetch(SQL["move_sequences"], names, [last[name] for name in names])
    finally:
        await connection.close()


async def _forget_in_history(shop: Shop, later: Later) -> str:
    """Take out what shoppers would see wrong at once; all the rest follows while the shop sells."""
    try:
        await history.forget(shop.dynamodb, [history.Key(order.shopper_id, order.id) for order in later.orders])
    except StoreAway:
        return "the order history is away, and is written anew later"
    return "the order history has forgotten them"


async def _book_again(shop: Shop, later: Later, findings: Sequence[Finding], recovery: str) -> int:
    """Have the gateway say what it did since for orders that are there: what it took or gave back is booked again."""
    numbers = {order.number for order in later.changed}
    numbers |= {finding.key for finding in findings if finding.promise == "refunds_differ"}
    asked = 0
    for number in sorted(numbers):
        with contextlib.suppress(GatewayAway):  # the sweeper asks about what is pending, and the findings tell of the rest
            await checkout.hear_of(shop.till, Notice(f"{recovery}-{number}", "refunded", number))
            asked += 1
    return asked


def _counted(voice: Voice) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        voice.tell(f"Holding the order history against the orders: {done:,}")

    return count


async def _findings(shop: Shop) -> list[Finding]:
    """What is not as promised: money at the gateway for orders that are no more, above all."""
    try:
        book = await promises.read_book(shop.settings) if shop.till.gateway.name == "sandbox" else None
    except GatewayAway:
        book = None
    async with shop.database.fresh() as fresh:
        return await promises.look(fresh, book=book)
