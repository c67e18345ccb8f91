"""The archiver, a process of its own: receives the log, ships it, takes base backups, keeps the tables' journal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal

import uvloop

from securecart import settings, telemetry
from securecart.app import TABLES
from securecart.errors import ArchiveUnusable, SecureCartError
from securecart.ops import table_recovery
from securecart.ops.recovery import standing
from securecart.ops.recovery.archiving import Archiver
from securecart.ops.recovery.backing_up import Backups
from securecart.ops.recovery.model import Site
from securecart.ops.recovery.sites import site_of
from securecart.settings import Settings
from securecart.telemetry import log

__all__ = ["main"]

NICE = 5
OPEN_AGAIN_S = 5.0
LOOK_AGAIN_S = 1.0


async def _run(loaded: Settings, port: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    site = await _opened(loaded, stopping)
    if site is None:
        return
    archiver = Archiver(site)
    backups = Backups(archiver)
    door = await standing.serve(archiver, backups, port, site.home.secret("internal_secret"))
    log.info("archiver is at work", archive=site.archive.where)
    tasks = [
        archiver.run(stopping),
        backups.run(stopping),
        _keep_tables(site, stopping),
    ]
    await asyncio.gather(*tasks)
    await door.cleanup()


async def _opened(loaded: Settings, stopping: asyncio.Event) -> Site | None:
    """The archive, once it can be used; None when we are to stop before."""
    while not stopping.is_set():
        try:
            return await asyncio.to_thread(site_of, loaded)
        except ArchiveUnusable as problem:
            log.warning("nothing is archived at the moment", problem=str(problem))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), OPEN_AGAIN_S)
    return None


async def _keep_tables(site: Site, stopping: asyncio.Event) -> None:
    """The tables of every region, once their engines' addresses are known; AWS, which has none, keeps their past itself."""
    homes = site.home.with_regions() if site.settings.profile == "regions" else [site.home]
    while not all(settings.load(str(home.path)).dynamodb_url for home in homes):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOOK_AGAIN_S)
            return
    sources = [
        table_recovery.Source(one.dynamodb_url, one.region, tuple(spec.in_full(one.dynamodb_prefix) for spec in TABLES))
        for one in (settings.load(str(home.path)) for home in homes)
    ]
    loaded = site.settings
    plan = table_recovery.Plan(loaded.table_journal, loaded.snapshot_hours, loaded.backup_days)
    await table_recovery.keep(site.archive, sources, plan, stopping)


def main() -> None:
    """Work until SIGTERM, at a lower priority than the doors: shoppers go first."""
    os.nice(NICE)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="Port of the loopback interface that tells how it is.")
    port = parser.parse_args().port
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_run(loaded, port))
        except SecureCartError as error:  # such as a key that is none: no bug, and only a person can help
            raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
