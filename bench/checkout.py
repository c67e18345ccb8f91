"""How many whole journeys the shop completes: a new cart, three things in it, address and total, paid, an order.

Its limits, in the same run and with as many callers: the bare SQL of an order's two transactions, and
DynamoDB's own write rate. At the end every order that was acknowledged is looked for in the orders database:
there once, paid, with its lines, its payment and its stock.
"""

from __future__ import annotations

import random
import secrets
import time
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from bench import harness
from bench.census import calls_of
from bench.goods import Goods, some_goods, stock_up
from bench.harness import BenchFailed, Options, Result, RunningShop
from bench.limits import bare_sql, bare_table, order_plan, write_plan
from bench.load import Caller, Load, Plan, Unexpected, request
from securecart.stores.postgres import statements_of

__all__ = ["journey", "run"]

SQL = statements_of("bench")
PRODUCTS = 5_000
LINES = 3
UNITS_IN_STOCK = 300
STEPS = ("session", "fill", "quote", "pay")
JOURNEYS_WISHED = 100
ADDRESS = {"name": "Ada Shopper", "line1": "1 Main Street", "city": "Springfield", "postcode": "12345", "country": "US"}


class Rounds(Struct):
    """What was measured, round by round: the two limits and the journeys."""

    writes: list[Load] = []
    orders: list[Load] = []
    journeys: list[Load] = []

    def last(self) -> str:
        """The last round in words."""
        return (
            f"bare writes {harness.median_rate(self.writes[-1:], 'write'):,.0f}/s, "
            f"bare SQL {harness.median_rate(self.orders[-1:], 'order'):,.0f}/s, "
            f"journeys {harness.median_rate(self.journeys[-1:], 'journey'):,.0f}/s"
        )


async def run(shop: RunningShop, options: Options) -> Result:
    """Measure the journeys and their limits in turns, then check every acknowledged order."""
    goods = await some_goods(shop, PRODUCTS)
    await stock_up(shop, [one.sku for one in goods], units=UNITS_IN_STOCK)
    plan = _plan(shop, options, goods)
    options.say("counting what one journey asks of the stores")
    calls = await calls_of(shop, plan)
    rounds = Rounds()
    async with bare_table(shop), bare_sql(shop):
        for turn in range(1, options.rounds + 1):
            rounds.writes.append(await harness.generate(write_plan(shop, options)))
            rounds.orders.append(await harness.generate(order_plan(shop, options)))
            rounds.journeys.append(await harness.generate(plan))
            options.say(f"round {turn} of {options.rounds}: {rounds.last()}")
    acknowledged = await _check_orders(shop, [note for load in rounds.journeys for note in load.notes], goods)
    options.say(f"{acknowledged:,} acknowledged orders are in the orders database, each once, paid; stock adds up")
    return _result(options, shop, rounds, {**calls, "orders_acknowledged_and_found": acknowledged})


async def journey(caller: Caller) -> None:
    """One shopper after another buys three things; every answer is compared with what it should say."""
    goods = [msgspec.convert(one, Goods) for one in caller.arguments["goods"]]
    await caller.connect(caller.arguments["url"])
    chance = random.Random(f"{caller.arguments['seed']}-{caller.number}")
    while caller.running:
        bought = {one: chance.randint(1, 3) for one in chance.sample(goods, min(LINES, len(goods)))}
        began = time.perf_counter_ns()
        shopper, order = await _buy(caller, bought)
        caller.record("journey", began)
        caller.note([shopper, order["number"], order["total"]["amount_minor"]])


async def _buy(caller: Caller, bought: dict[Goods, int]) -> tuple[str, dict[str, Any]]:
    host, headers = caller.arguments["url"].partition("//")[2], caller.arguments["headers"]
    total = sum(one.price_minor * quantity for one, quantity in bought.items())
    lines = sorted((one.sku, quantity) for one, quantity in bought.items())

    opened = await caller.ask("session", request("POST", "/api/sessions", host=host, headers=headers), status=201)
    session = msgspec.json.decode(opened)
    bearer = {**headers, "Authorization": f"Bearer {session['token']}"}

    wanted = {"lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines]}
    cart = await caller.ask("fill", request("PUT", "/api/cart", host=host, headers=bearer, body=wanted))
    _expect("cart", cart, lines, "subtotal", total)

    where = {"country": ADDRESS["country"], "shipping_method": "pickup"}
    quote = await caller.ask("quote", request("POST", "/api/checkout/quote", host=host, headers=bearer, body=where))
    _expect("quote", quote, lines, "total", total)

    wish = {
        "email": "ada@example.com",
        "shipping_address": ADDRESS,
        "shipping_method": "pickup",
        "payment_token": "tok_visa",
        "expected_total_minor": total,
    }
    once = {**bearer, "Idempotency-Key": secrets.token_hex(16)}
    order = await caller.ask("pay", request("POST", "/api/checkout", host=host, headers=once, body=wish), status=201)
    placed = _expect("order", order, lines, "total", total)
    if placed["status"] != "paid":
        raise Unexpected(f"The order is {placed['status']}, not paid: {order[:500].decode(errors='replace')}")
    return session["shopper_id"], placed


def _expect(what: str, body: bytes, lines: list[tuple[str, int]], amount: str, minor: int) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.json.decode(body)
    if sorted((line["sku"], line["quantity"]) for line in said["lines"]) != lines or said[amount]["amount_minor"] != minor:
        raise Unexpected(f"The {what} should be {lines} for {minor}, and is {body[:500].decode(errors='replace')}.")
    return said


async def _check_orders(shop: RunningShop, notes: list[list[Any]], goods: list[Goods]) -> int:
    """How many orders were acknowledged; `BenchFailed` unless each is there once, paid, and the stock adds up."""
    shoppers, numbers, totals = (list(column) for column in zip(*notes, strict=True))
    connection = await asyncpg.connect(shop.settings.postgres_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await connection.fetchval(SQL["acknowledged_orders"], numbers, totals)
            written = await connection.fetchval(SQL["orders_of_shoppers"], shoppers)
            odd = await connection.fetch(SQL["stock_that_does_not_add_up"], [one.sku for one in goods])
    finally:
        await connection.close()
    if not found == written == len(numbers) == len(set(numbers)):
        raise BenchFailed(problem=f"of {len(numbers)} acknowledged orders {found} are there, paid; {written} were written.")
    if odd:
        raise BenchFailed(problem=f"the stock of {len(odd)} SKUs does not add up, {odd[0]['sku']} for one.")
    return len(numbers)


def _plan(shop: RunningShop, options: Options, goods: list[Goods]) -> Plan:
    arguments: dict[str, Any] = {"url": shop.url, "headers": shop.headers, "goods": goods, "seed": options.seed}
    return Plan("bench.checkout:journey", options.connections, options.warm_up_s, options.seconds, arguments, shop.pids)


def _result(options: Options, shop: RunningShop, rounds: Rounds, found: dict[str, float]) -> Result:
    bare_writes, bare_orders = harness.median_rate(rounds.writes, "write"), harness.median_rate(rounds.orders, "order")
    journeys = harness.median_rate(rounds.journeys, "journey")
    steps = [harness.latency_figures(rounds.journeys, step, prefix=f"{step}_") for step in STEPS]
    return harness.result(
        "checkout",
        options,
        chosen={"products": PRODUCTS, "lines": LINES, "http_requests": len(STEPS), "web_processes": shop.web_processes},
        figures={
            "journeys_per_s": journeys,
            **harness.latency_figures(rounds.journeys, "journey"),
            **{name: value for step in steps for name, value in step.items()},
            **found,
            **harness.cpu_figures(rounds.journeys, "journey"),
        },
        baselines={
            "bare_sql_orders_per_s": bare_orders,
            **harness.latency_figures(rounds.orders, "order", prefix="bare_sql_"),
            "bare_writes_per_s": bare_writes,
            **harness.latency_figures(rounds.writes, "write", prefix="bare_write_"),
        },
        ratios={
            "of_bare_sql": harness.ratio(journeys, bare_orders),
            "of_bare_writes": harness.ratio(journeys * found["dynamodb_writes_per_journey"], bare_writes),
        },
        goals=[harness.at_least("journeys_per_s", journeys, JOURNEYS_WISHED)],
    )
