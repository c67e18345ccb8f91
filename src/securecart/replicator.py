"""The replicator of the global tables, a process of its own: `python -m securecart.replicator --plan FILE`.

It knows which of the shop's tables are the same in every region: sessions and carts. The order history is not among them,
because each region's readers write their own.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from securecart import carts, sessions, settings, telemetry
from securecart.engines.replicator import ReplicatorPlan
from securecart.ops import global_tables
from securecart.ops.global_tables import Table
from securecart.telemetry import log

__all__ = ["SHARED", "main", "shared_tables"]

SHARED = (sessions.TABLE, carts.TABLE)


def shared_tables(prefix: str) -> list[Table]:
    """The tables that are the same in every region, by their full names."""
    return [spec.in_full(prefix) for spec in SHARED]


async def _run(plan: ReplicatorPlan, tables: Sequence[Table]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    log.info("replicator is at work", regions=list(plan.urls), tables=[table.name for table in tables])
    await global_tables.replicate(plan.urls, tables, folder=Path(plan.folder), port=plan.port, stopping=stopping)


def main() -> None:
    """Replicate until SIGTERM, at the doors' own priority: what waits here is lost with its region."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, required=True)
    plan = msgspec.json.decode(parser.parse_args().plan.read_bytes(), type=ReplicatorPlan)
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(plan, shared_tables(loaded.dynamodb_prefix)))


if __name__ == "__main__":
    main()
