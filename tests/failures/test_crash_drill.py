"""The crash drill itself: a few real rounds, a promise broken on purpose, and an end by Ctrl-C that leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import asyncpg
import pytest

from securecart.engines import Home
from tests.commands import processes_below

DRILL = [sys.executable, "-m", "securecart", "drill", "crash", "--json"]
DEADLINE_S = 90
SHOWN = ("rounds", "lost", "doubled", "oversold", "captures_without_order", "projections_equal", "seed")
# the oldest order that a shopper was told of for sure: the answer follows the payment within milliseconds
LOSE_AN_ORDER = """
    DELETE FROM orders WHERE id = (
        SELECT order_id FROM order_change JOIN orders ON orders.id = order_id
        WHERE order_change.status = 'paid' AND orders.status = 'paid' AND at < now() - interval '0.5 seconds' LIMIT 1
    )
"""


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A drill whose own home is made below `tmp_path`."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.Popen([*DRILL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def home_of(drill: subprocess.Popen[str], until: str) -> Path:
    """The drill's home, as it says on stderr, once it has also said `until`."""
    assert drill.stderr is not None
    return _read_home(drill.stderr, until)


def _read_home(said: IO[str], until: str) -> Path:
    home = None
    for line in said:
        if "own shop is in" in line:
            home = Path(line.split()[-1])
        if until in line:
            assert home is not None
            return home
    raise AssertionError(f"the drill ended before it said {until!r}")


async def lose_an_order(home: Path) -> None:
    connection = await asyncpg.connect(Home(home).settings()["postgres_owner_url"])
    try:
        while await connection.execute(LOSE_AN_ORDER) == "DELETE 0":  # noqa: ASYNC110 - no event tells of a shop's order
            await asyncio.sleep(0.05)
    finally:
        await connection.close()


def test_the_promises_survive_the_death_of_database_web_process_and_worker(tmp_path: Path) -> None:
    kinds = ("postgres", "web", "worker")
    drill = start(tmp_path, "--rounds=3", "--seconds=0.5", "--seed=4", *(f"--kill={kind}" for kind in kinds))
    printed, said = drill.communicate(timeout=DEADLINE_S)
    assert drill.returncode == 0, said
    verdict = json.loads(printed)
    assert {name: verdict[name] for name in SHOWN} == {
        "rounds": 3,
        "lost": 0,
        "doubled": 0,
        "oversold": 0,
        "captures_without_order": 0,
        "projections_equal": True,
        "seed": 4,
    }
    assert verdict["acknowledged"] == verdict["details"][-1]["acknowledged"] > 0
    assert {one["killed"].partition(" (")[0].partition("-")[0] for one in verdict["details"]} == set(kinds)
    assert verdict["report"]["examples"] == []
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []


def test_an_order_that_vanishes_behind_the_shops_back_is_reported(tmp_path: Path) -> None:
    drill = start(tmp_path, "--rounds=4", "--kill=valkey", "--seconds=1", "--keep")
    home = home_of(drill, until="web-1")
    asyncio.run(asyncio.wait_for(lose_an_order(home), DEADLINE_S))
    printed, said = drill.communicate(timeout=DEADLINE_S)
    verdict = json.loads(printed)
    assert (drill.returncode, verdict["kept"], verdict["rounds"] < 4) == (1, False, True)
    assert (verdict["lost"], verdict["captures_without_order"]) == (1, 1)
    assert verdict["report"]["stock_odd"] >= 1
    assert any("its shopper was told that it is bought" in example for example in verdict["report"]["examples"])
    assert f"its home is kept: securecart up --home {home}" in said
    assert (home / "logs" / "postgres.log").exists()
    assert processes_below(tmp_path) == []


def test_ctrl_c_ends_a_drill_and_leaves_nothing_behind(tmp_path: Path) -> None:
    drill = start(tmp_path, "--rounds=50")
    home = home_of(drill, until="tables")
    drill.send_signal(signal.SIGINT)
    began = time.monotonic()
    printed, said = drill.communicate(timeout=DEADLINE_S)
    assert (drill.returncode, printed) == (130, "")
    assert "interrupted; everything is stopped" in said
    assert "Traceback" not in said
    assert time.monotonic() - began < 30
    assert not home.exists()
    assert processes_below(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--kill=cat"], {}, "There is no kind 'cat'; choose from web, worker,"),
        ([], {"SECURECART_POSTGRES_URL": "postgresql://db.example.com/shop"}, "unset SECURECART_POSTGRES_URL"),
        (["--home=/nonexistent/home"], {}, "No SecureCart runs from /nonexistent/home"),
    ],
)
def test_a_drill_that_cannot_be_held_says_why(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), **environment}
    done = subprocess.run([*DRILL, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=environment)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
