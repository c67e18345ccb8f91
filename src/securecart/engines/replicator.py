"""The replicator of the global tables: carries carts and sessions between two regions' DynamoDB Local."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

import securecart
from securecart.engines.home import Home
from securecart.engines.process import Engine, http_status, shop_environment
from securecart.errors import NotRunning
from securecart.settings import Settings

__all__ = ["Replicator", "ReplicatorPlan", "replicator_plan"]

PLAN = "replicator.json"


class ReplicatorPlan(Struct, frozen=True):
    """The address of each region's DynamoDB as the replicator reaches it, its folder, and the port that tells how it is."""

    urls: dict[str, str]
    folder: str
    port: int


class Replicator(Engine):
    """One process for both directions; `urls` gives the regions' addresses once all ports are chosen."""

    name = "replicator"
    url_setting = "replicator_url"

    def __init__(self, home: Home, settings: Settings, *, urls: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(home, settings)
        self._urls = urls

    def choose_port(self) -> None:
        """Settle the port that tells how it is."""
        self.port = self.home.port(self.name, settable=False)

    async def start(self) -> None:
        """Write the plan and start the process with it; a region that does not answer yet is waited for by itself."""
        self.version = securecart.__version__
        plan = ReplicatorPlan(dict(self._urls()), str(self.home.data(self.name)), self.port)
        file = self.home.run() / PLAN
        self.home.write_private(file, msgspec.json.format(msgspec.json.encode(plan)).decode())
        self.spawn([sys.executable, "-m", "securecart.replicator", "--plan", str(file)], shop_environment(self.home))

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask how it is."""
        return "" if await http_status(f"{url.rstrip('/')}/healthz") == 200 else None  # noqa: PLR2004 - HTTP's own number

    def connections(self) -> dict[str, str]:
        """Where it tells how it is."""
        return {"replicator_url": f"http://127.0.0.1:{self.port}"}


def replicator_plan(home: Home) -> ReplicatorPlan:
    """With what the replicator of this home was started; `NotRunning` when it never was."""
    try:
        return msgspec.json.decode((home.run() / PLAN).read_bytes(), type=ReplicatorPlan)
    except OSError as error:
        raise NotRunning(home=str(home.path)) from error
