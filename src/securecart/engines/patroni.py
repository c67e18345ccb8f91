"""PostgreSQL on several nodes: each node is a Patroni, which runs the PostgreSQL beside it and agrees with the others.

Who is the writer is decided among the nodes (by Raft, or in etcd) and may change at any moment; nobody here remembers
it. A node whose Patroni is killed keeps its PostgreSQL, which the next Patroni takes over; so PostgreSQL is no child of
ours and is found by its data folder.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psutil

from securecart.engines.beyond import Beyond
from securecart.engines.home import Home
from securecart.engines.orphans import adopt_orphans
from securecart.engines.patroni_rest import NodeState, ask, ask_cluster, request
from securecart.engines.patroni_yaml import Folders, Neighbour, configuration, dynamic, founding, raft_folder
from securecart.engines.postgres_files import (
    as_ordinary_user,
    clear_the_way,
    initdb,
    port_of,
    postmaster_of,
    programs_of,
    run_alone,
    sockets_of,
)
from securecart.engines.postgres_roles import APP, NOT_READY, OWNER, SUPERUSER, Roles, look_at
from securecart.engines.process import Engine, stop_process
from securecart.errors import EngineFailed
from securecart.settings import Settings

__all__ = ["MARK", "NODES", "PatroniNode", "data_of", "patroni_nodes", "was_cluster"]

NODES = 3
# Patroni keeps its settings beside the data; a folder without that file was never a node.
MARK = "patroni.dynamic.json"
OTHERS_STOP_WITHIN_S = 30
FIRST_DATA_WITHIN_S = 30
POLL_S = 0.1


class Voter(Protocol):
    """Who takes part in the agreement without having data."""

    raft_port: int


class PatroniNode(Engine):
    """One node of the orders database. The first keeps its data where a single PostgreSQL does, and speaks for all."""

    name = "patroni"
    url_setting = "cluster_urls"
    stop_signal = signal.SIGTERM
    stop_within_s = 45
    ready_within_s = 90

    def __init__(
        self, home: Home, settings: Settings, *, number: int, nodes: list[PatroniNode], beyond: Beyond | None = None
    ) -> None:
        super().__init__(home, settings, number=number)
        self.number = number
        self.rest_port = 0
        self.raft_port = 0
        self.beyond = beyond
        self.voters: list[Voter] = []
        self._nodes = nodes
        self._roles = Roles(home)
        self._was_ready = False
        nodes.append(self)

    def choose_port(self) -> None:
        """Settle the ports of PostgreSQL, of Patroni's REST interface and of Raft."""
        if self.number == 1:
            self.port = self.home.port("postgres", self.settings.postgres_port)
        else:
            self.port = self.home.port(f"postgres-{self.number}", settable=False)
        self.rest_port = self.home.port(self.label, settable=False)
        self.raft_port = self.home.port(f"raft-{self.number}", settable=False)

    async def start(self) -> None:
        """Write what Patroni is to do and start it; the first node makes the data that the others copy."""
        adopt_orphans()
        programs = await asyncio.to_thread(programs_of, self)
        data = data_of(self.home, self.label)
        if self.home.is_fenced() and self.beyond is not None:
            await asyncio.to_thread(self._follow_from_now_on, data, self.beyond)
        if postmaster_of(data) is None:
            await clear_the_way(data, self.home.run() / f".s.PGSQL.{self.port}.lock")
            if self.number == 1:
                await self._make_data(programs, data)
            else:
                await asyncio.to_thread(_drop_half_a_copy, data)
                await self._first_has_data()
        raft_folder(self.home, self.label).mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.home.run() / f"{self.label}.yaml"
        voters = [voter.raft_port for voter in (*self._nodes, *self.voters) if voter is not self]
        folders = Folders(data, programs, sockets_of(self))
        at_first = founding(self.version, self.settings, self.beyond)
        told = configuration(self._roles, self.as_neighbour(), voters, folders, at_first, store=self.settings.cluster_store)
        self.home.write_private(file, msgspec.json.format(msgspec.json.encode(told)).decode())
        self.spawn(as_ordinary_user(self, [sys.executable, "-m", "patroni", str(file)]))

    async def answers(self) -> bool:
        """Whether this node serves; the first makes roles and database, and waits at its first start for all nodes."""
        if await self.look(self.rest_url()) is None:
            return False
        if self.number == 1 and not self._was_ready:
            states = await asyncio.gather(*(ask(node.rest_url()) for node in self._nodes))
            follows = any(state is not None and state.role == "standby_leader" for state in states)
            try:
                if not follows:
                    await self._roles.make([node.port for node in self._nodes])
            except NOT_READY:
                return False
            if not _complete(states, follows=follows):
                return False
            # What a newer version wants of an older home's cluster.
            key = self.home.secret("patroni_secret")
            await request(self.rest_url(), "PATCH", "/config", body=dynamic(self.version, self.settings, self.beyond), key=key)
        self._was_ready = True
        return True

    async def wait_until_ready(self) -> None:
        """Return once the node serves, or when it does not and the others can sell without it."""
        try:
            await super().wait_until_ready()
        except EngineFailed:
            states = await asyncio.gather(*(ask(node.rest_url()) for node in self._nodes if node is not self))
            if not any(state and state.serves and state.role in {"primary", "standby_leader"} for state in states):
                raise

    @staticmethod
    async def look(url: str) -> str | None:
        """Ask Patroni whether its PostgreSQL serves: as the writer, or streaming from it; its version."""
        state = await ask(url)
        return state.version if state is not None and state.serves else None

    @classmethod
    async def describe(cls, url: str) -> str:
        """Its part at the moment and how far it is behind."""
        seen = await ask_cluster(url)
        member = next((one for one in seen.members if one.api_url.startswith(f"{url}/")), None) if seen else None
        return "no answer" if member is None else member.in_words()

    @classmethod
    def address_in(cls, written: Mapping[str, Any], label: str) -> str:
        """The node's REST address: the first of the list is node 1's."""
        urls = str(written.get(cls.url_setting, "")).split(",")
        number = int(label.rpartition("-")[2])
        return urls[number - 1] if number <= len(urls) else ""

    @classmethod
    def beside(cls, home: Home, label: str) -> Sequence[psutil.Process]:
        """The node's PostgreSQL."""
        postmaster = postmaster_of(data_of(home, label))
        return () if postmaster is None else (postmaster,)

    @classmethod
    async def clear(cls, home: Home, label: str) -> None:
        """Stop the PostgreSQL of a node whose Patroni is gone."""
        data = data_of(home, label)
        postmaster = postmaster_of(data)
        if postmaster is not None:
            await stop_process(postmaster, signal.SIGINT, cls.stop_within_s)
        if data.exists():
            await clear_the_way(data)

    @classmethod
    async def write_checkpoint(cls, home: Home, label: str) -> None:
        """Have the node's PostgreSQL write to disk what it holds in memory; raises `NOT_READY`."""
        port = await asyncio.to_thread(port_of, data_of(home, label))
        admin = await Roles(home).connect([port], SUPERUSER)
        try:
            await admin.execute("CHECKPOINT")
        finally:
            await admin.close()

    def connections(self) -> dict[str, str]:
        """The database on every node, and Patroni's REST interface with its key; told by the first node for all."""
        if self.number != 1:
            return {}
        own = [node.port for node in self._nodes]
        all_ports = own if self.beyond is None else [*own, self.beyond.writer_port]
        return {
            "postgres_url": self._roles.url(APP, all_ports),
            "postgres_owner_url": f"{self._roles.url(OWNER, all_ports)}?target_session_attrs=read-write",
            "region_postgres_url": "" if self.beyond is None else self._roles.url(APP, own),
            "cluster_urls": ",".join(node.rest_url() for node in self._nodes),
            "cluster_key": self.home.secret("patroni_secret"),
        }

    async def stop(self) -> None:
        """Stop Patroni, which stops its PostgreSQL; the writer goes last, so that nobody takes over from it."""
        if not self.died() and self.running() is not None:
            state = await ask(self.rest_url())
            if state is not None and state.role == "primary":
                await self._others_have_stopped()
        await super().stop()
        await self.clear(self.home, self.label)

    def as_neighbour(self) -> Neighbour:
        """The node as the others reach it."""
        # What a node of another region is called must not be taken here for the standby that confirms commits.
        name = self.label if self.beyond is None or not self.beyond.begins_as_copy else f"{self.beyond.region}-{self.label}"
        return Neighbour(self.label, name, self.port, self.rest_port, self.raft_port)

    async def _others_have_stopped(self) -> None:
        others = [node for node in self._nodes if node is not self]
        deadline = time.monotonic() + OTHERS_STOP_WITHIN_S
        while any(node.running() is not None for node in others) and time.monotonic() < deadline:  # noqa: ASYNC110 - other programs' ends
            await asyncio.sleep(POLL_S)

    async def _make_data(self, programs: Path, data: Path) -> None:
        """What the first node has before its first start, unless it lost it: then it copies from the others as they do."""
        if not (data / "PG_VERSION").exists():
            data.parent.mkdir(parents=True, exist_ok=True)
            if self.beyond is not None and self.beyond.begins_as_copy:
                await asyncio.to_thread(_drop_half_a_copy, data)
                await self._other_region_leads(self.beyond)
                return
            if any((data_of(self.home, node.label) / MARK).exists() for node in self._nodes):
                return
            await initdb(self, programs, data, SUPERUSER, self._roles.password(SUPERUSER))
        if not (data / MARK).exists() and not (self.beyond is not None and self.beyond.begins_as_copy):
            await run_alone(self, programs, data, self._roles.to_replicate())

    async def _other_region_leads(self, beyond: Beyond) -> None:
        """Wait until the other region's writer lets us in, through the link; for as long as its first start may take."""
        deadline = time.monotonic() + self.ready_within_s
        url = self._roles.url(SUPERUSER, [beyond.writer_port], SUPERUSER)
        while await look_at(url) is None and time.monotonic() < deadline:  # noqa: ASYNC110 - another program's start
            await asyncio.sleep(POLL_S)

    def _follow_from_now_on(self, data: Path, beyond: Beyond) -> None:
        """Have the node bring with it that this region follows the other; nothing else is agreed on under a fence's new scope."""
        mark = data / MARK
        if mark.exists():
            agreed = msgspec.json.decode(mark.read_bytes())
            self.home.write_private(
                mark, msgspec.json.encode({**agreed, "standby_cluster": beyond.as_leaderless_standby()}).decode()
            )

    async def _first_has_data(self) -> None:
        """Wait for it: nodes that vote while the first is still making its data have it wait for some seconds more."""
        first = data_of(self.home, self._nodes[0].label)
        deadline = time.monotonic() + FIRST_DATA_WITHIN_S
        while not (first / "PG_VERSION").exists() and time.monotonic() < deadline:  # noqa: ASYNC110 - another task makes it
            await asyncio.sleep(POLL_S)

    def rest_url(self) -> str:
        """The address of its Patroni's REST interface."""
        return f"http://127.0.0.1:{self.rest_port}"


def patroni_nodes(home: Home, settings: Settings, *, count: int = NODES, beyond: Beyond | None = None) -> list[PatroniNode]:
    """The nodes of one database, as one region has them."""
    nodes: list[PatroniNode] = []
    return [PatroniNode(home, settings, number=number, nodes=nodes, beyond=beyond) for number in range(1, count + 1)]


def was_cluster(home: Home) -> bool:
    """Whether this home's PostgreSQL has run on several nodes."""
    return (data_of(home, "patroni-1") / MARK).exists()


def _drop_half_a_copy(data: Path) -> None:
    """Remove what a copy that was killed left: the control file comes last."""
    if data.exists() and not (data / "global" / "pg_control").exists():
        shutil.rmtree(data)


def _complete(states: Sequence[NodeState | None], *, follows: bool) -> bool:
    """Whether every node serves and a standby confirms the writer's commits, where the writer is one of them."""
    all_serve = all(state is not None and state.serves for state in states)
    return all_serve and (follows or any(state and state.synchronous for state in states))


def data_of(home: Home, label: str) -> Path:
    """Where a node has its data; the first has them where a single PostgreSQL has."""
    number = label.rpartition("-")[2]
    return home.path / "data" / ("postgres" if number == "1" else f"postgres-{number}")
