"""The worker: the shop's timetable of jobs."""

from __future__ import annotations

import sys

import securecart
from securecart.engines.process import Engine

__all__ = ["Worker"]


class Worker(Engine):
    """Sweeps up what was left open."""

    name = "worker"

    async def start(self) -> None:
        """Start the process; it reads addresses and secrets from the home folder."""
        self.version = securecart.__version__
        self.spawn([sys.executable, "-m", "securecart.worker"], {"SECURECART_HOME": str(self.home.path)})

    async def answers(self) -> bool:
        """Whether it runs; it has no door to knock on."""
        return not self.died()
