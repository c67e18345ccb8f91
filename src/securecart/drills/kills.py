"""Whom to kill: the processes of a shop by kind, and `kill -9`."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import psutil

from securecart.engines import Home, RunningEngine, observe
from securecart.errors import DrillFailed

__all__ = ["KINDS", "kill_one", "running_of", "wait_until_well"]

KINDS = ("web", "worker", "postgres", "dynamodb", "valkey", "graph", "gateway")
WELL_WITHIN_S = 90.0
LOOK_AGAIN_S = 0.3
# how PostgreSQL titles the process that serves one of the shop's connections
SESSION = "securecart_app"


def running_of(home: Home, kind: str) -> list[RunningEngine]:
    """Our processes of this kind; `DrillFailed` when there is none."""
    state = home.state()
    running = state.of_kind(kind) if state else []
    if not running:
        raise DrillFailed(why=f"no {kind} of ours runs from {home.path}")
    return running


def kill_one(home: Home, kind: str, dice: random.Random, *, session: bool) -> str:
    """Kill a process of this kind with SIGKILL, and say which; of PostgreSQL the server, or one `session` of the shop."""
    victim = dice.choice(running_of(home, kind))
    name, pid = victim.name, victim.pid
    if kind == "postgres" and session:
        sessions = [child.pid for child in psutil.Process(pid).children() if SESSION in _command_of(child)]
        if sessions:
            name, pid = "postgres session", dice.choice(sessions)
    os.kill(pid, signal.SIGKILL)
    return f"{name} ({pid})"


async def wait_until_well(home: Home) -> None:
    """Return once everything that the supervisor plans to run answers; `DrillFailed` when it does not in time."""
    deadline = time.monotonic() + WELL_WITHIN_S
    while not (seen := await observe(home)).healthy:
        if time.monotonic() > deadline:
            down = ", ".join(engine.name for engine in seen.engines if not engine.healthy) or "the supervisor"
            raise DrillFailed(why=f"{down} did not come back within {WELL_WITHIN_S:.0f} s; see {home.path / 'logs'}")
        await asyncio.sleep(LOOK_AGAIN_S)


def _command_of(process: psutil.Process) -> str:
    """Its command line, empty when it ended a moment ago."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
