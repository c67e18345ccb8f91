"""Real engines for the tests: one home for the session, started by the project itself, stopped at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from securecart import settings as settings_table
from securecart.app import Shop, open_shop, prepare
from securecart.engines import Home, Supervisor, shop_processes, stores
from securecart.settings import Settings
from securecart.stores.postgres import Database
from tests.clusters import Nodes, running_nodes
from tests.commands import PORTS

# Each of several test processes takes its ports from a range of its own: a port that is kept must not go to somebody else.
RANGE = 2_600
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST_PORT = 20_000 + RANGE * (WORKER % 3)
os.environ[PORTS] = f"{FIRST_PORT}-{FIRST_PORT + RANGE - 1}"

# A slow gateway is waited for 2.5 s, and nothing is swept but by the test that is about sweeping; nobody reads tables' streams.
# All tests' shoppers have one address and one mailbox: each order is judged, and none is held but where a test is about that.
SETTINGS = {
    "gateway_timeout_s": 2.5,
    "sweep_seconds": 3600.0,
    "table_journal": False,
    "fraud_review_from": 1.0,
    "fraud_decline_from": 1.0,
    "fraud_caution_amount": 10**9,
}


@pytest.fixture(scope="session")
async def supervisor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    """The stores and the gateway, running from a home of their own; whatever joins them is stopped with them."""
    for name in [name for name in os.environ if name.startswith(settings_table.PREFIX) and name != PORTS]:
        del os.environ[name]
    home = Home(tmp_path_factory.mktemp("home"))
    home.prepare()
    home.remember(SETTINGS)
    lock = home.lock()
    assert lock is not None

    async def create() -> None:
        await prepare(settings_table.load(str(home.path)))

    running = Supervisor(home, [stores(home, settings_table.load(str(home.path)))], prepare=create, report=lambda _: None)
    await running.start(lock)
    yield running
    await running.stop()


@pytest.fixture(scope="session")
def shop_home(supervisor: Supervisor) -> Path:
    """The home folder of the running engines."""
    return supervisor.home.path


@pytest.fixture(scope="session")
def engines(shop_home: Path) -> Settings:
    """The settings under which the running engines are found."""
    return settings_table.load(str(shop_home))


@pytest.fixture(scope="session")
async def shop(engines: Settings) -> AsyncIterator[Shop]:
    """The shop's stores, opened as its processes open them."""
    async with open_shop(engines) as opened:
        yield opened


@pytest.fixture(scope="session")
def database(shop: Shop) -> Database:
    """The orders database, as the shop's own role."""
    return shop.database


@pytest.fixture(scope="session")
async def shop_url(supervisor: Supervisor, engines: Settings) -> str:
    """Where the running shop's HTTP door is; its processes join the stores the first time somebody asks."""
    await supervisor.add(shop_processes(supervisor.home, engines))
    return settings_table.load(engines.home).web_url


@pytest.fixture(scope="session")
def uncounted(shop_url: str, engines: Settings) -> dict[str, str]:
    """The header by which the doors know a program of the shop's own, whose requests no limit counts."""
    del shop_url  # the key is known once the doors are there
    return {"X-SecureCart-Internal-Key": settings_table.load(engines.home).internal_key}


@pytest.fixture(scope="session")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    """The orders database on three nodes, from a home of its own, with the shop's tables."""
    async with running_nodes(tmp_path_factory.mktemp("nodes")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program; without one the test is skipped."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return found
