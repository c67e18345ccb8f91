"""The engines under bad luck: killed processes, a second start, a taken port, a home that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from securecart.engines import Home
from securecart.errors import DiskFull, HomeUnusable, PortTaken

SECURECART = [sys.executable, "-m", "securecart"]


def run(*arguments: str, home: Path, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*SECURECART, *arguments, "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def status(home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*SECURECART, "status", "--json", "--home", str(home)], capture_output=True, text=True, timeout=60, check=False
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def pids(home: Path) -> dict[str, int]:
    return {engine["name"]: engine["pid"] for engine in status(home)["engines"]}


def processes_of(home: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(home) in " ".join(process.info["cmdline"] or []):
            found.append(process.info["pid"])
    return found


def until_healthy(home: Path, *, different_from: dict[str, int]) -> dict[str, int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = status(home)
        now = {engine["name"]: engine["pid"] for engine in seen["engines"]}
        if seen["healthy"] and all(now.get(name) != pid for name, pid in different_from.items()):
            return now
        time.sleep(0.1)
    pytest.fail(f"not healthy again after a minute: {status(home)}")


@pytest.fixture(scope="module")
def running_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("killed") / "home"
    run("up", "--detach", home=home)
    yield home
    subprocess.run([*SECURECART, "down", "--home", str(home)], capture_output=True, timeout=60, check=False)


def test_status_tells_name_version_address_health_pid_and_memory(running_home: Path) -> None:
    seen = status(running_home)
    assert seen["healthy"]
    assert {engine["name"] for engine in seen["engines"]} >= {"postgres", "valkey", "dynamodb", "gateway", "web-1", "worker"}
    for engine in seen["engines"]:
        assert set(engine) == {"name", "version", "address", "healthy", "pid", "memory"}
        assert engine["healthy"]
        assert engine["memory"] > 1_000_000
    assert seen["memory"] < 1.2 * 2**30


def test_secrets_can_be_read_by_the_owner_only(running_home: Path) -> None:
    assert (running_home / "settings.json").stat().st_mode & 0o077 == 0
    assert running_home.stat().st_mode & 0o077 == 0


def test_every_port_listens_on_loopback_only(running_home: Path) -> None:
    ours = set(pids(running_home).values())
    listening = [one for one in psutil.net_connections("tcp") if one.pid in ours and one.status == psutil.CONN_LISTEN]
    assert listening
    assert {one.laddr.ip for one in listening} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_second_up_says_who_runs_already(running_home: Path) -> None:
    before = pids(running_home)
    done = run("up", "--detach", home=running_home)
    assert "already runs" in done.stderr
    assert pids(running_home) == before


@pytest.mark.parametrize("victim", ["postgres", "valkey", "dynamodb", "gateway", "web-1", "worker"])
def test_an_engine_that_is_killed_comes_back(running_home: Path, victim: str) -> None:
    before = pids(running_home)
    os.kill(before[victim], signal.SIGKILL)
    run("up", "--detach", home=running_home)
    after = until_healthy(running_home, different_from={victim: before[victim]})
    assert {name: pid for name, pid in after.items() if name != victim} == {
        name: pid for name, pid in before.items() if name != victim
    }


def test_after_the_supervisor_is_killed_the_next_up_takes_over(running_home: Path) -> None:
    ports = json.loads((running_home / "ports.json").read_text())
    before = pids(running_home)
    supervisor = status(running_home)["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    run("up", "--detach", home=running_home)
    after = until_healthy(running_home, different_from=before)
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in before.values())
    assert set(after) == set(before)
    assert json.loads((running_home / "ports.json").read_text()) == ports


def test_down_leaves_no_process_and_a_second_down_says_that_nothing_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run("up", "--detach", home=home)
    run("down", home=home)
    assert processes_of(home) == []
    assert "securecart up" in run("down", home=home, expect=1).stderr


def test_ctrl_c_in_the_foreground_leaves_no_process(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with subprocess.Popen([*SECURECART, "up", "--home", str(home)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as shop:
        deadline = time.monotonic() + 60
        while not (home / "state.json").exists() or not status(home)["healthy"]:
            assert time.monotonic() < deadline, "not up after a minute"
            assert shop.poll() is None
            time.sleep(0.1)
        shop.send_signal(signal.SIGINT)
        assert shop.wait(timeout=60) == 0
    assert processes_of(home) == []


def test_an_engine_that_cannot_start_is_named_with_its_log_and_nothing_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fake = tmp_path / "valkey-server"
    fake.write_text("#!/bin/sh\necho 'FATAL: out of luck' >&2\nexit 1\n")
    fake.chmod(0o755)
    done = run("up", home=home, expect=1, SECURECART_VALKEY_BIN=str(fake))
    assert "valkey did not start" in done.stderr
    assert "out of luck" in done.stderr
    assert str(home / "logs" / "valkey.log") in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_of(home) == []


def test_a_port_that_another_program_took_is_named_with_the_way_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    port = home.port("valkey")
    assert home.port("valkey") == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(PortTaken, match=f"{port}.*SECURECART_VALKEY_PORT"):
            home.port("valkey")
    assert home.port("valkey") == port


def test_a_home_without_permission_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeUnusable, match="--home"):
        Home(tmp_path / "file" / "home").prepare()


def test_a_full_disk_says_how_much_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearly_full = shutil._ntuple_diskusage(10**12, 10**12 - 2**20, 2**20)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    with pytest.raises(DiskFull, match="1 MB left"):
        Home(tmp_path / "home").prepare()
