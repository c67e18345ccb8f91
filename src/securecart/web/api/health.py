"""Whether the shop lives, whether it can sell, and its counters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from litestar import Response, get
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from securecart.app import Shop
from securecart.errors import SecureCartError
from securecart.stores.postgres.log import Standing

__all__ = ["routes"]


class Readiness(Struct, frozen=True):
    """What each store answered; a shop without its cache is slower but ready."""

    ready: bool
    database: bool
    carts: bool
    cache: bool


@get("/healthz", include_in_schema=False, sync_to_thread=False)
def healthz() -> str:
    """Answer as long as the process lives."""
    return "ok"


@get("/readyz", include_in_schema=False)
async def readyz(shop: Shop) -> Response[Readiness]:
    """200 when the shop can sell, 503 with the reason otherwise."""
    database, tables, memory = await asyncio.gather(_database(shop), _carts(shop), shop.cache.answers())
    state = Readiness(ready=database and tables, database=database, carts=tables, cache=memory)
    return Response(state, status_code=200 if state.ready else 503)


@get("/metrics", include_in_schema=False)
async def metrics(shop: Shop) -> Response[bytes]:
    """Counters of all web processes and the worker of this machine, and how far the readers are, as Prometheus reads them."""
    counted, seen = await asyncio.gather(asyncio.to_thread(_counted), shop.lookout.look())
    return Response(counted + _lag(seen or {}), media_type=CONTENT_TYPE_LATEST)


def _counted() -> bytes:
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _lag(seen: Mapping[str, Standing]) -> bytes:
    """How far each reader is behind, by the orders database itself, so that it shows while no worker runs."""
    registry = CollectorRegistry()
    events = Gauge("securecart_reader_behind_events", "Events that a reader has not read.", ["reader"], registry=registry)
    seconds = Gauge("securecart_reader_behind_seconds", "Age of the oldest unread event.", ["reader"], registry=registry)
    for name, standing in seen.items():
        events.labels(name).set(standing.behind_events)
        seconds.labels(name).set(standing.behind_seconds)
    return generate_latest(registry)


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
