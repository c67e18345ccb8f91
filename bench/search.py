"""How fast the shop's search answers over the whole catalogue: new queries (cold) and repeated ones (warm) apart.

The mix is what shoppers ask: broad and narrow words, typing errors, categories, facets, every order, further
pages. Cold, no query comes twice, so that the cache cannot answer. The limit is the bare SQL of such searches,
the very statements that the room sends, by a driver with as many callers.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import msgspec

from bench import harness
from bench.asking import Asked, Section, queries
from bench.goods import some_goods
from bench.harness import Options, Result, RunningShop
from bench.load import Caller, Load, Plan, Unexpected, request
from securecart import catalog
from securecart.catalog import SearchQuery
from securecart.stores import cache, postgres
from securecart.stores.postgres import Database, Position, Read

__all__ = ["ask_again", "ask_new", "bare_hits", "run"]

TITLES, SECTIONS = 5_000, 60
COLD_MAX, WARM, BARE = 20_000, 400, 300
PAGE_SHARE = 5  # of a hundred queries, so many go on to their next page
NO_CACHE = "redis://127.0.0.1:1/0"
KINDS = ("narrow", "broad", "typing error", "category", "in category", "facet", "next page")
P99_WISHED_MS = 50.0


async def run(shop: RunningShop, options: Options) -> Result:
    """Measure the bare SQL, the cold searches and the warm ones in turns."""
    seed = options.seed or secrets.randbelow(2**31)
    titles = [one.title for one in await some_goods(shop, TITLES)]
    asked = queries(titles, await _sections(shop), seed=seed)
    options.say(f"noting the statements of {BARE} searches")
    bare = await _plan_of_bare(shop, options, list(itertools.islice(asked, BARE)))
    limits: list[Load] = []
    cold: list[Load] = []
    warm: list[Load] = []
    for turn in range(1, options.rounds + 1):
        new = list(itertools.islice(asked, COLD_MAX // options.rounds))
        limits.append(await harness.generate(bare))
        cold.append(await harness.generate(_plan(shop, options, "ask_new", new)))
        warm.append(await harness.generate(_plan(shop, options, "ask_again", new[:WARM])))
        rates = [harness.median_rate([load], "search") for load in (limits[-1], cold[-1], warm[-1])]
        options.say(f"round {turn} of {options.rounds}: bare {rates[0]:,.0f}/s, cold {rates[1]:,.0f}/s, warm {rates[2]:,.0f}/s")
    return _result(options, shop, seed, limits, cold, warm)


async def ask_new(caller: Caller) -> None:
    """One caller: its share of the queries, none of them asked before."""
    await caller.connect(caller.arguments["url"])
    chance = random.Random(caller.number)
    for asked in caller.arguments["asked"][caller.number :: caller.callers]:
        if not caller.running:
            return
        one = msgspec.convert(asked, Asked)
        found = await _ask(caller, one.kind, one.path)
        if found["next"] and chance.randrange(100) < PAGE_SHARE:
            await _ask(caller, "next page", f"{one.path}&after={quote(found['next'])}")


async def ask_again(caller: Caller) -> None:
    """One caller: the same queries over and over; each answer has to be the same as the first."""
    await caller.connect(caller.arguments["url"])
    host, headers = caller.arguments["url"].partition("//")[2], caller.arguments["headers"]
    messages = [request("GET", msgspec.convert(one, Asked).path, host=host, headers=headers) for one in caller.arguments["asked"]]
    first: dict[int, bytes] = {}
    for number, message in itertools.cycle(enumerate(messages)):
        if not caller.running:
            return
        body = await caller.ask("search", message)
        if first.setdefault(number, body) != body:
            raise Unexpected(f"The answer to {message.split(b' ')[1].decode()} changed while it was measured.")


async def bare_hits(caller: Caller) -> None:
    """One caller of PostgreSQL: the noted statements of search after search, on a connection of its own."""
    connection = await asyncpg.connect(caller.arguments["url"], server_settings={"application_name": "securecart bench"})
    searches = caller.arguments["searches"]
    at = caller.number * len(searches) // caller.callers
    try:
        while caller.running:
            began = time.perf_counter_ns()
            for statement, arguments in searches[at % len(searches)]:
                await connection.fetch(statement, *arguments)
            caller.record("search", began)
            at += 1
    finally:
        await connection.close()


async def _ask(caller: Caller, kind: str, path: str) -> dict[str, Any]:
    host = caller.arguments["url"].partition("//")[2]
    began = time.perf_counter_ns()
    body = await caller.ask(kind, request("GET", path, host=host, headers=caller.arguments["headers"]))
    caller.record("search", began)
    found: dict[str, Any] = msgspec.json.decode(body)
    items = found["items"]
    limit = int(path.partition("limit=")[2].partition("&")[0])
    prices = [item["price"]["amount_minor"] for item in items if item["price"]]
    in_order = "sort=price_asc" not in path or prices == sorted(prices)
    # A narrow query names two words of one product, and every category that is asked for has products.
    answered = bool(items) or kind not in {"narrow", "broad", "category"}
    if len(items) > limit or len(items) > found["total"] or not in_order or not answered:
        raise Unexpected(f"The answer to {path} is wrong: {body[:500].decode(errors='replace')}")
    return found


async def _sections(shop: RunningShop) -> list[Section]:
    async with aiohttp.ClientSession(shop.url, headers=shop.headers) as session:
        async with session.get("/api/categories") as answer:
            tree = await answer.json()
        filled = [slug for slug, count in _flat(tree) if count]
        chosen = sorted(filled, key=lambda slug: hashlib.sha256(slug.encode()).digest())[:SECTIONS]
        sections = []
        for slug in chosen:
            async with session.get("/api/products", params={"category": slug, "limit": "1"}) as answer:
                facets = (await answer.json())["facets"]
            named = [f"{facet['name']}={value['value']}" for facet in facets for value in facet["values"]]
            sections.append(Section(slug, named))
    return sections


def _flat(nodes: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [pair for node in nodes for pair in [(node["slug"], node["count"]), *_flat(node["children"])]]


class Noting(Database):
    """The orders database, noting each statement that is sent for a search."""

    def __init__(self, database: Database) -> None:
        super().__init__(database._nodes)  # noqa: SLF001 - the same database, overheard
        self._inner = database
        self.sent: list[tuple[str, list[Any]]] = []

    @asynccontextmanager
    async def read(self, after: Position | None = None) -> AsyncIterator[Read]:
        """A connection that notes what it is asked."""
        async with self._inner.read(after) as read:
            noting: Any = _NotingConnection(read, self.sent)
            yield noting


class _NotingConnection:
    def __init__(self, read: Read, sent: list[tuple[str, list[Any]]]) -> None:
        self._read, self._sent = read, sent

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        self._sent.append((statement, list(arguments)))
        return await self._read.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        self._sent.append((statement, list(arguments)))
        return await self._read.fetchrow(statement, *arguments)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        self._sent.append((statement, list(arguments)))
        return await self._read.fetchval(statement, *arguments)


async def _plan_of_bare(shop: RunningShop, options: Options, asked: Sequence[Asked]) -> Plan:
    database = await postgres.connect(shop.settings.postgres_url, pool_size=1)
    nothing = cache.connect(NO_CACHE)
    searches = []
    try:
        for one in asked:
            noting = Noting(database)
            await catalog.search(noting, nothing, _query(one, shop.settings.currency))
            searches.append(noting.sent)
    finally:
        await nothing.close()
        await database.close()
    arguments = {"url": shop.settings.postgres_url, "searches": searches}
    return Plan("bench.search:bare_hits", options.connections, options.warm_up_s, options.seconds, arguments)


def _query(asked: Asked, currency: str) -> SearchQuery:
    given = dict(asked.parameters)
    return msgspec.convert(
        {
            "text": given.get("q", ""),
            "category": given.get("category", ""),
            "facets": [value for name, value in asked.parameters if name == "facet"],
            "sort": given["sort"],
            "limit": given["limit"],
            "currency": currency,
        },
        SearchQuery,
        strict=False,
    )


def _plan(shop: RunningShop, options: Options, scenario: str, asked: Sequence[Asked]) -> Plan:
    arguments: dict[str, Any] = {"url": shop.url, "headers": shop.headers, "asked": list(asked)}
    return Plan(f"bench.search:{scenario}", options.connections, options.warm_up_s, options.seconds, arguments, shop.pids)


def _result(options: Options, shop: RunningShop, seed: int, limits: list[Load], cold: list[Load], warm: list[Load]) -> Result:
    bare, rate = harness.median_rate(limits, "search"), harness.median_rate(cold, "search")
    latencies = harness.latency_figures(cold, "search", prefix="cold_")
    kinds = [kind for kind in KINDS if any(kind in load.took_ns for load in cold)]
    slowest = {f"cold_{kind.replace(' ', '_')}_p99_ms": harness.latency_figures(cold, kind)["p99_ms"] for kind in kinds}
    return harness.result(
        "search",
        options,
        chosen={"seed": seed, "web_processes": shop.web_processes},
        figures={
            "cold_searches_per_s": rate,
            **latencies,
            **slowest,
            "warm_searches_per_s": harness.median_rate(warm, "search"),
            **harness.latency_figures(warm, "search", prefix="warm_"),
            **harness.cpu_figures(cold, "search", prefix="cold_"),
        },
        baselines={"bare_sql_searches_per_s": bare, **harness.latency_figures(limits, "search", prefix="bare_sql_")},
        ratios={"cold_of_bare_sql": harness.ratio(rate, bare)},
        goals=[harness.at_most("cold_p99_ms", latencies["cold_p99_ms"], P99_WISHED_MS)],
    )
