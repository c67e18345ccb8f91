"""Ways to hold a moment still, so that a race is forced and not hoped for.

A `Moment` is a point in the code that a test stops at and lets go on. A `Bystander` is a connection of its own to the
orders database: it holds rows, sees who waits for whom, and ends others. A `HeldGateway` is the real sandbox gateway with
moments around each charge, and an ear for notices. A `DeafDatabase` commits, and loses the news of it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import msgspec

from securecart import orders
from securecart.app import Shop
from securecart.checkout import Till
from securecart.errors import GatewayAway, StoreAway
from securecart.orders import NewOrder
from securecart.payments import Charge, Gateway, Notice
from securecart.payments.model import Kind, Refunded
from securecart.settings import Settings
from securecart.stores.postgres import Database, Fresh, Read, Transaction
from securecart.stores.postgres.node import _speak_json

DEADLINE_S = 8.0
LOOK_AGAIN_S = 0.005

BEHIND = """
    WITH RECURSIVE behind AS (
        SELECT pid FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))
        UNION
        SELECT activity.pid FROM pg_stat_activity AS activity, behind WHERE behind.pid = ANY (pg_blocking_pids(activity.pid))
    )
    SELECT coalesce(array_agg(pid), '{}') FROM behind
"""
WAITING = """
    SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND wait_event IN ('transactionid', 'tuple')
"""


class Moment:
    """A point that the code passes: who comes by is `reached`, and waits until it is `opened`."""

    def __init__(self, *, open_: bool = False) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        if open_:
            self.opened.set()

    async def stop(self) -> None:
        """Come by, and wait."""
        self.reached.set()
        await asyncio.wait_for(self.opened.wait(), DEADLINE_S)

    async def come(self) -> None:
        """Wait, as a test, until the code has come by."""
        await asyncio.wait_for(self.reached.wait(), DEADLINE_S)


class Bystander:
    """A session beside the shop's own: a transaction to hold rows in, and a second connection to look about with."""

    def __init__(self, holder: asyncpg.Connection, watcher: asyncpg.Connection) -> None:
        self.holder = holder
        self._watcher = watcher

    async def hold(self, sql: str, *arguments: object) -> None:
        """Keep whatever this statement locks, until `let_go`."""
        if not self.holder.is_in_transaction():
            await self.holder.execute("BEGIN")
        await self.holder.execute(sql, *arguments)

    async def hold_stock(self, sku: str) -> None:
        """Hold a SKU's stock, as a checkout does."""
        await self.hold("SELECT FROM stock WHERE sku = $1 FOR UPDATE", sku)

    async def hold_order(self, number: str) -> None:
        """Hold an order's row."""
        await self.hold("SELECT FROM orders WHERE number = $1 FOR UPDATE", number)

    async def hold_key(self, order: NewOrder) -> None:
        """Open an order without committing it, so that whoever comes with its key has to wait."""
        await self.hold("SELECT")
        await orders.open_all(Transaction(Fresh(Read(self.holder))), [order])  # type: ignore[arg-type]  # not from the pool

    async def let_go(self) -> None:
        """Give the rows back."""
        await self.holder.execute("ROLLBACK")

    async def until_queued(self, sessions: int) -> list[int]:
        """The sessions that wait for what is held here, directly or behind each other, once there are so many."""
        return await self._until_there_are(sessions, BEHIND, self.holder.get_server_pid())

    async def until_waiting(self, sessions: int) -> list[int]:
        """The sessions that wait for a row, whoever has it, once there are so many."""
        return await self._until_there_are(sessions, WAITING)

    async def end(self, pid: int) -> None:
        """End a session as a crash would."""
        assert await self._watcher.fetchval("SELECT pg_terminate_backend($1, 2000)", pid)

    async def _until_there_are(self, sessions: int, sql: str, *arguments: object) -> list[int]:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                pids: list[int] = await self._watcher.fetchval(sql, *arguments)
                if len(pids) >= sessions:
                    return pids
                await asyncio.sleep(LOOK_AGAIN_S)


@asynccontextmanager
async def a_bystander(settings: Settings) -> AsyncIterator[Bystander]:
    """A bystander for as long as the block runs; what it holds is given back at the end."""
    holder, watcher = await asyncpg.connect(settings.postgres_url), await asyncpg.connect(settings.postgres_url)
    await _speak_json(holder)
    try:
        yield Bystander(holder, watcher)
    finally:
        await holder.close()
        await watcher.close()


class HeldGateway:
    """The sandbox gateway, stopped at `before` a charge is sent and `after` it is done; `loses` its answers if told to."""

    def __init__(
        self,
        shop: Shop,
        *,
        before: Moment | None = None,
        after: Moment | None = None,
        loses: bool = False,
        refuses_refunds: bool = False,
    ) -> None:
        self._gateway = shop.till.gateway
        self._before = before or Moment(open_=True)
        self._after = after or Moment(open_=True)
        self._loses = loses
        self._refuses_refunds = refuses_refunds

    async def authorise(self, *asked: Any, **more: Any) -> Charge:
        """Charge for real, between the two moments."""
        await self._before.stop()
        charge = await self._gateway.authorise(*asked, **more)
        await self._after.stop()
        if self._loses:
            raise GatewayAway(store="card gateway", retry_after=2)
        return charge

    async def refund(self, *asked: Any, **more: Any) -> Refunded:
        """Give money back for real, or be away."""
        if self._refuses_refunds:
            raise GatewayAway(store="card gateway", retry_after=2)
        return await self._gateway.refund(*asked, **more)

    def notice(self, body: bytes, _signature: str) -> Notice:
        """A notice as a gateway would send it; the sandbox sends none."""
        return msgspec.json.decode(body, type=Notice)

    def __getattr__(self, name: str) -> Any:
        """Everything else as the gateway does it."""
        return getattr(self._gateway, name)


class DeafDatabase(Database):
    """The orders database; the news of the next `deaf` commits is lost on the way back. It keeps count, `inside` too."""

    def __init__(self, database: Database, *, deaf: int = 0) -> None:
        super().__init__(database._nodes)
        self.deaf = deaf
        self.inside = 0
        self.commits = 0
        self.failures: list[str] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that is committed, whatever is heard of it."""
        self.inside += 1
        try:
            async with super().transaction() as tx:
                yield tx
        except Exception as error:
            self.failures.append(type(error).__name__)
            raise
        finally:
            self.inside -= 1
        self.commits += 1
        if self.deaf:
            self.deaf -= 1
            raise StoreAway(store="orders database", retry_after=1)


def a_notice(number: str, kind: Kind = "charged") -> bytes:
    """A new notice about an order's payment, as `HeldGateway` reads it."""
    return msgspec.json.encode(Notice(secrets.token_hex(8), kind, number))


def a_till(
    shop: Shop,
    *,
    gateway: HeldGateway | None = None,
    database: Database | None = None,
    group_most: int = 256,
    captures_at_once: bool = True,
) -> Till:
    """A till like the shop's own: what another web process has."""
    own = shop.till
    chosen = own.gateway if gateway is None else cast("Gateway", gateway)
    pace = msgspec.structs.replace(own.pace, captures_at_once=captures_at_once)
    return Till(database or shop.database, shop.dynamodb, shop.cache, chosen, own.intake, pace, group_most=group_most)
