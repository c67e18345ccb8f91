"""A graph of a test's own: the real process on a folder, which may be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from securecart.stores import graph
from securecart.stores.graph import Graph

KEY = "a-key-of-the-test"
READY_WITHIN_S = 30.0


class Process:
    """The graph's process on a folder; killed or ended, and started again on the same port."""

    def __init__(self, folder: Path, **options: float) -> None:
        self.folder = folder
        self.options = {"timeout": 20.0, "concurrency": 4, "memory-mb": 64, **options}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://securecart:{KEY}@127.0.0.1:{self.port}"

    def spawn(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "securecart.graph", "--port", str(self.port), "--data", str(self.folder)]
        for name, value in self.options.items():
            command += [f"--{name}", str(value)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, env={**os.environ, "SECURECART_GRAPH_KEY": KEY}, stderr=log, stdout=log)

    async def start(self) -> None:
        self.child = self.spawn()
        deadline = time.monotonic() + READY_WITHIN_S
        client = await graph.connect(self.url)
        try:
            while not await client.answers():
                assert self.child.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, "the graph does not answer"
                await asyncio.sleep(0.05)
        finally:
            await client.close()

    async def end(self, how: signal.Signals) -> int:
        assert self.child is not None
        self.child.send_signal(how)
        code = await asyncio.to_thread(self.child.wait, 20)
        self.child = None
        return code


@contextlib.asynccontextmanager
async def running(folder: Path, **options: float) -> AsyncIterator[tuple[Process, Graph]]:
    process = Process(folder, **options)
    await process.start()
    client = await graph.connect(process.url, timeout_s=process.options["timeout"])
    try:
        yield process, client
    finally:
        await client.close()
        if process.child is not None:
            await process.end(signal.SIGKILL)
