"""The deeds of a failover drill: what is done to the node that leads, and how it is undone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

import asyncpg
import psutil
from msgspec import Struct

from securecart import settings as settings_table
from securecart.drills.witness import AWAY, Node
from securecart.engines import Home
from securecart.errors import DrillFailed, OperatorError
from securecart.ops import cluster

__all__ = ["DEEDS", "MODES", "Deed", "Mode", "Victim", "ZombieSessions"]

Mode = Literal["crash", "node", "freeze", "switchover"]
MODES: tuple[Mode, ...] = get_args(Mode)
SESSIONS_OF_A_ZOMBIE = 4
ENOUGH_FOR_A_ZOMBIE_S = 10.0
# A small message in the log whose commit, as any other, has to be on a second node before it is acknowledged.
WRITE = "SELECT pg_logical_emit_message(true, 'drill', 'written by a node that no longer leads')"


class Victim:
    """The node that leads: its processes and how to get at them."""

    def __init__(self, home: Home, node: Node) -> None:
        self.home = home
        self.node = node
        number = node.label.rpartition("-")[2]
        self.number = int(number) if number.isdecimal() else 1
        self.data = home.path / "data" / (f"postgres-{self.number}" if self.number > 1 else "postgres")

    def patroni(self) -> int:
        """The pid of its Patroni; `DrillFailed` when none of ours runs."""
        state = self.home.state()
        pid = next((engine.pid for engine in (state.engines if state else ()) if engine.name == self.node.label), 0)
        if not pid:
            raise DrillFailed(why=f"no {self.node.label} of ours runs from {self.home.path}")
        return pid

    def postmaster(self) -> int:
        """The pid of its PostgreSQL; `DrillFailed` when there is none."""
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError) as error:
            raise DrillFailed(why=f"no PostgreSQL runs on {self.data}") from error

    def signal_all(self, number: signal.Signals, *, patroni_first: bool) -> None:
        """Signal its Patroni and every process of its PostgreSQL; the postmaster before its children, so that none is born."""
        patroni = [self.patroni()]
        postgres = [self.postmaster()]
        for pid in [*patroni, *postgres] if patroni_first else postgres:
            _send(pid, number)
        for pid in self._sessions():
            _send(pid, number)
        if not patroni_first:
            _send(patroni[0], number)

    def _sessions(self) -> Iterator[int]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.name() == "postgres" and Path(process.cwd()) == self.data:
                    yield process.pid


class ZombieSessions:
    """Sessions on a node from before it was frozen, which write the moment it is thawed: none may hear that they did."""

    def __init__(self) -> None:
        self._open: list[asyncpg.Connection[asyncpg.Record]] = []
        self._writing: list[asyncio.Task[bool]] = []

    async def log_in(self, node: Node) -> None:
        """Open the sessions while the node is well."""
        self._open = [await asyncpg.connect(node.url) for _ in range(SESSIONS_OF_A_ZOMBIE)]

    def write(self) -> None:
        """Send each session's statement; a frozen node finds it when it is thawed."""
        self._writing = [asyncio.create_task(_is_acknowledged(session)) for session in self._open]

    async def acknowledged(self) -> int:
        """How many were told that their write is committed, once each has its answer, or none in time."""
        answers = await asyncio.gather(*self._writing)
        for session in self._open:
            session.terminate()
        return sum(answers)


class Deed(Struct, frozen=True):
    """What is done (`says`, of the node that leads), and undone once another leads and sells.

    `goal_s` is the longest that nobody may be able to check out.
    """

    says: str
    goal_s: float
    strike: Callable[[Victim], Awaitable[None]]
    undo: Callable[[Victim], Awaitable[None]] | None = None
    undone: str = ""


async def _crash(victim: Victim) -> None:
    os.kill(victim.postmaster(), signal.SIGKILL)


async def _lose_node(victim: Victim) -> None:
    victim.home.hold(victim.node.label)
    victim.signal_all(signal.SIGKILL, patroni_first=True)


async def _let_node_back(victim: Victim) -> None:
    victim.home.release(victim.node.label)


async def _freeze(victim: Victim) -> None:
    victim.signal_all(signal.SIGSTOP, patroni_first=True)


async def _thaw(victim: Victim) -> None:
    # PostgreSQL first: a zombie that nobody watches for a moment is the one to be afraid of
    victim.signal_all(signal.SIGCONT, patroni_first=False)


async def _switch_over(victim: Victim) -> None:
    asked = cluster.Cluster.of(settings_table.load(str(victim.home.path)))
    hand_over = cluster.switchover(await cluster.observe(asked))[:1]  # what follows it, the drill waits for by itself
    try:
        async for _ in cluster.carry_out(asked, hand_over):
            pass
    except OperatorError as refused:
        raise DrillFailed(why=f"{victim.node.label} did not hand over: {refused}") from refused


DEEDS: dict[Mode, Deed] = {
    "crash": Deed("kill -9 of {}'s PostgreSQL", 5.0, _crash),
    "node": Deed("{} lost: kill -9 of all its processes", 25.0, _lose_node, _let_node_back, "{} is let back"),
    "freeze": Deed("{} frozen: SIGSTOP of all its processes", 25.0, _freeze, _thaw, "{} thawed"),
    "switchover": Deed("switchover away from {}", 3.0, _switch_over),
}


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _is_acknowledged(session: asyncpg.Connection[asyncpg.Record]) -> bool:
    try:
        async with asyncio.timeout(ENOUGH_FOR_A_ZOMBIE_S):
            await session.execute(WRITE)
    except AWAY:
        return False
    return True
