"""Two regions in short: one is lost and comes back, then the writes are moved back without losing any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

SECURECART = [sys.executable, "-m", "securecart"]
DEADLINE_S = 400


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SECURECART_")}
    return subprocess.run([*SECURECART, *words], capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=environment)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("regions")
    haste = {"web_processes": 1, "gateway_timeout_s": 2.5, "reservation_seconds": 3, "sweep_seconds": 0.5}
    (folder / "settings.json").write_text(json.dumps(haste))
    started = run("up", "--detach", "--profile", "regions", "--home", str(folder))
    assert started.returncode == 0, started.stderr
    yield folder
    stopped = run("down", "--home", str(folder))
    assert stopped.returncode == 0, stopped.stderr
    assert left_below(folder) == []


def left_below(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def parts(home: Path) -> dict[str, bool]:
    """Each region, and whether any of its PostgreSQL nodes says itself that it takes writes."""
    seen = json.loads(run("region", "status", "--json", "--home", str(home)).stdout)
    return {region["name"]: any(node["writes"] for node in region["nodes"]) for region in seen["regions"]}


def drilled(home: Path, *words: str) -> dict[str, Any]:
    done = run("drill", "region", "--json", "--shoppers", "4", "--home", str(home), *words)
    assert done.stdout, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    shown = {name: verdict[name] for name in ("lost", "doubled", "oversold", "equal", "sessions_kept", "carts_kept", "kept")}
    expected = {"lost": 0, "doubled": 0, "oversold": 0, "equal": True, "sessions_kept": 1.0, "carts_kept": 1.0, "kept": True}
    assert shown == expected, done.stderr
    assert verdict["acknowledged"] > 0
    assert verdict["bought_from_kept_carts"] > 0
    return verdict


def test_a_region_is_lost_and_comes_back_and_the_writes_are_moved_back(home: Path) -> None:
    assert parts(home) == {"a": True, "b": False}
    refused = run("region", "promote", "b", "--home", str(home))
    assert refused.returncode == 1
    assert "Region a takes writes, so b is not promoted" in refused.stderr
    assert parts(home) == {"a": True, "b": False}

    lost = drilled(home)
    assert (lost["lost_region"], lost["promoted_region"], lost["planned"]) == ("a", "b", False)
    assert lost["rto_seconds"] <= lost["rto_goal_s"]
    assert parts(home) == {"a": False, "b": True}

    moved = drilled(home, "--planned")
    assert (moved["promoted_region"], moved["rpo_orders"], moved["rpo_seconds"]) == ("a", 0, 0)
    assert parts(home) == {"a": True, "b": False}
