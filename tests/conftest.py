"""Real engines for the tests: one home for the session, started by the project itself, stopped at the end."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from securecart import settings as settings_table
from securecart.app import Shop, open_shop, prepare
from securecart.engines import Home, Supervisor, plan
from securecart.settings import Settings
from securecart.stores.postgres import Database


@pytest.fixture(scope="session")
async def shop_home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A home with every engine and the shop's own processes running."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.prepare()
    lock = home.lock()
    assert lock is not None
    given = settings_table.convert({"home": str(home.path), "gateway_timeout_s": "2.5", "sweep_seconds": "3600"})
    home.remember({"gateway_timeout_s": 2.5, "sweep_seconds": 3600})

    async def create() -> None:
        await prepare(settings_table.load(str(home.path), {}))

    supervisor = Supervisor(home, plan(home, given), between=create, report=lambda _: None)
    await supervisor.start(lock)
    yield home.path
    await supervisor.stop()


@pytest.fixture(scope="session")
def engines(shop_home: Path) -> Settings:
    """The settings under which the running engines are found."""
    return settings_table.load(str(shop_home), {})


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
def shop_url(engines: Settings) -> str:
    """Where the running shop's HTTP door is."""
    return engines.web_url


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program; without one the test is skipped."""


    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return found
