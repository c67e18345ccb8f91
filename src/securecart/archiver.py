"""The archiver, a process of its own: receives the log, ships it, takes base backups, keeps the tables' journal."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

import uvloop

from securecart import settings, telemetry
from securecart.engines import Home
from securecart.engines.postgres_files import bundled
from securecart.ops.recovery import standing
from securecart.ops.recovery.archiving import Archiver
from securecart.ops.recovery.backing_up import Backups
from securecart.ops.recovery.model import Site
from securecart.settings import Settings
from securecart.stores.archive import open_archive
from securecart.telemetry import log

__all__ = ["main"]

NICE = 5


async def _run(loaded: Settings, port: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    home = Home(loaded.home_path)
    site = Site(home, loaded, open_archive(loaded.archive or str(home.path / "archive"), loaded.archive_key))
    programs = Path(loaded.postgres_bin) if loaded.postgres_bin else bundled()
    archiver = Archiver(site, programs)
    backups = Backups(archiver, programs)
    door = await standing.serve(archiver, backups, port, home.secret("internal_secret"))
    log.info("archiver is at work", archive=site.archive.where)
    tasks = [
        archiver.run(stopping),
        backups.run(stopping),
    ]
    await asyncio.gather(*tasks)
    await door.cleanup()


def main() -> None:
    """Work until SIGTERM, at a lower priority than the doors: shoppers go first."""
    os.nice(NICE)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="Port of the loopback interface that tells how it is.")
    port = parser.parse_args().port
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(loaded, port))


if __name__ == "__main__":
    main()
