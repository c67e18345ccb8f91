"""What fraud costs the rate of placing orders: a shop of the bench's own that judges and learns, beside itself doing neither.

Two sets of web processes differ in the setting `fraud` alone. While those that do not judge are measured, the reader that teaches
the graph is kept from reading; what it missed it learns before the next round.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from msgspec import Struct

from bench import harness
from bench.goods import some_goods, stock_up
from bench.harness import Options, RunningShop
from bench.lag import catch_up, lag_of
from bench.load import Load
from bench.own import filled_shelves, shop_in
from bench.placing import place_plan
from bench.prepared import tables_of
from bench.rounds import CARTS_PER_S, piles_of
from bench.servers import started
from securecart.stores import postgres
from securecart.stores.postgres import Database, log

__all__ = ["Placing", "place_rates"]

SQL = postgres.statements_of("bench")

PRODUCTS = 500
UNITS = 2_000_000
AT = 64
READER = "graph"
TURN_WITHIN_S = 60.0
PROBE = "/readyz"


class Placing(Struct, frozen=True):
    """Orders a second with fraud on and off; by what those with it on were judged, and how far the graph was behind after."""

    on_per_s: float
    off_per_s: float
    by_model: float
    by_caution: float
    graph_behind_s: float
    graph_caught_up_s: float


async def place_rates(options: Options) -> Placing:
    """Measure both in turns, on a shop that starts for it and is gone afterwards."""
    loads: dict[str, list[Load]] = {"on": [], "off": []}
    behind_s, caught_up_s = [0.0], [0.0]
    async with _shop() as shop, _servers(shop) as servers, tables_of(shop) as tables, _database(shop) as database:
        await filled_shelves(shop, PRODUCTS + 1)
        hot, *goods = await some_goods(shop, PRODUCTS + 1)
        await stock_up(shop, [one.sku for one in goods], units=UNITS)
        pile = piles_of(tables, goods, hot, options.seed)["spread"]
        for turn in range(options.rounds):
            for name in ("on", "off") if turn % 2 else ("off", "on"):
                await pile.top_up(round(CARTS_PER_S * (options.warm_up_s + options.seconds)))
                plan = place_plan(shop, options, list(pile.filled), connections=AT, servers=servers[name])
                await catch_up(database)
                async with contextlib.nullcontext() if name == "on" else _nobody_teaches(database):
                    load = await harness.generate(plan)
                if name == "on":
                    behind_s.append((await lag_of(database)).seconds)
                    caught_up_s.append(await catch_up(database))
                loads[name].append(load)
                pile.settle({note[0] for note in load.notes})
            rates = {name: harness.median_rate(each, "place") for name, each in loads.items()}
            options.say(f"round {turn + 1} of {options.rounds}: on {rates['on']:,.0f}/s, off {rates['off']:,.0f}/s")
        judged = await _judged(database)
    return Placing(
        on_per_s=harness.median_rate(loads["on"], "place"),
        off_per_s=harness.median_rate(loads["off"], "place"),
        by_model=judged.get("model", 0.0),
        by_caution=judged.get("caution", 0.0),
        graph_behind_s=round(max(behind_s), 2),
        graph_caught_up_s=round(max(caught_up_s), 2),
    )


@contextlib.asynccontextmanager
async def _shop() -> AsyncIterator[RunningShop]:
    with tempfile.TemporaryDirectory(prefix="securecart-bench-") as folder:
        async with shop_in(Path(folder)) as shop:
            yield shop


@contextlib.asynccontextmanager
async def _database(shop: RunningShop) -> AsyncIterator[Database]:
    database = await postgres.connect(shop.settings.postgres_url, pool_size=2)
    try:
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def _servers(shop: RunningShop) -> AsyncIterator[Mapping[str, tuple[str, list[int]]]]:
    async with contextlib.AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(
                started(
                    ["securecart.web"],
                    probe=PROBE,
                    processes=shop.web_processes,
                    environment={**os.environ, "SECURECART_HOME": shop.settings.home, "SECURECART_FRAUD": name},
                )
            )
            for name in ("on", "off")
        }


@contextlib.asynccontextmanager
async def _nobody_teaches(database: Database) -> AsyncIterator[None]:
    """The reader's turn is ours for as long as the block runs, and we do nothing with it."""
    async with log.open_line(database) as line:
        await line.wait_for_turn(READER, seconds=TURN_WITHIN_S)
        yield


async def _judged(database: Database) -> dict[str, float]:
    """How many orders each of the two has judged."""
    async with database.fresh() as fresh:
        found = await fresh.fetch(SQL["judged_by"])
    return {row["judged_by"]: float(row["orders"]) for row in found}
