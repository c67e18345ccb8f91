"""How fast the shop answers for one product: `GET /api/products/{slug}` over many products, all of them warm.

Its limit is the same server answering the same bytes from a constant. Both are measured in turns, so that
whatever else the machine does in the meantime touches both.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec

from bench import harness
from bench.goods import Goods, some_goods
from bench.harness import BenchFailed, Options, Result, RunningShop
from bench.load import Caller, Load, Plan, Unexpected, request
from bench.servers import started

__all__ = ["look", "run"]

PRODUCTS = 1_000
RATE_WISHED, RATIO_WISHED, P99_WISHED_MS = 5_000, 0.4, 10.0


async def run(shop: RunningShop, options: Options) -> Result:
    """Measure the look-up and its limit in turns."""
    samples = await some_goods(shop, PRODUCTS)
    options.say(f"warming {len(samples)} products")
    pages = await _pages(shop, samples)
    limits: list[Load] = []
    measured: list[Load] = []
    middle = sorted(pages.values(), key=len)[len(pages) // 2]
    async with _constant_server(middle, shop.web_processes) as (url, pids):
        for turn in range(1, options.rounds + 1):
            limits.append(await harness.generate(_plan(options, url, {"a-product": middle}, {}, {"web": pids})))
            measured.append(await harness.generate(_plan(options, shop.url, pages, shop.headers, shop.pids)))
            rates = [harness.median_rate([load], "look up") for load in (limits[-1], measured[-1])]
            options.say(f"round {turn} of {options.rounds}: limit {rates[0]:,.0f}/s, product {rates[1]:,.0f}/s")
    return _result(options, shop, limits, measured, body_bytes=len(middle))


async def look(caller: Caller) -> None:
    """One caller: asks for product after product, each answer compared byte by byte with what it should be."""
    host = caller.arguments["url"].partition("//")[2]
    headers = caller.arguments["headers"]
    asked = [
        (request("GET", f"/api/products/{slug}", host=host, headers=headers), body)
        for slug, body in caller.arguments["pages"].items()
    ]
    await caller.connect(caller.arguments["url"])
    at = caller.number * len(asked) // caller.callers
    while caller.running:
        message, body = asked[at % len(asked)]
        if await caller.ask("look up", message) != body:
            raise Unexpected(f"The answer to {message.split(b' ')[1].decode()} changed while it was measured.")
        at += 1


async def _pages(shop: RunningShop, samples: list[Goods]) -> dict[str, bytes]:
    """Each product's bytes, checked against the orders database; asked twice, so that the cache has them."""
    pages: dict[str, bytes] = {}
    async with aiohttp.ClientSession(shop.url, headers=shop.headers) as session:
        for sample in [*samples, *samples]:
            async with session.get(f"/api/products/{sample.slug}") as answer:
                body = await answer.read()
            _check(sample, answer.status, body, pages.get(sample.slug))
            pages[sample.slug] = body
    return pages


def _check(sample: Goods, status: int, body: bytes, before: bytes | None) -> None:
    if status != 200:
        raise BenchFailed(problem=f"the product {sample.slug} was answered with {status}: {body[:200].decode(errors='replace')}")
    page = msgspec.json.decode(body)
    prices = {(variant["sku"], price["amount_minor"]) for variant in page["variants"] for price in variant["prices"]}
    same = page["slug"] == sample.slug and page["title"] == sample.title and (sample.sku, sample.price_minor) in prices
    if not same or before not in {None, body}:
        raise BenchFailed(problem=f"the product {sample.slug} is not what the orders database says.")


def _plan(options: Options, url: str, pages: dict[str, bytes], headers: dict[str, str], watch: dict[str, list[int]]) -> Plan:
    arguments: dict[str, Any] = {"url": url, "pages": pages, "headers": headers}
    return Plan("bench.lookup:look", options.connections, options.warm_up_s, options.seconds, arguments, watch)


@contextlib.asynccontextmanager
async def _constant_server(body: bytes, processes: int) -> AsyncIterator[tuple[str, list[int]]]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        module = ["bench.constant", "--body", file.name]
        async with started(module, probe="/api/products/a-product", processes=processes) as address:
            yield address


def _result(options: Options, shop: RunningShop, limits: list[Load], measured: list[Load], *, body_bytes: int) -> Result:
    limit, rate = harness.median_rate(limits, "look up"), harness.median_rate(measured, "look up")
    latencies = harness.latency_figures(measured, "look up")
    share = harness.ratio(rate, limit)
    return harness.result(
        "lookup",
        options,
        chosen={"products": PRODUCTS, "body_bytes": body_bytes, "web_processes": shop.web_processes},
        figures={"requests_per_s": rate, **latencies, **harness.cpu_figures(measured, "look up")},
        baselines={
            "constant_requests_per_s": limit,
            **harness.latency_figures(limits, "look up", prefix="constant_"),
            **harness.cpu_figures(limits, "look up", prefix="constant_"),
        },
        ratios={"of_constant": share},
        goals=[
            harness.at_least("requests_per_s", rate, RATE_WISHED),
            harness.at_least("of_constant", share, RATIO_WISHED),
            harness.at_most("p99_ms", latencies["p99_ms"], P99_WISHED_MS),
        ],
    )
