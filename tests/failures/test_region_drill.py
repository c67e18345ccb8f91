"""Two regions in short: one is lost and comes back, then the writes are moved back without losing any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import processes_below, securecart


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("regions")
    haste = {"web_processes": 1, "gateway_timeout_s": 2.5, "reservation_seconds": 3, "sweep_seconds": 0.5, "archive": "off"}
    (folder / "settings.json").write_text(json.dumps(haste))
    started = securecart("up", "--detach", "--profile", "regions", "--home", str(folder))
    assert started.returncode == 0, started.stderr
    yield folder
    stopped = securecart("down", "--home", str(folder))
    assert stopped.returncode == 0, stopped.stderr
    assert processes_below(folder) == []


def parts(home: Path) -> dict[str, bool]:
    """Each region, and whether any of its PostgreSQL nodes says itself that it takes writes."""
    seen = json.loads(securecart("region", "status", "--json", "--home", str(home)).stdout)
    return {region["name"]: any(node["writes"] for node in region["nodes"]) for region in seen["regions"]}


def drilled(home: Path, *words: str) -> dict[str, Any]:
    done = securecart("drill", "region", "--json", "--shoppers", "4", "--home", str(home), *words)
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
    refused = securecart("region", "promote", "b", "--home", str(home))
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
