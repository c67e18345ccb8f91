"""How the archiver stands: told by itself over HTTP (/status, /words, /metrics, /healthz); /backup asks for a base at once."""

from __future__ import annotations

import asyncio
import contextlib
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
from securecart.ops.recovery.backing_up import TROUBLE, Backups
from securecart.ops.recovery.model import Base

__all__ = ["KEY", "Said", "Standing", "serve", "standing_of"]

UNAVAILABLE, FORBIDDEN = 503, 403
# Who may ask for a backup: the home's own programs, which know its key.
UNDER_WAY: set[asyncio.Task[None]] = set()
KEY = "X-SecureCart-Internal-Key"


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
    bases: int
    newest_base: str
    newest_base_age_seconds: float | None
    base_failures: int
    doing: str

    @property
    def in_words(self) -> str:
        """As a person reads it."""
        if self.beat_age_seconds is None:
            return self.problem or "begins"
        behind = f"archive {self.beat_age_seconds:.1f} s behind"
        return f"{behind}: {self.problem}" if self.problem else behind


class Said(Struct, frozen=True, omit_defaults=True):
    """A line of the answer to who asks for a backup: what is being done, at last the base, or what kept it from being taken."""

    text: str = ""
    base: Base | None = None
    error: str = ""


async def serve(archiver: Archiver, backups: Backups, port: int, key: str) -> web.AppRunner:
    """Answer on this port of the loopback interface until the runner is cleaned up."""
    registry = CollectorRegistry()
    registry.register(_Metrics(archiver, backups))

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(standing_of(archiver, backups)), content_type="application/json")

    async def words(_: web.Request) -> web.Response:
        return web.Response(text=standing_of(archiver, backups).in_words)

    async def backup(request: web.Request) -> web.StreamResponse:
        if request.headers.get(KEY) != key:
            return web.Response(status=FORBIDDEN)
        return await _backup(backups, request)

    async def metrics(_: web.Request) -> web.Response:
        # the tables' journals count in the process's own registry
        return web.Response(body=generate_latest(registry) + generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

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
            web.post("/backup", backup),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def _backup(backups: Backups, request: web.Request) -> web.StreamResponse:
    """Take a base and tell of it line by line; who asked may go away, and it is taken all the same."""
    lines: asyncio.Queue[Said] = asyncio.Queue()

    async def take() -> None:
        try:
            base = await backups.now(full="full" in request.query, tell=lambda text: lines.put_nowait(Said(text)))
            lines.put_nowait(Said(base=base))
        except TROUBLE as problem:
            lines.put_nowait(Said(error=str(problem)))

    taking = asyncio.create_task(take())
    UNDER_WAY.add(taking)
    taking.add_done_callback(UNDER_WAY.discard)
    answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await answer.prepare(request)
    said = Said()
    with contextlib.suppress(ConnectionError):  # who asked has gone away
        while said.base is None and not said.error:
            said = await lines.get()
            await answer.write(msgspec.json.encode(said) + b"\n")
    return answer


def standing_of(archiver: Archiver, backups: Backups) -> Standing:
    """The archiver as it stands now."""
    health, newest = archiver.health, backups.newest
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
        problem=health.problem or backups.problem,
        bases=len(backups.bases),
        newest_base=newest.label if newest is not None else "",
        newest_base_age_seconds=None if newest is None else round(time.time() - newest.ended_at.timestamp(), 1),
        base_failures=backups.failures,
        doing=backups.doing,
    )


class _Metrics(Collector):
    """The same figures for Prometheus."""

    def __init__(self, archiver: Archiver, backups: Backups) -> None:
        self._archiver = archiver
        self._backups = backups

    def collect(self) -> Iterator[Metric]:
        """Each figure, without labels: there is one archiver."""
        standing = standing_of(self._archiver, self._backups)
        unknown = float("nan")
        age = unknown if standing.beat_age_seconds is None else standing.beat_age_seconds
        base_age = unknown if standing.newest_base_age_seconds is None else standing.newest_base_age_seconds
        name = "securecart_archive"
        yield GaugeMetricFamily(f"{name}_beat_age_seconds", "Age of the newest moment that can be reached.", age)
        yield GaugeMetricFamily(f"{name}_behind_bytes", "Log that is not in the archive yet.", standing.behind_bytes)
        yield GaugeMetricFamily(f"{name}_waiting_bytes", "Log received and kept on disk.", standing.waiting_bytes)
        yield CounterMetricFamily(
            f"{name}_shipped_bytes", "Bytes of log put into the archive, compressed.", standing.shipped_bytes
        )
        yield CounterMetricFamily(f"{name}_gaps", "Holes in the log that were found since the start.", standing.gaps)
        yield CounterMetricFamily(f"{name}_failures", "Turns in which nothing could be archived.", standing.failures)
        yield GaugeMetricFamily(f"{name}_base_age_seconds", "Age of the newest base backup.", base_age)
        yield GaugeMetricFamily(f"{name}_bases", "Base backups in the archive.", standing.bases)
        yield CounterMetricFamily(f"{name}_base_failures", "Base backups that could not be taken.", standing.base_failures)
