"""What replicas take off the writer: catalogue and history reads a second with no reader, one and two.

The reads are the shop's own statements, sent through its own routing (`securecart.stores.postgres`) without a cache: a
product's page, and a page of a shopper's orders, in turns. A shop of three nodes is read as it is; for a shop of one node
two replicas are copied from it (pg_basebackup), follow it while they are measured, and are gone afterwards. With all of
it on one machine more readers do not make more cores, so beside the rates stands what it is about: the CPU time that the
writer's processes spend on a thousand reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

from bench import harness
from bench.goods import some_goods
from bench.harness import BenchFailed, Options, Result, RunningShop
from bench.load import Caller, Load, Plan, Unexpected
from bench.servers import free_port
from securecart import orders
from securecart.catalog import Product
from securecart.catalog.actions import SQL as CATALOG
from securecart.engines import Home
from securecart.engines.postgres_files import bundled
from securecart.engines.postgres_roles import SUPERUSER
from securecart.errors import DataMissing
from securecart.stores import postgres
from securecart.stores.postgres import Database
from securecart.stores.postgres.node import addresses_of
from securecart.telemetry import configure_logs

__all__ = ["read", "run"]

SQL = postgres.statements_of("bench")
READERS = 2
PRODUCTS, SHOPPERS = 1_000, 500
PAGE_ORDERS = 20
STARTS_WITHIN_S = 60.0
SPARED_WISHED = 0.8
STEPS = ("catalogue", "history")

_opened: dict[str, asyncio.Task[Database]] = {}


async def run(shop: RunningShop, options: Options) -> Result:
    """Measure with no reader, with one and with two, in turns."""
    slugs = [one.slug for one in await some_goods(shop, PRODUCTS)]
    shoppers = await _shoppers(shop)
    loads: dict[int, list[Load]] = {readers: [] for readers in range(READERS + 1)}
    async with _nodes(shop, options) as (writer, replicas):
        for turn, readers in itertools.product(range(1, options.rounds + 1), loads):
            nodes = [writer, *replicas[:readers]]
            arguments = {"url": _together(nodes), "slugs": slugs, "shoppers": shoppers, "readers": readers}
            watch = {"writer": _pids_of(nodes[:1]), "readers": _pids_of(nodes[1:])}
            plan = Plan("bench.replicas:read", options.connections, options.warm_up_s, options.seconds, arguments, watch)
            load = await harness.generate(plan)
            loads[readers].append(load)
            rates = [harness.median_rate([load], step) for step in STEPS]
            options.say(f"round {turn} of {options.rounds}, {readers} readers: {rates[0]:,.0f} and {rates[1]:,.0f} reads/s")
    return _result(options, loads)


async def read(caller: Caller) -> None:
    """One caller: a product, a shopper's orders, and so on; whoever answers must know both."""
    arguments = caller.arguments
    database = await _database(arguments["url"], arguments["readers"], caller.callers)
    slugs, shoppers = (itertools.cycle(_from(arguments[name], caller)) for name in ("slugs", "shoppers"))
    while caller.running:
        slug, shopper = next(slugs), next(shoppers)
        began = time.perf_counter_ns()
        async with database.read() as node:
            product = await postgres.one(node, CATALOG["find_product"], Product, slug)
        caller.record("catalogue", began)
        if product is None or product.slug != slug:
            raise Unexpected(f"No node should be without the product {slug}.")
        began = time.perf_counter_ns()
        async with database.read() as node:
            page, _ = await orders.list_of(node, shopper, after=None, limit=PAGE_ORDERS)
        caller.record("history", began)
        if not page:
            raise Unexpected(f"No node should be without the orders of {shopper}.")


def _from(things: list[str], caller: Caller) -> list[str]:
    """The list, begun at the caller's own place."""
    start = caller.number * len(things) // caller.callers
    return things[start:] + things[:start]


async def _database(url: str, readers: int, callers: int) -> Database:
    """One for all callers of this process, once every reader serves."""
    if url not in _opened:
        _opened[url] = asyncio.ensure_future(_open(url, readers, callers))
    return await _opened[url]


async def _open(url: str, readers: int, callers: int) -> Database:
    configure_logs("warning")  # to stderr: the generator's own answer goes to stdout
    database = await postgres.connect(url, pool_size=callers)
    async with asyncio.timeout(STARTS_WITHIN_S):
        while True:
            if sum(one.serves and one.role == "replica" for one in database.nodes()) == readers:
                return database
            await asyncio.sleep(0.1)


async def _shoppers(shop: RunningShop) -> list[str]:
    database = await postgres.connect(shop.settings.postgres_url, pool_size=1)
    try:
        async with database.read() as node:
            found = [row["shopper_id"] for row in await node.fetch(SQL["shoppers_with_orders"], SHOPPERS)]
    finally:
        await database.close()
    if not found:
        raise DataMissing(problem="Nobody has bought anything yet: `securecart demo replay --baskets 2000`.")
    return found


@contextlib.asynccontextmanager
async def _nodes(shop: RunningShop, options: Options) -> AsyncIterator[tuple[str, list[str]]]:
    """The writer's address, and those of two replicas."""
    known = addresses_of(shop.settings.postgres_url)
    roles = {url: await _is_replica(url) for url in known}
    writer = next((url for url, follows in roles.items() if follows is False), None)
    if writer is None:
        raise BenchFailed(problem="no node of the shop's database writes.")
    replicas = [url for url, follows in roles.items() if follows]
    async with contextlib.AsyncExitStack() as stack:
        while len(replicas) < READERS:
            options.say("copying a replica from the running shop")
            replicas.append(await stack.enter_async_context(_a_replica(shop, writer)))
        yield writer, replicas


@contextlib.asynccontextmanager
async def _a_replica(shop: RunningShop, writer: str) -> AsyncIterator[str]:
    """A copy of the writer that follows it for as long as the block runs."""
    programs = Path(shop.settings.postgres_bin) if shop.settings.postgres_bin else bundled()
    password = Home(shop.settings.home_path).secret("postgres_superuser_password")
    source, port = urlsplit(writer), free_port()
    with tempfile.TemporaryDirectory(prefix="securecart-bench-") as folder:
        data, environment = Path(folder) / "data", {**os.environ, "PGPASSWORD": password}
        copy = [str(programs / "pg_basebackup"), "-D", str(data), "-R", "-X", "stream", "--checkpoint=fast"]
        copy += ["-d", f"host={source.hostname} port={source.port} user={SUPERUSER}"]
        copying = await asyncio.create_subprocess_exec(*_as_ordinary_user(copy), env=environment)
        if await copying.wait():
            raise BenchFailed(problem="the shop's database could not be copied.")
        serve = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", ""]
        with (Path(folder) / "log").open("wb") as log:
            server = await asyncio.create_subprocess_exec(*_as_ordinary_user(serve), env=environment, stdout=log, stderr=log)
        url = urlunsplit(source._replace(netloc=f"{source.netloc.rpartition('@')[0]}@127.0.0.1:{port}"))
        try:
            await _until_it_answers(url)
            yield url
        finally:
            server.terminate()
            await server.wait()


async def _until_it_answers(url: str) -> None:
    async with asyncio.timeout(STARTS_WITHIN_S):
        while True:
            if await _is_replica(url):
                return
            await asyncio.sleep(0.1)


async def _is_replica(url: str) -> bool | None:
    """Whether the server follows another; None when it does not answer."""
    try:
        connection = await asyncpg.connect(url, timeout=3)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return None
    try:
        return bool(await connection.fetchval("SELECT pg_is_in_recovery()"))
    finally:
        await connection.close()


def _together(nodes: Sequence[str]) -> str:
    parts = urlsplit(nodes[0])
    hosts = ",".join(urlsplit(url).netloc.rpartition("@")[2] for url in nodes)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{hosts}"))


def _pids_of(nodes: Sequence[str]) -> list[int]:
    """The servers that listen at these addresses; their sessions are their children."""
    ports = {urlsplit(url).port for url in nodes}
    found = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.pid and one.laddr.port in ports  # type: ignore[union-attr]
    }
    return sorted(found)


def _as_ordinary_user(command: list[str]) -> list[str]:
    """As the engines do it: PostgreSQL refuses to run as root."""
    other = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    is_root = os.geteuid() == 0 and not subprocess.run([*other, "true"], check=False).returncode
    return [*other, *command] if is_root else command


def _result(options: Options, loads: dict[int, list[Load]]) -> Result:
    figures: dict[str, float] = {}
    writer_s: dict[int, float] = {}
    for readers, rounds in loads.items():
        reads = sum(len(load.took_ns.get(step, [])) for load in rounds for step in STEPS) or 1
        name = f"{readers}_readers"
        for step in STEPS:
            figures[f"{step}_reads_per_s_{name}"] = harness.median_rate(rounds, step)
            figures[f"{step}_p99_ms_{name}"] = harness.latency_figures(rounds, step)["p99_ms"]
        writer_s[readers] = sum(load.cpu_s["writer"] for load in rounds) / reads * 1_000
        figures[f"writer_cpu_s_per_1000_reads_{name}"] = round(writer_s[readers], 4)
        figures[f"readers_cpu_s_per_1000_reads_{name}"] = round(sum(load.cpu_s["readers"] for load in rounds) / reads * 1_000, 4)
    spared = {f"writer_cpu_spared_{n}_readers": round(1 - writer_s[n] / writer_s[0], 3) for n in loads if n and writer_s[0]}
    chosen: dict[str, Any] = {"products": PRODUCTS, "shoppers": SHOPPERS, "page_orders": PAGE_ORDERS}
    goals = [harness.at_least(name, share, SPARED_WISHED) for name, share in spared.items()]
    return harness.result("replicas", options, chosen=chosen, figures=figures, baselines={}, ratios=spared, goals=goals)
