"""Shoppers whose carts are filled before anybody asks: sessions and carts written as the rooms write them, a hundred a call.

What buying costs can then be measured without what filling costs. Carts live an hour and sessions a day, so what nobody
bought goes away by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiodynamo.errors import TransactionCanceled, TransactionConflict, TransactionInProgress
from msgspec import Struct

from bench.goods import Goods
from bench.harness import BenchFailed, RunningShop
from securecart import carts, sessions
from securecart.errors import StoreAway
from securecart.sessions.model import hash_of
from securecart.stores import dynamodb
from securecart.stores.dynamodb import DynamoDB, TableSpec

__all__ = ["Filled", "Pile", "tables_of"]

TRANSACTION = 100
ATTEMPTS = 20
PAUSE_S = 0.05
AWAY_S = 1.0
CART_S = 3_600
DAY_S = 86_400

Draw = Callable[[], Mapping[Goods, int]]


class Shopper(Struct, frozen=True):
    """A guest with a session."""

    id: str
    token: str


class Filled(Struct, frozen=True, array_like=True):
    """A cart to be bought by whoever has the token, and what that must cost with pick-up in a country without tax."""

    token: str
    shopper_id: str
    total_minor: int


class Pile:
    """Filled carts of one kind, to take from; `draw` says what lies in the next one.

    A shopper whose cart was bought gets another, so sessions are made only for as many as the pile ever held.
    """

    def __init__(self, tables: DynamoDB, draw: Draw) -> None:
        self.filled: deque[Filled] = deque()
        self._tables = tables
        self._draw = draw
        self._idle: list[Shopper] = []

    async def top_up(self, count: int) -> None:
        """Fill carts until there are `count`."""
        wanted = count - len(self.filled)
        if wanted <= 0:
            return
        if wanted > len(self._idle):
            self._idle += await self._start_sessions(wanted - len(self._idle))
        shoppers, self._idle = self._idle[:wanted], self._idle[wanted:]
        bought = [self._draw() for _ in shoppers]
        items = [_cart(shopper.id, lines) for shopper, lines in zip(shoppers, bought, strict=True)]
        await _write(self._tables, carts.TABLE, items)
        totals = [sum(one.price_minor * quantity for one, quantity in lines.items()) for lines in bought]
        self.filled += [Filled(one.token, one.id, total) for one, total in zip(shoppers, totals, strict=True)]

    def take(self) -> Filled:
        """The cart that has waited longest; its shopper comes back by `bring_back`."""
        return self.filled.popleft()

    def bring_back(self, bought: Iterable[Filled]) -> None:
        """These carts were bought: their shoppers want another."""
        self._idle += [Shopper(one.shopper_id, one.token) for one in bought]

    def settle(self, buyers: set[str]) -> None:
        """The shoppers in `buyers` have bought their carts; the others still hold theirs."""
        self.bring_back([one for one in self.filled if one.shopper_id in buyers])
        self.filled = deque(one for one in self.filled if one.shopper_id not in buyers)

    async def _start_sessions(self, count: int) -> list[Shopper]:
        shoppers = [Shopper(f"guest:bench-{secrets.token_hex(8)}", secrets.token_urlsafe(32)) for _ in range(count)]
        ends = str(int(time.time()) + DAY_S)
        items = [
            {
                "token_hash": {"S": hash_of(shopper.token)},
                "shopper_id": {"S": shopper.id},
                "days": {"N": "1"},
                "expires_at": {"N": ends},
            }
            for shopper in shoppers
        ]
        await _write(self._tables, sessions.TABLE, items)
        return shoppers


@contextlib.asynccontextmanager
async def tables_of(shop: RunningShop) -> AsyncIterator[DynamoDB]:
    """The shop's DynamoDB, for as long as the block runs."""
    chosen = shop.settings
    tables = await dynamodb.connect(chosen.dynamodb_url, region=chosen.dynamodb_region, prefix=chosen.dynamodb_prefix)
    try:
        yield tables
    finally:
        await tables.close()


def _cart(shopper_id: str, lines: Mapping[Goods, int]) -> dict[str, Any]:
    """A cart that begins now, as its room would write it; the empty name in its trail says that it is a new one."""
    now = time.time()
    held = [{"M": {"sku": {"S": one.sku}, "quantity": {"N": str(quantity)}}} for one, quantity in lines.items()]
    return {
        "shopper_id": {"S": shopper_id},
        "lines": {"L": held},
        "version": {"N": str(int(now * 1000))},
        "trail": {"L": [{"S": ""}, {"S": secrets.token_hex(8)}]},
        "expires_at": {"N": str(int(now) + CART_S)},
    }


async def _write(tables: DynamoDB, spec: TableSpec, items: Sequence[Mapping[str, Any]]) -> None:
    """One call after the other: DynamoDB Local has one writer, so that more at once would not be written sooner."""
    name = tables.name_of(spec)
    for start in range(0, len(items), TRANSACTION):
        await _send(tables, [{"Put": {"TableName": name, "Item": item}} for item in items[start : start + TRANSACTION]])


async def _send(tables: DynamoDB, steps: list[dict[str, Any]]) -> None:
    for _ in range(ATTEMPTS):
        try:
            async with tables.calls() as client:
                await client.send_request(action="TransactWriteItems", payload={"TransactItems": steps})
        except (TransactionCanceled, TransactionConflict, TransactionInProgress):
            await asyncio.sleep(PAUSE_S)  # an event reader is just emptying one of these carts
        except StoreAway:
            await asyncio.sleep(AWAY_S)  # a machine with much else to do; nothing is measured yet
        else:
            return
    raise BenchFailed(problem="carts could not be prepared: DynamoDB refused the same transaction again and again.")
