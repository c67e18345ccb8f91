"""A voter without data: where a region has only two database nodes, it makes three who agree on the leader by Raft."""

from __future__ import annotations

import sys

import msgspec

from securecart.engines.home import Home
from securecart.engines.patroni import PatroniNode
from securecart.engines.patroni_yaml import raft, raft_folder, scope_of
from securecart.engines.process import Engine
from securecart.settings import Settings

__all__ = ["Witness"]

PROGRAM = "from patroni.raft_controller import main; main()"


class Witness(Engine):
    """Votes with the nodes, and keeps what was agreed on."""

    name = "witness"

    def __init__(self, home: Home, settings: Settings, *, nodes: list[PatroniNode]) -> None:
        super().__init__(home, settings)
        self.raft_port = 0
        self._nodes = nodes
        for node in nodes:
            node.voters.append(self)

    def choose_port(self) -> None:
        """Settle the port of Raft."""
        self.port = self.raft_port = self.home.port("raft-witness", settable=False)

    async def start(self) -> None:
        """Write down who the others are and begin to vote."""
        folder = raft_folder(self.home, self.label)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.home.run() / f"{self.label}.yaml"
        agreement = raft(self.home, self.label, self.raft_port, [node.raft_port for node in self._nodes])
        told = {"scope": scope_of(self.home), "name": self.label, "raft": agreement}
        self.home.write_private(file, msgspec.json.format(msgspec.json.encode(told)).decode())
        self.spawn([sys.executable, "-c", PROGRAM, str(file)])

    async def answers(self) -> bool:
        """Whether it runs; nobody but the nodes can talk to it."""
        return not self.died()

    @staticmethod
    async def look(url: str) -> str | None:
        """It has no address."""
        del url
        return ""
