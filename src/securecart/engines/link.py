"""The link between the regions: a process that stands for the network between two cities.

While the file `run/link-cut` is in the home, nothing passes; `securecart region cut` and `mend` write and remove it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

import securecart
from securecart.engines.beyond import DYNAMODB, REPLICATION, WRITER
from securecart.engines.home import Home
from securecart.engines.patroni import PatroniNode
from securecart.engines.process import Engine, http_status
from securecart.sandbox.link import Door, LinkPlan, Node
from securecart.settings import Settings

__all__ = ["Link", "cut_file", "door_port"]

PLAN, CUT = "link.json", "link-cut"


class Link(Engine):
    """The relay: for each region a door to each of its stores, for the other one to go through."""

    name = "link"
    url_setting = "link_url"

    def __init__(self, home: Home, settings: Settings, *, regions: Sequence[str]) -> None:
        super().__init__(home, settings)
        self._regions = regions
        self._ports: dict[str, int] = {}
        self._nodes: dict[str, Sequence[PatroniNode]] = {}
        self._tables: dict[str, Engine] = {}

    def lead_to(self, region: str, nodes: Sequence[PatroniNode], tables: Engine) -> None:
        """These are the region's database nodes and its DynamoDB."""
        self._nodes[region], self._tables[region] = nodes, tables

    def choose_port(self) -> None:
        """Settle its own port and those of its doors."""
        super().choose_port()
        for region in self._regions:
            for store in (WRITER, REPLICATION, DYNAMODB):
                self._ports[_name(region, store)] = self.home.port(_name(region, store), settable=False)

    def port_to(self, region: str, store: str) -> int:
        """The port of the door to a store of this region."""
        return self._ports[_name(region, store)]

    async def start(self) -> None:
        """Write the plan and start the relay with it."""
        self.version = securecart.__version__
        doors = tuple(door for region in self._regions for door in self._doors(region))
        plan = LinkPlan(self.settings.region_delay_ms, doors, str(cut_file(self.home)), self.port)
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

    def _doors(self, region: str) -> list[Door]:
        nodes = tuple(Node(node.rest_url(), "127.0.0.1", node.port) for node in self._nodes[region])
        return [
            Door(_name(region, WRITER), self.port_to(region, WRITER), nodes, "primary"),
            Door(_name(region, REPLICATION), self.port_to(region, REPLICATION), nodes, "leader"),
            Door(
                _name(region, DYNAMODB),
                self.port_to(region, DYNAMODB),
                (Node("", "127.0.0.1", self._tables[region].port),),
            ),
        ]


def cut_file(home: Home) -> Path:
    """The file that cuts the link for as long as it is there."""
    return home.run() / CUT


def door_port(home: Home, region: str, store: str) -> int:
    """The port of a door of the link that was started from this home; `KeyError` when there is none."""
    plan = msgspec.json.decode((home.run() / PLAN).read_bytes(), type=LinkPlan)
    return {door.name: door.port for door in plan.doors}[_name(region, store)]


def _name(region: str, store: str) -> str:
    return f"link-{region}-{store}"
