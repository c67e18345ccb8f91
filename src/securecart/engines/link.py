"""The link between the regions: a process that stands for the network between two cities.

While the file `run/link-cut` is in the home, nothing passes; `securecart region cut` and `mend` write and remove it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

import securecart
from securecart.engines.home import Home
from securecart.engines.process import Engine, http_status
from securecart.sandbox.link import Door, LinkPlan
from securecart.settings import Settings

__all__ = ["Link", "cut_file"]

PLAN, CUT = "link.json", "link-cut"


class Link(Engine):
    """The relay; `doors` are asked for when it starts, once the ports behind them are settled."""

    name = "link"
    url_setting = "link_url"

    def __init__(self, home: Home, settings: Settings, *, doors: Callable[[], tuple[Door, ...]]) -> None:
        super().__init__(home, settings)
        self._doors = doors

    async def start(self) -> None:
        """Write the plan and start the relay with it."""
        self.version = securecart.__version__
        plan = LinkPlan(self.settings.region_delay_ms, self._doors(), str(cut_file(self.home)), self.port)
        file = self.home.run() / PLAN
        self.home.write_private(file, msgspec.json.format(msgspec.json.encode(plan)).decode())
        self.spawn([sys.executable, "-m", "securecart.sandbox.link", "--plan", str(file)])

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask how it is."""
        return "" if await http_status(url) == 200 else None  # noqa: PLR2004 - HTTP's own number

    def connections(self) -> dict[str, str]:
        """Where it tells how it is."""
        return {"link_url": f"http://127.0.0.1:{self.port}"}


def cut_file(home: Home) -> Path:
    """The file that cuts the link for as long as it is there."""
    return home.run() / CUT
