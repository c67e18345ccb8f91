"""What runs in a home folder, how it is, and how much memory it takes: asked of the processes themselves."""

from __future__ import annotations

import asyncio
import contextlib

import psutil
from msgspec import Struct

from securecart.engines.home import Home, RunningEngine
from securecart.engines.process import gone, http_answers

__all__ = ["EngineStatus", "HomeStatus", "observe"]

CONNECT_TIMEOUT_S = 1
# What each engine answers at its front door when it is well.
HEALTHY_ANSWERS = {"dynamodb": ("/", 400), "gateway": ("/healthz", 200), "web": ("/readyz", 200)}


class EngineStatus(Struct, frozen=True):
    """One engine as it is now; memory in bytes, shared pages counted in proportion."""

    name: str
    version: str
    address: str
    healthy: bool
    pid: int
    memory: int


class HomeStatus(Struct, frozen=True):
    """A home and its engines; `healthy` when all are, `ready` when the supervisor has started all it plans to."""

    home: str
    running: bool
    ready: bool
    healthy: bool
    supervisor: int | None
    memory: int
    engines: list[EngineStatus]


async def observe(home: Home) -> HomeStatus:
    """Look at every process that the state file names."""
    state = home.state()
    alive = state is not None and _is(state.pid, state.born)
    running = state.engines if state is not None else ()
    engines = await asyncio.gather(*(_look_at(engine) for engine in running))
    down = set(state.planned if state is not None else ()) - {engine.name for engine in running}
    engines += [EngineStatus(name, version="", address="", healthy=False, pid=0, memory=0) for name in sorted(down)]
    ready = alive and state is not None and state.ready
    return HomeStatus(
        home=str(home.path),
        running=alive,
        ready=ready,
        healthy=ready and all(engine.healthy for engine in engines),
        supervisor=state.pid if alive and state is not None else None,
        memory=sum(engine.memory for engine in engines) + (_own_memory(state.pid) if alive and state is not None else 0),
        engines=list(engines),
    )


async def _look_at(engine: RunningEngine) -> EngineStatus:
    alive = _is(engine.pid, engine.born)
    return EngineStatus(
        name=engine.name,
        version=engine.version,
        address=f"127.0.0.1:{engine.port}" if engine.port else "",
        healthy=alive and await _answers(engine),
        pid=engine.pid,
        memory=_memory(engine.pid) if alive else 0,
    )


async def _answers(engine: RunningEngine) -> bool:
    if engine.port == 0:
        return True
    kind = engine.name.split("-")[0]
    if kind in HEALTHY_ANSWERS:
        path, status = HEALTHY_ANSWERS[kind]
        return await http_answers(engine.port, path, statuses=(status,))
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", engine.port), CONNECT_TIMEOUT_S)
        writer.close()
    except (OSError, TimeoutError):
        return False
    return True


def _is(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - born) < 1 and not gone(process)
    except psutil.NoSuchProcess:
        return False


def _memory(pid: int) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return _own_memory(pid) + sum(_own_memory(child.pid) for child in process.children(recursive=True))
    return 0


def _own_memory(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        full = psutil.Process(pid).memory_full_info()
        return int(getattr(full, "pss", full.rss))
    return 0
