"""The witness of a failover: asks every PostgreSQL node itself, about ten times a second, whether it leads or follows.

It knows nothing of the shop's own watch nor of Patroni, so what it saw is a second opinion on both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import asyncpg
from msgspec import Struct

from securecart.drills.aftermath import LOOK_AGAIN_S
from securecart.engines import Home
from securecart.errors import DrillFailed
from securecart.settings import Settings

__all__ = ["Change", "Node", "Witness", "nodes_of"]

ANSWER_WITHIN_S = 0.6
SUPERUSER = "postgres"
AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
# A node follows when its stream from the leader stands; of the leader we want to know how many follow synchronously.
ASK = """
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN 'leads'
                WHEN EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') THEN 'follows'
                ELSE 'catches up' END,
           (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))
"""

Role = Literal["leads", "follows", "catches up", "away"]


class Node(Struct, frozen=True):
    """A PostgreSQL of the shop: its label in the home, and its address as the superuser, who alone may see all of it."""

    label: str
    url: str


class Change(Struct, frozen=True):
    """A node was seen in another role than before, at a moment of `time.monotonic`."""

    at: float
    label: str
    role: Role


def nodes_of(home: Home, loaded: Settings) -> list[Node]:
    """The nodes that `postgres_url` names, in its order, as the engines number them."""
    parts = urlsplit(loaded.postgres_url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    password = home.secret("postgres_superuser_password")
    labels = [f"patroni-{number}" for number in range(1, len(hosts) + 1)] if len(hosts) > 1 else ["postgres"]
    return [
        Node(label, f"postgresql://{SUPERUSER}:{password}@{host}/postgres") for label, host in zip(labels, hosts, strict=True)
    ]


class Witness:
    """Sees the roles of the nodes change, while it is run."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._synchronous: dict[str, int] = {}
        self.roles: dict[str, Role] = {node.label: "away" for node in nodes}
        self.changes: list[Change] = []

    @property
    def labels(self) -> list[str]:
        """All nodes, in order."""
        return [node.label for node in self._nodes]

    async def run(self) -> None:
        """Look until this is cancelled."""
        async with asyncio.TaskGroup() as group:
            for node in self._nodes:
                group.create_task(self._watch(node))

    def leader(self) -> str | None:
        """The node that leads now; None when none does, or when two say so."""
        leading = [label for label, role in self.roles.items() if role == "leads"]
        return leading[0] if len(leading) == 1 else None

    def all_well(self) -> bool:
        """Whether one node leads, all others follow, and one of those synchronously where there are others."""
        leader = self.leader()
        if leader is None:
            return False
        others = [role for label, role in self.roles.items() if label != leader]
        return all(role == "follows" for role in others) and (not others or self._synchronous.get(leader, 0) > 0)

    def led(self, since: float) -> Change | None:
        """Who was first seen to have begun to lead from `since` on, and when."""
        return next((one for one in self.changes if one.role == "leads" and one.at >= since), None)

    def when(self, label: str, role: Role, *, since: float) -> float | None:
        """The first moment from `since` on at which the node was seen in this role."""
        return next((one.at for one in self.changes if (one.label, one.role) == (label, role) and one.at >= since), None)

    async def wait_until(self, well: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Return once it is so; `DrillFailed` says `what` was waited for in vain."""
        deadline = time.monotonic() + within_s
        while not well():
            if time.monotonic() > deadline:
                seen = ", ".join(f"{label} {role}" for label, role in self.roles.items())
                raise DrillFailed(why=f"{what}: not within {within_s:.0f} s ({seen})")
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _watch(self, node: Node) -> None:
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        try:
            while True:
                began = time.monotonic()
                role: Role = "away"
                with contextlib.suppress(*AWAY):
                    async with asyncio.timeout(ANSWER_WITHIN_S):
                        connection = connection or await asyncpg.connect(node.url)
                        role, self._synchronous[node.label] = await connection.fetchrow(ASK) or ("away", 0)
                if role == "away" and connection is not None:
                    connection.terminate()  # a frozen node would never answer a goodbye
                    connection = None
                self._note(node.label, role)
                await asyncio.sleep(max(began + LOOK_AGAIN_S - time.monotonic(), 0.01))
        finally:
            if connection is not None:
                connection.terminate()

    def _note(self, label: str, role: Role) -> None:
        if self.roles[label] != role:
            self.roles[label] = role
            self.changes.append(Change(time.monotonic(), label, role))
