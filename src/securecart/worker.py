"""The process beside the doors: the event log's readers, and the timetable of jobs that keep the promises when nobody asks.

Each job runs at its own pace; one that fails is logged and tried again at its next turn, and a store that is
away costs no more than that turn.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import uvloop
from msgspec import Struct
from prometheus_client import Counter

from securecart import checkout, readers, settings, telemetry
from securecart.app import Shop, open_shop
from securecart.engines import Home
from securecart.errors import StoreAway
from securecart.ops.recovery.proofs import LOOK_EVERY_S, Proofs
from securecart.stores.postgres import log as event_log
from securecart.telemetry import log

__all__ = ["TIMETABLE", "Job", "main"]

NICE = 5
HOUR_S = 3600.0
LAPSE_EVERY_S = 30.0
DAYS_AHEAD = 7

_runs = Counter("securecart_job_runs_total", "Jobs run by the worker.", ["job", "outcome"])


class Job(Struct, frozen=True):
    """A piece of work and how often it is due; `every` reads the pause in seconds from the shop's settings."""

    name: str
    every: Callable[[Shop], float]
    run: Callable[[Shop], Awaitable[object]]


async def tend_log(shop: Shop) -> None:
    """Make the event log's coming days, and drop those that every reader has passed long enough ago."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with shop.database.transaction() as tx:
        done = await event_log.tend(tx, days_ahead=DAYS_AHEAD, keep_from=today - timedelta(days=shop.settings.event_log_days))
    if done:
        log.info("tended the event log", done=done)


TIMETABLE = (
    Job("sweep", lambda shop: shop.settings.sweep_seconds, lambda shop: checkout.sweep(shop.till)),
    Job("lapse reviews", lambda _: LAPSE_EVERY_S, lambda shop: checkout.lapse(shop.till)),
    Job("tend log", lambda _: HOUR_S, tend_log),
)


async def work(shop: Shop, stopping: asyncio.Event) -> None:
    """Run every job at its pace, and the readers of the event log, until `stopping` is set; a job under way is finished first.

    A proof of the newest backup is not: it takes minutes, is a process of its own, and ends with this one.
    """
    proofs = Proofs(Home(shop.settings.home_path), shop.settings)
    prove = Job("begin a proof", lambda _: LOOK_EVERY_S, lambda _: proofs.look())
    jobs = [*TIMETABLE, prove] if proofs.wanted else TIMETABLE
    try:
        await asyncio.gather(readers.run(shop.stores, stopping), *(_repeat(shop, job, stopping) for job in jobs))
    finally:
        await proofs.close()


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
    """Work until SIGTERM, at a lower priority than the doors: shoppers go first."""
    os.nice(NICE)
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(loaded))


if __name__ == "__main__":
    main()
