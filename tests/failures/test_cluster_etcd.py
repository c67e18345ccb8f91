"""The same three nodes where they agree in etcd, as production should: a real etcd, started by the test."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import running_nodes

DEADLINE_S = 30


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[str]:
    """The address of an etcd with an empty folder."""
    program = shutil.which("etcd") or str(Path(sys.prefix) / "etcd" / "usr" / "bin" / "etcd")
    if not Path(program).exists():
        pytest.skip("no etcd on this machine: make etcd")
    clients, peers = a_free_port(), a_free_port()
    command = [program, "--data-dir", str(tmp_path / "etcd"), "--name", "alone"]
    for option, port in (("client", clients), ("peer", peers)):
        command += [f"--listen-{option}-urls", f"http://127.0.0.1:{port}"]
    command += ["--advertise-client-urls", f"http://127.0.0.1:{clients}"]
    command += [
        "--initial-advertise-peer-urls",
        f"http://127.0.0.1:{peers}",
        "--initial-cluster",
        f"alone=http://127.0.0.1:{peers}",
    ]
    with (tmp_path / "etcd.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_until_healthy(clients, tmp_path / "etcd.log")
            yield f"etcd://127.0.0.1:{clients}"
        finally:
            server.kill()


def wait_until_healthy(port: int, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.05)


async def test_nodes_that_agree_in_etcd_fail_over_without_loss(etcd: str, tmp_path: Path) -> None:
    async with running_nodes(tmp_path / "home", cluster_store=etcd) as nodes:
        await nodes.all_well()
        assert "raft" not in (nodes.home.run() / "patroni-1.yaml").read_text()
        await nodes.value("CREATE TABLE kept AS SELECT 42 AS answer")
        before = await nodes.writer()
        nodes.crash(before)
        await nodes.until(lambda seen: seen.writer is not None and seen.writer.name != before, "another node writes")
        assert await nodes.value("SELECT answer FROM kept") == 42
        await nodes.all_well()
