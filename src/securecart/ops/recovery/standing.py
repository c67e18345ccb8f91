"""How the archiver stands: told by itself over HTTP (/status, /words, /metrics, /healthz)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from securecart.ops.recovery.archiving import Archiver

__all__ = ["Standing", "serve", "standing_of"]

UNAVAILABLE = 503


class Standing(Struct, frozen=True):
    """The archiver as it stands now. `beat_age_seconds`: how old the newest moment is that can be reached; None: none yet.

    `behind_bytes` is the log that is not in the archive yet, as far as the writer was heard.
    """

    archive: str
    receives: bool
    beat_age_seconds: float | None
    behind_bytes: int
    waiting_bytes: int
    shipped_bytes: int
    gaps: int
    failures: int
    problem: str

    @property
    def in_words(self) -> str:
        """As a person reads it."""
        if self.beat_age_seconds is None:
            return self.problem or "begins"
        behind = f"archive {self.beat_age_seconds:.1f} s behind"
        return f"{behind}: {self.problem}" if self.problem else behind


async def serve(archiver: Archiver, port: int) -> web.AppRunner:
    """Answer on this port of the loopback interface until the runner is cleaned up."""
    registry = CollectorRegistry()
    registry.register(_Metrics(archiver))

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(standing_of(archiver)), content_type="application/json")

    async def words(_: web.Request) -> web.Response:
        return web.Response(text=standing_of(archiver).in_words)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        ready = archiver.receiver.runs or not archiver.waited_for
        return web.Response(text="ok" if ready else "not receiving", status=200 if ready else UNAVAILABLE)

    app = web.Application()
    app.add_routes(
        [
            web.get("/status", status),
            web.get("/words", words),
            web.get("/metrics", metrics),
            web.get("/healthz", healthz),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


def standing_of(archiver: Archiver) -> Standing:
    """The archiver as it stands now."""
    health = archiver.health
    age = None if health.beat is None else round(max(0.0, time.time() - health.beat.at.timestamp()), 3)
    return Standing(
        archive=archiver.site.archive.where,
        receives=archiver.receiver.runs,
        beat_age_seconds=age,
        behind_bytes=max(0, health.lsn - (health.beat.lsn if health.beat is not None else health.lsn)),
        waiting_bytes=archiver.shipper.waiting_bytes(),
        shipped_bytes=health.shipped_bytes,
        gaps=health.gaps,
        failures=health.failures,
        problem=health.problem,
    )


class _Metrics(Collector):
    """The same figures for Prometheus."""

    def __init__(self, archiver: Archiver) -> None:
        self._archiver = archiver

    def collect(self) -> Iterator[Metric]:
        """Each figure, without labels: there is one archiver."""
        standing = standing_of(self._archiver)
        age = float("nan") if standing.beat_age_seconds is None else standing.beat_age_seconds
        name = "securecart_archive"
        yield GaugeMetricFamily(f"{name}_beat_age_seconds", "Age of the newest moment that can be reached.", age)
        yield GaugeMetricFamily(f"{name}_behind_bytes", "Log that is not in the archive yet.", standing.behind_bytes)
        yield GaugeMetricFamily(f"{name}_waiting_bytes", "Log received and kept on disk.", standing.waiting_bytes)
        yield CounterMetricFamily(
            f"{name}_shipped_bytes", "Bytes of log put into the archive, compressed.", standing.shipped_bytes
        )
        yield CounterMetricFamily(f"{name}_gaps", "Holes in the log that were found since the start.", standing.gaps)
        yield CounterMetricFamily(f"{name}_failures", "Turns in which nothing could be archived.", standing.failures)
