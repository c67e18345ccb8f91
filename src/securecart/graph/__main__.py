"""`python -m securecart.graph`: owns the graph's file and answers on one port of the loopback interface until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

import uvloop

from securecart import telemetry
from securecart.graph.door import Door
from securecart.graph.file import VERSION, File
from securecart.telemetry import log


async def _run(given: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    file = await asyncio.to_thread(File, given.data, connections=given.concurrency, memory_mb=given.memory_mb)
    door = Door(file, concurrency=given.concurrency, timeout_s=given.timeout, key=os.environ.get("SECURECART_GRAPH_KEY", ""))
    await door.open(given.port)
    log.info("graph is open", version=VERSION, port=given.port)
    await stopping.wait()
    await door.close()


def main() -> None:
    """Work until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="Port of the loopback interface.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of the database's file.")
    parser.add_argument("--timeout", type=float, default=20.0, help="Seconds a statement may take.")
    parser.add_argument("--concurrency", type=int, default=4, help="Statements at work at once.")
    parser.add_argument("--memory-mb", type=int, default=256, help="Megabytes of the file that are kept in memory.")
    given = parser.parse_args()
    telemetry.configure_logs("info")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(given))


if __name__ == "__main__":
    main()
