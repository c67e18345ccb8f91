"""How the replicator stands: told by itself over HTTP (/status, /metrics, /healthz), asked by the command line and the drills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import aiohttp
import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from securecart.errors import NotCaughtUp, StoreAway
from securecart.ops.global_tables.replicating import Direction, Replicator
from securecart.patience import GLOBAL_TABLES

__all__ = ["Standing", "Way", "ask", "caught_up", "serve"]

ASK_EVERY_S = 0.05
LABELS = ("source", "target", "table")


class Way(Struct, frozen=True):
    """One direction of one table. `lag_seconds` is how old the oldest change may be that is not there; None: not known yet.

    `through` (epoch seconds): every change made before is in the target. `checkpoint` is where a new start would read on.
    """

    source: str
    target: str
    table: str
    lag_seconds: float | None
    through: float
    waiting: int
    applied: int
    conflicts: int
    checkpoint: str


class Standing(Struct, frozen=True):
    """The replicator as a whole; `comparing` while both regions are brought together after a checkpoint was lost.

    `urls` is where it finds each region's tables, `away` says of each region that does not answer what it said last.
    """

    urls: dict[str, str]
    comparing: bool
    away: dict[str, str]
    conflicts: int
    ways: list[Way]


async def ask(url: str) -> Standing:
    """What the replicator at this address says; `StoreAway` when it does not answer."""
    timeout = aiohttp.ClientTimeout(total=GLOBAL_TABLES.answer_s, connect=GLOBAL_TABLES.connect_s)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url.rstrip('/')}/status") as response:
            return msgspec.json.decode(await response.read(), type=Standing)
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
        raise StoreAway(store="replicator of the global tables", retry_after=1) from error


async def caught_up(url: str, *, sources: Sequence[str] = (), within_s: float = 60.0) -> float:
    """Return once everything written before this call in these regions (all when none is named) is in the other.

    Answers the seconds it took; `NotCaughtUp` when it takes longer than `within_s`.
    """
    began, deadline = time.time(), time.monotonic() + within_s
    problem = "it does not answer"
    while time.monotonic() < deadline:
        try:
            standing = await ask(url)
        except StoreAway:
            standing = None
        if standing is not None:
            late = [way for way in standing.ways if way.through <= began and (not sources or way.source in sources)]
            if not late:
                return time.time() - began
            problem = f"{late[0].table} of region {late[0].source} is {late[0].lag_seconds} seconds behind in {late[0].target}"
        await asyncio.sleep(ASK_EVERY_S)
    raise NotCaughtUp(seconds=within_s, why=problem)


async def serve(replicator: Replicator, port: int) -> web.AppRunner:
    """Answer on this port of the loopback interface until the runner is cleaned up."""
    registry = CollectorRegistry()
    registry.register(_Metrics(replicator))

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(standing_of(replicator)), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.get("/status", status), web.get("/metrics", metrics), web.get("/healthz", healthz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


def standing_of(replicator: Replicator) -> Standing:
    """The replicator as it stands now."""
    ways = [_way(replicator, direction) for direction in replicator.look_at()]
    urls = {name: region.url for name, region in replicator.regions.items()}
    return Standing(urls, not replicator.is_whole(), dict(replicator.away), sum(way.conflicts for way in ways), ways)


def _way(replicator: Replicator, direction: Direction) -> Way:
    place = replicator.checkpoint((direction.source, direction.table))
    return Way(
        source=direction.source,
        target=direction.target,
        table=direction.table,
        lag_seconds=round(max(0.0, time.time() - direction.through), 3) if direction.through else None,
        through=direction.through,
        waiting=direction.waiting,
        applied=direction.applied,
        conflicts=direction.conflicts,
        checkpoint=f"{place.shard} {'after' if place.after else 'from'} {place.sequence or 'the beginning'}",
    )


class _Metrics(Collector):
    """The same figures for Prometheus."""

    def __init__(self, replicator: Replicator) -> None:
        self._replicator = replicator

    def collect(self) -> Iterator[Metric]:
        """Each figure by direction and table."""
        lag = GaugeMetricFamily(
            "securecart_global_tables_lag_seconds", "Age of the oldest change not in the other region.", labels=LABELS
        )
        waiting = GaugeMetricFamily("securecart_global_tables_waiting", "Keys whose change is not there yet.", labels=LABELS)
        applied = CounterMetricFamily("securecart_global_tables_applied", "Writes made in the target.", labels=LABELS)
        conflicts = CounterMetricFamily(
            "securecart_global_tables_conflicts", "Items that both regions wrote without knowing of each other.", labels=LABELS
        )
        for way in standing_of(self._replicator).ways:
            labels = (way.source, way.target, way.table)
            lag.add_metric(labels, float("nan") if way.lag_seconds is None else way.lag_seconds)
            waiting.add_metric(labels, way.waiting)
            applied.add_metric(labels, way.applied)
            conflicts.add_metric(labels, way.conflicts)
        yield from (lag, waiting, applied, conflicts)
