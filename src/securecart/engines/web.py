"""The shop's doors: web processes that take connections from one socket, which is the supervisor's.

So nothing that waits in line is lost when one of them dies, nor while all of them are gone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

import securecart
from securecart.engines.home import Home
from securecart.engines.process import Engine, http_status, shop_environment
from securecart.settings import Settings

__all__ = ["Web", "process_count"]

BACKLOG = 1024


class Web(Engine):
    """One web process; the first decides the port and has the socket, the others join it."""

    name = "web"
    url_setting = "web_url"

    def __init__(self, home: Home, settings: Settings, *, first: Web | None = None, number: int = 1) -> None:
        super().__init__(home, settings, number=number)
        self._first = first
        self._listener: socket.socket | None = None
        self._news: int | None = None
        self._serves = False

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
        listener = (self._first or self).listener()
        self._forget_news()
        self._news, opened = os.pipe()
        os.set_blocking(self._news, False)
        command = [sys.executable, "-m", "securecart.web", "--listener", str(listener.fileno()), "--opened", str(opened)]
        try:
            self.spawn(command, shop_environment(self.home), descriptors=[listener.fileno(), opened])
        finally:
            os.close(opened)

    def listener(self) -> socket.socket:
        """The socket at which all of them serve; made by the first, and open for as long as it is not stopped."""
        if self._listener is None:
            self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
            self._listener.listen(BACKLOG)
        return self._listener

    async def answers(self) -> bool:
        """Whether this process serves, and the shop is well: another process at the same socket could answer for it."""
        if self._news is not None and not self._serves:
            with contextlib.suppress(BlockingIOError):
                self._serves = bool(os.read(self._news, 1))
        return self._serves and not self.died() and await super().answers()

    async def stop(self) -> None:
        """End the process, and with the first one the line in front of the doors."""
        await super().stop()
        self._forget_news()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask whether the shop can sell."""
        return "" if await http_status(f"{url.rstrip('/')}/readyz") == 200 else None  # noqa: PLR2004 - HTTP's own number

    def connections(self) -> dict[str, str]:
        """The shop's address, and the key by which its own programs are known."""
        return {"web_url": f"http://127.0.0.1:{self.port}", "internal_key": self.home.secret("internal_secret")}

    def _forget_news(self) -> None:
        self._serves = False
        if self._news is not None:
            os.close(self._news)
            self._news = None


def process_count(settings: Settings) -> int:
    """How many web processes to run: the setting, or one for every two cores."""
    return settings.web_processes or max(1, (os.cpu_count() or 2) // 2)
