"""The rounds of the checkout bench: what is measured in one turn, each part when the event readers have nothing to do."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from bench import harness
from bench.acknowledged import Acknowledged
from bench.ceiling import ceiling_plan
from bench.goods import Goods
from bench.harness import Options, RunningShop
from bench.journeys import draw, journey_plan
from bench.lag import Lag, catch_up, lag_of
from bench.limits import write_plan
from bench.load import Load, Plan
from bench.placing import place_plan
from bench.prepared import Pile
from securecart.stores.dynamodb import DynamoDB
from securecart.stores.postgres import Database

__all__ = ["AT", "GROUP_MOST", "PLACE_AT", "Rounds", "Servers", "piles_of", "step_of"]

PLACE_AT = (16, 64, 256)
AT = 64
GROUP_MOST = 256
# more than two cores can sell: a round that runs out of carts ends early
CARTS_PER_S = 2_000
# what has no shoppers to keep waiting needs no more to be told apart
LIMIT_SHARE = 0.5


class Servers(Struct, frozen=True):
    """Web processes that differ in nothing but grouping: address and pids of each set."""

    grouped: tuple[str, list[int]]
    ungrouped: tuple[str, list[int]]


class Rounds:
    """What was measured, by name of the round: loads, how far the readers were behind after each, how long they took."""

    def __init__(self, shop: RunningShop, options: Options, database: Database) -> None:
        self.loads: dict[str, list[Load]] = defaultdict(list)
        self.lags: dict[str, list[Lag]] = defaultdict(list)
        self.caught_up_s: dict[str, list[float]] = defaultdict(list)
        self.told: list[Acknowledged] = []
        self._shop = shop
        self._options = options
        self._database = database

    async def limits(self) -> None:
        """DynamoDB by itself, and the orders database by itself."""
        brief = msgspec.structs.replace(self._options, seconds=self._options.seconds * LIMIT_SHARE)
        await self._measure("puts", write_plan(self._shop, brief))
        await self._measure("puts_alone", write_plan(self._shop, brief, callers=1))
        await self._measure("batches", write_plan(self._shop, brief, "batches", callers=1))
        await self._measure("transactions", write_plan(self._shop, brief, "transactions", callers=1))
        await self._measure("ceiling_spread", ceiling_plan(self._shop, brief, hot=False, group_most=GROUP_MOST))
        await self._measure("ceiling_hot", ceiling_plan(self._shop, brief, hot=True, group_most=GROUP_MOST))

    async def place(self, name: str, pile: Pile, connections: int, servers: tuple[str, list[int]] | None = None) -> None:
        """Buy prepared carts."""
        await pile.top_up(round(CARTS_PER_S * (self._options.warm_up_s + self._options.seconds)))
        carts = list(pile.filled)
        plan = place_plan(self._shop, self._options, carts, connections=connections, servers=servers)
        load = await self._buy(name, plan)
        pile.settle({note[0] for note in load.notes})

    async def journeys(self, goods: list[Goods]) -> None:
        """Whole journeys."""
        await self._buy("journey", journey_plan(self._shop, self._options, goods))

    def last(self) -> str:
        """The last turn in words."""
        rates = {name: harness.median_rate(loads[-1:], step_of(name)) for name, loads in self.loads.items()}
        return ", ".join(f"{name.replace('_', ' ')} {rate:,.0f}/s" for name, rate in rates.items())

    def per_s(self, name: str) -> float:
        """The median round's rate."""
        return harness.median_rate(self.loads[name], step_of(name))

    async def _buy(self, name: str, plan: Plan) -> Load:
        await catch_up(self._database)
        load = await self._measure(name, plan)
        self.lags[name].append(await lag_of(self._database))
        self.caught_up_s[name].append(await catch_up(self._database))
        self.told += [msgspec.convert(note, Acknowledged) for note in load.notes]
        return load

    async def _measure(self, name: str, plan: Plan) -> Load:
        load = await harness.generate(plan)
        self.loads[name].append(load)
        return load


def step_of(name: str) -> str:
    """What a round's callers do over and over."""
    steps = {"ceiling": "order", "puts": "write", "batches": "write", "transactions": "write", "journey": "journey"}
    return steps.get(name.partition("_")[0], "place")


def piles_of(tables: DynamoDB, goods: list[Goods], hot: Goods, seed: int) -> Mapping[str, Pile]:
    """Carts of three things spread over the catalogue, carts of the one hot thing, and of that one among two others."""
    chance = random.Random(seed)
    return {
        "spread": Pile(tables, lambda: draw(goods, chance)),
        "hot": Pile(tables, lambda: {hot: 1}),
        "hot_among_three": Pile(tables, lambda: {hot: 1, **dict(list(draw(goods, chance).items())[:2])}),
    }
