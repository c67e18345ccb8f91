"""Servers that a bench starts for itself and stops again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence

import aiohttp

from bench.harness import ROOT, BenchFailed

__all__ = ["free_port", "started"]

START_TIMEOUT_S = 30.0


@contextlib.asynccontextmanager
async def started(
    module: Sequence[str], *, probe: str, processes: int = 1, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, list[int]]]:
    """Run `python -m MODULE... --port P` in some processes that share the port; address and pids, once `probe` answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", *module, "--port", str(port))
    servers = [await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment) for _ in range(processes)]
    try:
        await _until_it_answers(url + probe, servers)
        yield url, [server.pid for server in servers]
    finally:
        for server in servers:
            if server.returncode is None:
                server.terminate()
            await server.wait()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def _until_it_answers(url: str, servers: Sequence[asyncio.subprocess.Process]) -> None:
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            ended = any(server.returncode is not None for server in servers)
            if ended or asyncio.get_running_loop().time() > deadline:
                raise BenchFailed(problem=f"a server that it needs did not start ({url}).")
            await asyncio.sleep(0.05)
