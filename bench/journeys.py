"""A whole journey: a new session, a cart of three things, what it costs with shipping, paid; every answer is compared."""

from __future__ import annotations

import random
import secrets
import time
from typing import Any

import msgspec

from bench.goods import Goods
from bench.harness import Options, RunningShop
from bench.load import Caller, Plan, Unexpected, request
from bench.placing import ADDRESS, placed, who, wish

__all__ = ["LINES", "STEPS", "draw", "journey", "journey_plan"]

LINES = 3
STEPS = ("session", "fill", "quote", "pay")


def draw(goods: list[Goods], chance: random.Random) -> dict[Goods, int]:
    """What one shopper wants: three things, one to three of each."""
    return {one: chance.randint(1, 3) for one in chance.sample(goods, min(LINES, len(goods)))}


def journey_plan(shop: RunningShop, options: Options, goods: list[Goods]) -> Plan:
    """One shopper after another on each connection."""
    arguments: dict[str, Any] = {"url": shop.url, "headers": shop.headers, "goods": goods, "seed": options.seed}
    return Plan("bench.journeys:journey", options.connections, options.warm_up_s, options.seconds, arguments, shop.pids)


async def journey(caller: Caller) -> None:
    """One shopper after another buys three things."""
    goods = [msgspec.convert(one, Goods) for one in caller.arguments["goods"]]
    await caller.connect(caller.arguments["url"])
    chance = random.Random(f"{caller.arguments['seed']}-{caller.number}")
    while caller.running:
        bought = draw(goods, chance)
        began = time.perf_counter_ns()
        shopper_id, number, total_minor = await _buy(caller, bought)
        caller.record("journey", began)
        caller.note((shopper_id, number, total_minor))


async def _buy(caller: Caller, bought: dict[Goods, int]) -> tuple[str, str, int]:
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

    once = {**bearer, "Idempotency-Key": secrets.token_hex(16), "X-Device-Id": who(session["token"])}
    message = request("POST", "/api/checkout", host=host, headers=once, body=wish(total, session["token"]))
    order = await caller.ask("pay", message, status=201)
    _expect("order", order, lines, "total", total)
    return session["shopper_id"], placed(order, total).number, total


def _expect(what: str, body: bytes, lines: list[tuple[str, int]], amount: str, minor: int) -> None:
    said: dict[str, Any] = msgspec.json.decode(body)
    if sorted((line["sku"], line["quantity"]) for line in said["lines"]) != lines or said[amount]["amount_minor"] != minor:
        raise Unexpected(f"The {what} should be {lines} for {minor}, and is {body[:500].decode(errors='replace')}.")
