"""The worker: the event log's readers and the shop's timetable of jobs."""

from __future__ import annotations

import sys

import securecart
from securecart.engines.process import Engine, shop_environment

__all__ = ["Worker"]


class Worker(Engine):
    """Reads the event log, and sweeps up what was left open."""

    name = "worker"

    def choose_port(self) -> None:
        """Nothing: it has no door."""

    async def start(self) -> None:
        """Start the process; it reads addresses and secrets from the home folder."""
        self.version = securecart.__version__
        self.forget_gauges()
        self.spawn([sys.executable, "-m", "securecart.worker"], shop_environment(self.home))

    async def answers(self) -> bool:
        """Whether it runs; it has no door to knock on."""
        return not self.died()

    @staticmethod
    async def look(url: str) -> str | None:
        """It has no address."""
        del url
        return ""
