"""The shop's doors: web processes that share one port."""

from __future__ import annotations

import os
import sys

import securecart
from securecart.engines.home import Home
from securecart.engines.process import Engine, http_answers
from securecart.settings import Settings

__all__ = ["Web", "process_count"]


class Web(Engine):
    """One web process; the first decides the port, the others join it."""

    name = "web"

    def __init__(self, home: Home, settings: Settings, *, first: Web | None = None, number: int = 1) -> None:
        super().__init__(home, settings, number=number)
        self._first = first

    async def start(self) -> None:
        """Start the process; it reads addresses and secrets from the home folder."""
        self.version = securecart.__version__
        if self.port == 0:
            self.port = self._first.port if self._first else self.home.port(self.name, self.settings.web_port)
        self.home.remember({"web_url": f"http://127.0.0.1:{self.port}", "internal_key": self.home.secret("internal_secret")})
        environment = {"SECURECART_HOME": str(self.home.path), "PROMETHEUS_MULTIPROC_DIR": str(self.home.metrics())}
        self.spawn([sys.executable, "-m", "securecart.web", "--port", str(self.port)], environment)

    async def answers(self) -> bool:
        """Whether the shop can sell."""
        return await http_answers(self.port, "/readyz")

    def connections(self) -> dict[str, str]:
        """The shop's address."""
        return {"web_url": f"http://127.0.0.1:{self.port}"}


def process_count(settings: Settings) -> int:
    """How many web processes to run: the setting, or one for every two cores."""
    return settings.web_processes or max(1, (os.cpu_count() or 2) // 2)
