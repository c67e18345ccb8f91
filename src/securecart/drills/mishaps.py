"""Two mishaps of an operator with psql, and the copies by which is judged whether they were undone.

Before it happens, the rows that will be lost are written down, and others that nobody changes during a drill: neither
shoppers nor a recovery that brings back just what was lost.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import ClassVar, Protocol

import asyncpg
import msgspec
from msgspec import Struct

from securecart.drills.copies import Table, kin_of, rows_of, tables_of, writers_of, written_by
from securecart.drills.undelete_model import Copies, Form, Judged, Rows
from securecart.stores.postgres import statements_of

__all__ = ["Deletion", "Mishap", "PricesLost", "strike"]

SQL = statements_of(__package__)
# whole tables that stand still meanwhile
QUIET = ("account_address", "category", "location", "price", "product", "shipping_method", "tax_rate", "variant")
# what is written whenever anything happens: whoever brings rows back tells the readers of the event log, and notes it
NEWS = ("event", "reader", "recovery")
# what search shows of a product, and where the product stands in the key
SHELVES = {"shelf": 0, "shelf_price": -1}
ON_PURPOSE, ON_PURPOSE_MINOR = 5, 4_321


class Mishap(Protocol):
    """Something that an operator does to the orders database by mistake."""

    form: ClassVar[Form]
    says: str

    async def write_down(self) -> None:
        """Copy what will be lost, and what nobody should touch."""

    async def happen(self) -> None:
        """The mistake itself, in one transaction."""

    async def change_on_purpose(self) -> int:
        """Change some of what it hit to something that is meant to stay, and say how many rows."""

    async def judge(self) -> Judged:
        """Hold the database against the copies."""

    async def on_purpose_kept(self) -> int:
        """How many rows that were changed on purpose are as they were left."""


class Deletion:
    """Some of the orders `ids`, which nobody has in hand any more, are deleted at once, and all that hangs on them goes along."""

    form: ClassVar[Form] = "orders"

    def __init__(self, owner: asyncpg.Connection, ids: Sequence[int], count: int, dice: random.Random) -> None:
        self.hit = sorted(dice.sample(list(ids), count))
        self.spared = sorted(set(ids) - set(self.hit))
        self.says = f"{count:,} orders are deleted, in one transaction"
        self._owner = owner
        self._copies = Copies({}, {})

    async def write_down(self) -> None:
        """The orders with everything that hangs on them; other orders, and the quiet tables."""
        kin = await kin_of(self._owner, "orders", "id")
        others = await rows_of(self._owner, kin, self.spared) | await _quiet(self._owner, QUIET)
        self._copies = Copies(await rows_of(self._owner, kin, self.hit), others)

    async def happen(self) -> None:
        """One DELETE."""
        await self._owner.execute("DELETE FROM orders WHERE id = ANY ($1::bigint[])", self.hit)

    async def change_on_purpose(self) -> int:
        """Nothing: what is gone cannot be changed."""
        return 0

    async def judge(self) -> Judged:
        """Every row byte by byte, and whatever else was written by who brought the orders back."""
        kin = await kin_of(self._owner, "orders", "id")
        now = await rows_of(self._owner, kin, [*self.hit, *self.spared]) | await _quiet(self._owner, QUIET)
        return await _judged(self._owner, self._copies, now, Writers(kin[0], (self.hit,)))

    async def on_purpose_kept(self) -> int:
        """None was."""
        return 0


class PricesLost:
    """Every price becomes nothing at once; a few are set right by hand, differently, before anybody brings the others back."""

    form: ClassVar[Form] = "prices"
    says = "every price is set to nothing"

    def __init__(self, owner: asyncpg.Connection, ids: Sequence[int], dice: random.Random) -> None:
        self._owner = owner
        self._ids = list(ids)
        self._dice = dice
        self._copies = Copies({}, {})
        self._on_purpose: Rows = {}
        self._priced_anew: set[int] = set()

    async def write_down(self) -> None:
        """Every price that is not nothing anyway; the orders `ids` with all that hangs on them, and the other quiet tables."""
        self._copies = Copies(await self._prices(), await self._others())

    async def happen(self) -> None:
        """One UPDATE without a WHERE."""
        await self._owner.execute("UPDATE price SET amount_minor = 0")

    async def change_on_purpose(self) -> int:
        """A few products get a price that somebody wants them to have."""
        skus = self._dice.sample(sorted(row["sku"] for row in await self._owner.fetch(SQL["priced_skus"])), ON_PURPOSE)
        await self._owner.execute(SQL["set_prices"], skus, ON_PURPOSE_MINOR)
        self._on_purpose = {row: text for row, text in (await self._prices()).items() if text != self._copies.lost.get(row)}
        for row in self._on_purpose:
            self._copies.lost.pop(row, None)
        self._priced_anew = {row["product_id"] for row in await self._owner.fetch(SQL["products_of_skus"], skus)}
        return len(self._on_purpose)

    async def judge(self) -> Judged:
        """Every price, byte by byte, and whatever else was written by who put the prices back."""
        price = (await tables_of(self._owner))["price"]
        now = await self._prices() | await self._others()
        put_back = [text for row, text in self._copies.lost.items() if row[0] == price.name]
        back = Writers(msgspec.structs.replace(price, condition="price::text = ANY ($1::text[])"), (put_back,))
        return await _judged(self._owner, self._copies, now, back, shown_anew=self._priced_anew)

    async def on_purpose_kept(self) -> int:
        """Those of the few that are as they were set."""
        now = await self._prices()
        return sum(now.get(row) == text for row, text in self._on_purpose.items())

    async def _prices(self) -> Rows:
        price = (await tables_of(self._owner))["price"]
        return await rows_of(self._owner, [msgspec.structs.replace(price, condition="amount_minor > 0")])

    async def _others(self) -> Rows:
        kin = await kin_of(self._owner, "orders", "id")
        return await rows_of(self._owner, kin, self._ids) | await _quiet(self._owner, [one for one in QUIET if one != "price"])


class Writers(Struct, frozen=True):
    """Rows that were surely written by who brought them back: a table with its condition, and the condition's arguments."""

    table: Table
    arguments: tuple[object, ...]


async def strike(owner: asyncpg.Connection, mishap: Mishap) -> datetime:
    """Let it happen; what the database's clock showed right before."""
    at: datetime = await owner.fetchval(SQL["clock"])
    await mishap.happen()
    return at


async def _judged(
    owner: asyncpg.Connection, copies: Copies, now: Rows, back: Writers, *, shown_anew: Collection[int] = ()
) -> Judged:
    """Hold the rows against the copies; search may show the products `shown_anew` with the prices that were set on purpose."""
    writers = await writers_of(owner, back.table, *back.arguments)
    watched = [table for name, table in (await tables_of(owner)).items() if name not in NEWS]
    written = await written_by(owner, watched, writers)
    follows = {row for row in written if row[0] in SHELVES and json.loads(row[1])[SHELVES[row[0]]] in shown_anew}
    return Judged.of(copies, now, [row for row in written if row not in follows])


async def _quiet(owner: asyncpg.Connection, names: Sequence[str]) -> Rows:
    tables = await tables_of(owner)
    return await rows_of(owner, [tables[name] for name in names if name in tables])
