"""Whether the shop lives, whether it can sell, and its counters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from litestar import Response, get
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from securecart import fraud
from securecart.app import Shop
from securecart.engines import Home
from securecart.errors import SecureCartError
from securecart.ops.recovery import certificates
from securecart.ops.recovery.certificates import Certificate
from securecart.stores.postgres import NodeState
from securecart.stores.postgres.log import Standing

__all__ = ["routes"]


class Readiness(Struct, frozen=True):
    """What each store answered; a shop is ready without carts (it shows its goods), cache (slower) and graph (more cautious)."""

    ready: bool
    database: bool
    carts: bool
    cache: bool
    graph: bool


@get("/healthz", include_in_schema=False, sync_to_thread=False)
def healthz() -> str:
    """Answer as long as the process lives."""
    return "ok"


@get("/readyz", include_in_schema=False)
async def readyz(shop: Shop) -> Response[Readiness]:
    """200 when pages can be served, 503 with the reason otherwise.

    Without carts nobody can buy, but a load balancer that took the shop away for that would take the rest along.
    """
    database, tables, memory, links = await asyncio.gather(
        _database(shop), _carts(shop), shop.cache.answers(), shop.graph.answers()
    )
    state = Readiness(ready=database, database=database, carts=tables, cache=memory, graph=links)
    return Response(state, status_code=200 if state.ready else 503)


@get("/metrics", include_in_schema=False)
async def metrics(shop: Shop) -> Response[bytes]:
    """Counters of all web processes and the worker of this machine, and how far the readers are, as Prometheus reads them."""
    counted, proofs, seen, held = await asyncio.gather(
        asyncio.to_thread(_counted), asyncio.to_thread(_proofs, shop.settings.home_path), shop.lookout.look(), _held(shop)
    )
    lag = CollectorRegistry()
    lag.register(_Lag(seen or {}))
    nodes = shop.database.nodes()
    lag.register(_Nodes(nodes))
    lag.register(_Region(shop.settings.region, _lag_of_region(nodes, shop.settings.region_postgres_url)))
    lag.register(_Proofs(*proofs))
    lag.register(_Held(held))
    return Response(counted + generate_latest(lag), media_type=CONTENT_TYPE_LATEST)


def _counted() -> bytes:
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Lag(Collector):
    """How far each reader is behind, by the orders database itself, so that it shows while no worker runs.

    Not a `Gauge`: where processes share their counters, each would keep its own copy of it for the others to show.
    """

    def __init__(self, seen: Mapping[str, Standing]) -> None:
        self._seen = seen

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The two figures of every reader."""
        events = GaugeMetricFamily("securecart_reader_behind_events", "Events that a reader has not read.", labels=["reader"])
        seconds = GaugeMetricFamily("securecart_reader_behind_seconds", "Age of the oldest unread event.", labels=["reader"])
        for name, standing in self._seen.items():
            events.add_metric([name], standing.behind_events)
            seconds.add_metric([name], standing.behind_seconds)
        yield from (events, seconds)


class _Nodes(Collector):
    """What this process sees of each node of the orders database; nothing where there is only one."""

    def __init__(self, nodes: Sequence[NodeState]) -> None:
        self._nodes = nodes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Lag in bytes and in seconds where they are known, and whether the node serves, by node and role."""
        labels = ["node", "role"]
        lag_bytes = GaugeMetricFamily("securecart_replica_lag_bytes", "Log that a replica has not replayed.", labels=labels)
        lag_s = GaugeMetricFamily(
            "securecart_replica_lag_seconds", "How long ago the writer was where a replica is.", labels=labels
        )
        serves = GaugeMetricFamily("securecart_node_serves", "1 where a node writes or is given reads.", labels=labels)
        for node in self._nodes:
            serves.add_metric([node.name, node.role], int(node.serves))
            if node.lag_bytes is not None:
                lag_bytes.add_metric([node.name, node.role], node.lag_bytes)
            if node.lag_seconds is not None:
                lag_s.add_metric([node.name, node.role], node.lag_seconds)
        yield from (lag_bytes, lag_s, serves)


class _Region(Collector):
    """What would be lost if the region that writes were lost now, as the region that follows sees it; else nothing."""

    def __init__(self, region: str, lag_s: float | None) -> None:
        self._region = region
        self._lag_s = lag_s

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Seconds, by the region that follows."""
        rpo = GaugeMetricFamily("securecart_region_rpo_seconds", "How far a region is behind the writer.", labels=["region"])
        if self._lag_s is not None:
            rpo.add_metric([self._region], self._lag_s)
        yield rpo


class _Proofs(Collector):
    """When the newest backup was proved, by the certificates in this machine's home folder; nothing where there are none."""

    def __init__(self, newest: Certificate | None, good: Certificate | None) -> None:
        self._newest = newest
        self._good = good

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A moment and not an age, which goes stale; alarm on `time() - it`. And whether the newest proof failed."""
        proved = GaugeMetricFamily("securecart_backup_proved_timestamp_seconds", "When the newest good proof of a backup began.")
        failed = GaugeMetricFamily("securecart_backup_proof_failed", "1 where the newest proof found the backup to be no good.")
        if self._good is not None:
            proved.add_metric([], self._good.began_at.timestamp())
        if self._newest is not None:
            failed.add_metric([], int(not self._newest.good))
        yield from (proved, failed)


class _Held(Collector):
    """How many orders wait for a person, by the orders database; nothing while it is away."""

    def __init__(self, held: int | None) -> None:
        self._held = held

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One figure for the whole shop."""
        waiting = GaugeMetricFamily("securecart_reviews_waiting", "Orders that wait for a person before they go on.")
        if self._held is not None:
            waiting.add_metric([], self._held)
        yield waiting


def _proofs(home: Path) -> tuple[Certificate | None, Certificate | None]:
    return certificates.newest(Home(home)), certificates.newest(Home(home), good=True)


def _lag_of_region(nodes: Sequence[NodeState], url: str) -> float | None:
    """The lag in seconds of the region's least lagging node; None where the region writes itself, or there is only one."""
    own = set(urlsplit(url).netloc.rpartition("@")[2].split(",")) if url else set()
    here = [node for node in nodes if node.name in own]
    if any(node.role == "writer" for node in here):
        return None
    return min((node.lag_seconds for node in here if node.lag_seconds is not None), default=None)


async def _held(shop: Shop) -> int | None:
    try:
        async with shop.database.read() as read:
            return await fraud.count_waiting(read)
    except SecureCartError:
        return None


async def _database(shop: Shop) -> bool:
    try:
        async with shop.database.read() as read:
            return bool(await read.fetchval("SELECT true"))
    except SecureCartError:
        return False


async def _carts(shop: Shop) -> bool:
    try:
        async with shop.dynamodb.calls() as client:
            await client.send_request(action="ListTables", payload={"Limit": 1})
    except SecureCartError:
        return False
    return True


routes = [healthz, readyz, metrics]
