"""The shop's doors: web processes that share one port."""

from __future__ import annotations

import contextlib
import os
import sys

import psutil

import securecart
from securecart.engines.home import Home
from securecart.engines.process import Engine, http_status, shop_environment
from securecart.settings import Settings

__all__ = ["Web", "process_count"]


class Web(Engine):
    """One web process; the first decides the port, the others join it."""

    name = "web"
    url_setting = "web_url"

    def __init__(self, home: Home, settings: Settings, *, first: Web | None = None, number: int = 1) -> None:
        super().__init__(home, settings, number=number)
        self._first = first

    def choose_port(self) -> None:
        """The first one's port is everybody's."""
        if self._first is None:
            super().choose_port()
        else:
            self.port = self._first.port

    async def start(self) -> None:
        """Start the process; it reads addresses and secrets from the home folder."""
        self.version = securecart.__version__
        self.forget_gauges()
        self.home.remember(self.connections())
        self.spawn([sys.executable, "-m", "securecart.web", "--port", str(self.port)], shop_environment(self.home))

    async def answers(self) -> bool:
        """Whether this process listens, and the shop can sell: another process that shares the port could answer for it."""
        return self._listens() and await super().answers()

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask whether the shop can sell."""
        return "" if await http_status(f"{url.rstrip('/')}/readyz") == 200 else None  # noqa: PLR2004 - HTTP's own number

    def connections(self) -> dict[str, str]:
        """The shop's address, and the key by which its own programs are known."""
        return {"web_url": f"http://127.0.0.1:{self.port}", "internal_key": self.home.secret("internal_secret")}

    def _listens(self) -> bool:
        running = self.running()
        if running is None:
            return False
        with contextlib.suppress(psutil.Error):
            sockets = psutil.Process(running.pid).net_connections("tcp")
            return any(one.status == psutil.CONN_LISTEN for one in sockets)
        return False


def process_count(settings: Settings) -> int:
    """How many web processes to run: the setting, or one for every two cores."""
    return settings.web_processes or max(1, (os.cpu_count() or 2) // 2)
