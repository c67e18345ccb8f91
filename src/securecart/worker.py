"""The process beside the doors: the timetable of jobs that keep the shop's promises when nobody asks.

Each job runs at its own pace; one that fails is logged and tried again at its next turn, and a store that is
away costs no more than that turn.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import uvloop
from msgspec import Struct
from prometheus_client import Counter

from securecart import checkout, settings, telemetry
from securecart.app import Shop, open_shop
from securecart.errors import StoreAway
from securecart.telemetry import log

__all__ = ["TIMETABLE", "Job", "main"]

_runs = Counter("securecart_job_runs_total", "Jobs run by the worker.", ["job", "outcome"])


class Job(Struct, frozen=True):
    """A piece of work and how often it is due; `every` reads the pause in seconds from the shop's settings."""

    name: str
    every: Callable[[Shop], float]
    run: Callable[[Shop], Awaitable[object]]


TIMETABLE = (Job("sweep", lambda shop: shop.settings.sweep_seconds, lambda shop: checkout.sweep(shop.till)),)


async def work(shop: Shop, stopping: asyncio.Event) -> None:
    """Run every job at its pace until `stopping` is set; a job under way is finished first."""
    await asyncio.gather(*(_repeat(shop, job, stopping) for job in TIMETABLE))


async def _repeat(shop: Shop, job: Job, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            await job.run(shop)
            _runs.labels(job.name, "done").inc()
        except StoreAway as away:
            log.warning("job waits for a store", job=job.name, reason=str(away))
            _runs.labels(job.name, "waiting").inc()
        except Exception:  # noqa: BLE001 - one job's bug must not stop the others
            log.exception("job failed, it will be tried again", job=job.name)
            _runs.labels(job.name, "failed").inc()
        try:
            await asyncio.wait_for(stopping.wait(), job.every(shop))
        except TimeoutError:
            continue


async def _run(loaded: settings.Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with open_shop(loaded) as shop:
        log.info("worker is at work", jobs=[job.name for job in TIMETABLE])
        await work(shop, stopping)


def main() -> None:
    """Work until SIGTERM."""
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(loaded))


if __name__ == "__main__":
    main()
