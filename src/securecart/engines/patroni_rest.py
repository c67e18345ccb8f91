"""Patroni's REST interface, asked with a time-out: one node's state, the cluster as a node sees it, and requests to act."""

from __future__ import annotations

import asyncio
import base64
import http.client
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

__all__ = ["ACCOUNT", "Answer", "ClusterState", "MemberState", "NodeState", "ask", "ask_cluster", "request"]

ACCOUNT = "securecart"  # whom the REST interface lets act, with the home's key
ANSWER_WITHIN_S = 2.0
WORDS = {
    "leader": "writer",
    "sync_standby": "synchronous standby",
    "quorum_standby": "synchronous standby",
    "replica": "reader",
    "standby_leader": "leader of a standby",
}


class Wal(Struct, frozen=True):
    """Positions in bytes: of the writer's log, or what a standby has received and replayed."""

    location: int = 0
    received_location: int | None = None
    replayed_location: int | None = None


class Patroni(Struct, frozen=True):
    """How Patroni calls the node."""

    name: str = ""


class NodeState(Struct, frozen=True):
    """What a node's Patroni says of it at this moment."""

    state: str
    role: str
    server_version: int = 0
    timeline: int | None = None
    replication_state: str = ""
    named: bool = field(default=False, name="sync_standby")
    in_quorum: bool = field(default=False, name="quorum_standby")
    leaderless: bool = field(default=False, name="cluster_unlocked")
    pause: bool = False
    wal: Wal = field(default_factory=Wal, name="xlog")
    patroni: Patroni = field(default_factory=Patroni)

    @property
    def synchronous(self) -> bool:
        """Whether the writer takes its word for a commit: the one named for it, or one of several of which one is enough."""
        return self.named or self.in_quorum

    @property
    def serves(self) -> bool:
        """Whether its PostgreSQL answers: as the writer, or streaming from one."""
        return self.state == "running" and (self.role == "primary" or self.replication_state == "streaming")

    @property
    def version(self) -> str:
        """PostgreSQL's version, as `18.6`."""
        return f"{self.server_version // 10_000}.{self.server_version % 10_000}" if self.server_version else ""


class MemberState(Struct, frozen=True):
    """A node as the cluster's store has it; what is behind is in bytes, None when it is not known."""

    name: str
    role: str
    state: str
    api_url: str = ""
    port: int = 0
    timeline: int | None = None
    lag: int | str = ""
    replay_lag: int | str = ""

    @property
    def behind(self) -> int | None:
        """Bytes of the writer's log that it has not replayed."""
        return self.replay_lag if isinstance(self.replay_lag, int) else None

    def in_words(self) -> str:
        """Its part and how far it is behind."""
        part = WORDS.get(self.role, self.role)
        if self.state not in {"running", "streaming"}:
            return f"{part}, {self.state}"
        return part if self.behind is None else f"{part}, {_size(self.behind)} behind"


class ClusterState(Struct, frozen=True):
    """The cluster as one node sees it."""

    members: tuple[MemberState, ...] = ()
    pause: bool = False


class Answer(Struct, frozen=True):
    """An HTTP answer; status 0 when there was none in time."""

    status: int
    text: str


async def ask(url: str) -> NodeState | None:
    """The state of the node at this REST address, None when it does not answer."""
    answer = await request(url, "GET", "/patroni")
    try:
        return msgspec.json.decode(answer.text, type=NodeState) if answer.status else None
    except msgspec.DecodeError:
        return None


async def ask_cluster(url: str) -> ClusterState | None:
    """The cluster as the node at this REST address sees it, None when it does not answer."""
    answer = await request(url, "GET", "/cluster")
    try:
        return msgspec.json.decode(answer.text, type=ClusterState) if answer.status else None
    except msgspec.DecodeError:
        return None


async def request(
    url: str, method: str, path: str, *, body: Any = None, key: str = "", within_s: float = ANSWER_WITHIN_S
) -> Answer:
    """Send one request; with `key`, one that makes a node act."""
    headers = {}
    if key:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{ACCOUNT}:{key}".encode()).decode()
    payload = None if body is None else msgspec.json.encode(body)
    return await asyncio.to_thread(_send, url, method, path, headers, payload, within_s)


def _send(url: str, method: str, path: str, headers: dict[str, str], payload: bytes | None, within_s: float) -> Answer:
    try:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=within_s)
    except ValueError:
        return Answer(0, "")
    try:
        connection.request(method, path, payload, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, str(error))
    finally:
        connection.close()


def _size(count: int) -> str:
    units = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
    return next((f"{count / unit:,.1f} {name}" for unit, name in units if count >= unit), f"{count} bytes")
