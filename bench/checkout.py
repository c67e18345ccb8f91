"""How many orders the shop takes: carts that are there already bought as fast as it goes, and whole journeys.

Measured in turns in one run: buying at 16, 64 and 256 connections; at 64 with and without grouping, spread and all on
one SKU; whole journeys; and the limits of all that, the shop's own grouped transactions called by a bare driver and
DynamoDB's own write rate. At the end every order that was acknowledged is looked for, and every promise is checked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from bench import acknowledged, harness
from bench.ceiling import copied_tables
from bench.census import calls_of
from bench.goods import Goods, some_goods, stock_up
from bench.harness import Goal, Options, Result, RunningShop
from bench.journeys import LINES, STEPS, journey_plan
from bench.limits import BATCH, TRANSACTION, bare_table
from bench.prepared import Pile, tables_of
from bench.rounds import AT, GROUP_MOST, PLACE_AT, Rounds, Servers, piles_of
from bench.servers import started
from securecart.stores import postgres

__all__ = ["allowed_journeys", "journeys_goal", "run"]

PRODUCTS = 5_000
UNITS_IN_STOCK = 2_000
UNITS_OF_HOT = 1_000_000
PLACE_WISHED, P99_WISHED_MS = 1_000, 150
HOT_OF_SPREAD_WISHED, HOT_OF_UNGROUPED_WISHED = 0.9, 2.5
JOURNEYS_WISHED, SHARE_WISHED = 200, 0.8
# name of the round, which carts, whether grouped
PAIRS = (
    ("grouped", "spread", True),
    ("ungrouped", "spread", False),
    ("hot_grouped", "hot", True),
    ("hot_ungrouped", "hot", False),
    ("hot_among_three", "hot_among_three", True),
)


async def run(shop: RunningShop, options: Options) -> Result:
    """Measure everything in turns, then check every acknowledged order."""
    hot, *goods = await some_goods(shop, PRODUCTS + 1)
    await stock_up(shop, [one.sku for one in goods], units=UNITS_IN_STOCK)
    await stock_up(shop, [hot.sku], units=UNITS_OF_HOT)
    options.say("counting what one journey asks of the stores")
    calls = await calls_of(shop, journey_plan(shop, options, goods))
    async with contextlib.AsyncExitStack() as stack:
        tables = await stack.enter_async_context(tables_of(shop))
        database = await postgres.connect(shop.settings.postgres_url, pool_size=2)
        stack.push_async_callback(database.close)
        await stack.enter_async_context(bare_table(shop))
        await stack.enter_async_context(copied_tables(shop))
        grouped = await stack.enter_async_context(_web_processes(shop, group_most=GROUP_MOST))
        servers = Servers(grouped, await stack.enter_async_context(_web_processes(shop, group_most=1)))
        piles = piles_of(tables, goods, hot, options.seed)
        rounds = Rounds(shop, options, database)
        for turn in range(1, options.rounds + 1):
            await _turn(rounds, piles, servers, goods, backwards=turn % 2 == 0)
            options.say(f"round {turn} of {options.rounds}: {rounds.last()}")
    report = await acknowledged.check(shop, rounds.told)
    options.say(f"{report.acknowledged:,} acknowledged orders are there, each once, paid; every promise is kept")
    return _result(options, shop, rounds, {**calls, "orders_acknowledged_and_found": report.acknowledged})


async def _turn(rounds: Rounds, piles: Mapping[str, Pile], servers: Servers, goods: list[Goods], *, backwards: bool) -> None:
    await rounds.limits()
    for connections in PLACE_AT:
        await rounds.place(f"place_{connections}", piles["spread"], connections)
    for name, pile, is_grouped in reversed(PAIRS) if backwards else PAIRS:
        await rounds.place(name, piles[pile], AT, servers.grouped if is_grouped else servers.ungrouped)
    await rounds.journeys(goods)


def _web_processes(shop: RunningShop, *, group_most: int) -> AbstractAsyncContextManager[tuple[str, list[int]]]:
    environment = {**os.environ, "SECURECART_HOME": shop.settings.home, "SECURECART_CHECKOUT_GROUP": str(group_most)}
    return started(["securecart.web"], probe="/readyz", processes=shop.web_processes, environment=environment)


def _result(options: Options, shop: RunningShop, rounds: Rounds, found: dict[str, float]) -> Result:
    bought = [f"place_{connections}" for connections in PLACE_AT] + [name for name, _, _ in PAIRS]
    figures: dict[str, float] = {}
    for name in bought:
        figures |= {
            f"{name}_per_s": rounds.per_s(name),
            **harness.latency_figures(rounds.loads[name], "place", prefix=f"{name}_"),
        }
    figures |= harness.cpu_figures(rounds.loads[f"place_{AT}"], "place", prefix=f"place_{AT}_")
    figures |= _journey_figures(rounds)
    figures |= found
    for name in (*bought, "journey"):
        figures[f"{name}_lag_events"] = max(lag.events for lag in rounds.lags[name])
        figures[f"{name}_lag_s"] = round(max(lag.seconds for lag in rounds.lags[name]), 2)
        figures[f"{name}_caught_up_s"] = round(max(rounds.caught_up_s[name]), 2)
    baselines = _baselines(rounds)
    baselines["journeys_that_dynamodb_allows_per_s"] = allowed_journeys(found, baselines)
    ratios = _ratios(rounds, baselines)
    return harness.result(
        "checkout",
        options,
        chosen={"products": PRODUCTS, "lines": LINES, "http_requests": len(STEPS), "web_processes": shop.web_processes},
        figures=figures,
        baselines=baselines,
        ratios=ratios,
        goals=_goals(figures, ratios),
    )


def _journey_figures(rounds: Rounds) -> dict[str, float]:
    loads = rounds.loads["journey"]
    figures = {"journeys_per_s": rounds.per_s("journey"), **harness.latency_figures(loads, "journey", prefix="journey_")}
    for step in STEPS:
        figures |= harness.latency_figures(loads, step, prefix=f"{step}_")
    return figures | harness.cpu_figures(loads, "journey", prefix="journey_")


def _baselines(rounds: Rounds) -> dict[str, float]:
    return {
        "ceiling_spread_per_s": rounds.per_s("ceiling_spread"),
        "ceiling_hot_per_s": rounds.per_s("ceiling_hot"),
        "dynamodb_puts_per_s": rounds.per_s("puts"),
        "dynamodb_puts_alone_per_s": rounds.per_s("puts_alone"),
        "dynamodb_batched_puts_per_s": round(rounds.per_s("batches") * BATCH, 1),
        "dynamodb_transacted_puts_per_s": round(rounds.per_s("transactions") * TRANSACTION, 1),
    }


def allowed_journeys(calls: Mapping[str, float], baselines: Mapping[str, float]) -> float:
    """Journeys a second if DynamoDB did nothing but write what they cost, each kind of write at the best rate it showed."""
    single = max(baselines["dynamodb_puts_per_s"], baselines["dynamodb_puts_alone_per_s"])
    seconds = calls["dynamodb_single_writes_per_journey"] / single
    seconds += calls["dynamodb_batched_writes_per_journey"] / baselines["dynamodb_batched_puts_per_s"]
    seconds += calls["dynamodb_transacted_writes_per_journey"] / baselines["dynamodb_transacted_puts_per_s"]
    return round(1 / seconds, 1) if seconds else 0.0


def _ratios(rounds: Rounds, baselines: Mapping[str, float]) -> dict[str, float]:
    allowed = baselines["journeys_that_dynamodb_allows_per_s"]
    return {
        "hot_of_spread": harness.ratio(rounds.per_s("hot_grouped"), rounds.per_s("grouped")),
        "hot_among_three_of_spread": harness.ratio(rounds.per_s("hot_among_three"), rounds.per_s("grouped")),
        "hot_of_hot_ungrouped": harness.ratio(rounds.per_s("hot_grouped"), rounds.per_s("hot_ungrouped")),
        "spread_of_spread_ungrouped": harness.ratio(rounds.per_s("grouped"), rounds.per_s("ungrouped")),
        "place_of_ceiling": harness.ratio(rounds.per_s(f"place_{AT}"), baselines["ceiling_spread_per_s"]),
        "journeys_of_dynamodb": harness.ratio(rounds.per_s("journey"), allowed),
    }


def _goals(figures: Mapping[str, float], ratios: Mapping[str, float]) -> list[Goal]:
    rate, p99 = f"place_{AT}_per_s", f"place_{AT}_p99_ms"
    journeys, share = figures["journeys_per_s"], ratios["journeys_of_dynamodb"]
    return [
        harness.at_least(rate, figures[rate], PLACE_WISHED),
        harness.at_most(p99, figures[p99], P99_WISHED_MS),
        harness.at_least("hot_of_spread", ratios["hot_of_spread"], HOT_OF_SPREAD_WISHED),
        harness.at_least("hot_among_three_of_spread", ratios["hot_among_three_of_spread"], HOT_OF_SPREAD_WISHED),
        harness.at_least("hot_of_hot_ungrouped", ratios["hot_of_hot_ungrouped"], HOT_OF_UNGROUPED_WISHED),
        journeys_goal(journeys, share),
    ]


def journeys_goal(journeys_per_s: float, share: float) -> Goal:
    """Met by the rate or else by the share of what DynamoDB allows; the wish says by which."""
    if journeys_per_s >= JOURNEYS_WISHED or share < SHARE_WISHED:
        return Goal(
            "journeys_per_s", f"at least {JOURNEYS_WISHED}, or {SHARE_WISHED} of DynamoDB", journeys_per_s >= JOURNEYS_WISHED
        )
    return Goal("journeys_of_dynamodb", f"at least {SHARE_WISHED}, or {JOURNEYS_WISHED} journeys/s", met=True)
