"""How fast carts are filled: a guest's session, two things added, a quantity set, the cart read.

Its limit is DynamoDB's own write rate, by a bare client with as many callers in the same run.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from bench import harness
from bench.census import calls_of
from bench.goods import Goods, some_goods
from bench.harness import Options, Result, RunningShop
from bench.limits import bare_table, write_plan
from bench.load import Caller, Load, Plan, Unexpected, request

__all__ = ["fill", "run"]

PRODUCTS = 3_000
STEPS = ("session", "add", "set", "read")


async def run(shop: RunningShop, options: Options) -> Result:
    """Measure filling carts and the bare writes in turns."""
    plan = cart_plan(shop, options, await some_goods(shop, PRODUCTS))
    options.say("counting what one cart asks of the stores")
    calls = await calls_of(shop, plan)
    limits: list[Load] = []
    measured: list[Load] = []
    async with bare_table(shop):
        for turn in range(1, options.rounds + 1):
            limits.append(await harness.generate(write_plan(shop, options)))
            measured.append(await harness.generate(plan))
            rates = [harness.median_rate(limits[-1:], "write"), harness.median_rate(measured[-1:], "cart")]
            options.say(f"round {turn} of {options.rounds}: bare writes {rates[0]:,.0f}/s, carts {rates[1]:,.0f}/s")
    return _result(options, shop, limits, measured, calls)


async def fill(caller: Caller) -> None:
    """One shopper after another: each fills a cart and reads it, and every answer is compared with what was put in."""
    goods = [msgspec.convert(one, Goods) for one in caller.arguments["goods"]]
    host, headers = caller.arguments["url"].partition("//")[2], caller.arguments["headers"]
    await caller.connect(caller.arguments["url"])
    at = caller.number * len(goods) // caller.callers
    while caller.running:
        first, second = goods[at % len(goods)], goods[(at + 1) % len(goods)]
        began = time.perf_counter_ns()
        opened = await caller.ask("session", request("POST", "/api/sessions", host=host, headers=headers), status=201)
        bearer = {**headers, "Authorization": f"Bearer {msgspec.json.decode(opened)['token']}"}

        async def add(one: Goods, bearer: dict[str, str] = bearer) -> bytes:
            line = {"sku": one.sku, "quantity": 1}
            message = request("POST", "/api/cart/lines", host=host, headers=bearer, body=line)
            return await caller.ask("add", message)

        check(await add(first), {first.sku: 1}, goods=[first])
        check(await add(second), {first.sku: 1, second.sku: 1}, goods=[first, second])
        message = request("PUT", f"/api/cart/lines/{first.sku}", host=host, headers=bearer, body={"quantity": 3})
        check(await caller.ask("set", message), {first.sku: 3, second.sku: 1}, goods=[first, second])
        message = request("GET", "/api/cart", host=host, headers=bearer)
        check(await caller.ask("read", message), {first.sku: 3, second.sku: 1}, goods=[first, second])
        caller.record("cart", began)
        caller.note(1)
        at += 2


def check(body: bytes, held: dict[str, int], *, goods: list[Goods]) -> None:
    """`Unexpected` unless the answered cart holds just this, at the catalogue's prices."""
    cart = msgspec.json.decode(body)
    subtotal = sum(held[one.sku] * one.price_minor for one in goods)
    found = {line["sku"]: line["quantity"] for line in cart["lines"]}
    if found != held or cart["subtotal"]["amount_minor"] != subtotal or cart["missing"]:
        raise Unexpected(f"The cart should hold {held} for {subtotal}, and is {body[:500].decode(errors='replace')}.")


def cart_plan(shop: RunningShop, options: Options, goods: list[Goods]) -> Plan:
    """What the generator is told."""
    arguments: dict[str, Any] = {"url": shop.url, "headers": shop.headers, "goods": goods}
    return Plan("bench.cart:fill", options.connections, options.warm_up_s, options.seconds, arguments, shop.pids)


def _result(options: Options, shop: RunningShop, limits: list[Load], measured: list[Load], calls: dict[str, float]) -> Result:
    bare, carts = harness.median_rate(limits, "write"), harness.median_rate(measured, "cart")
    steps = [harness.latency_figures(measured, step, prefix=f"{step}_") for step in STEPS]
    return harness.result(
        "cart",
        options,
        chosen={"products": PRODUCTS, "web_processes": shop.web_processes},
        figures={
            "carts_per_s": carts,
            "requests_per_s": round(carts * (len(STEPS) + 1), 1),
            **harness.latency_figures(measured, "cart"),
            **{name: value for step in steps for name, value in step.items()},
            **calls,
            **harness.cpu_figures(measured, "cart"),
        },
        baselines={"bare_writes_per_s": bare, **harness.latency_figures(limits, "write", prefix="bare_write_")},
        ratios={"of_bare_writes": harness.ratio(carts * calls["dynamodb_writes_per_journey"], bare)},
        goals=[],
    )
