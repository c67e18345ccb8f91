"""What runs in a home folder, how it is, and how much memory it takes: asked of the processes themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
import psutil
from msgspec import Struct

from securecart.engines.home import Home, RunningEngine
from securecart.engines.process import address_of, process_of
from securecart.engines.supervisor import KINDS, supervisor_of

__all__ = ["EngineStatus", "HomeStatus", "observe"]


class EngineStatus(Struct, frozen=True):
    """One engine as it is now; memory in bytes, shared pages counted in proportion. Pid 0: not our process.

    `role` says in words what it is among several of its kind; empty where it is the only one.
    """

    name: str
    version: str
    address: str
    healthy: bool
    pid: int
    memory: int
    role: str = ""


class HomeStatus(Struct, frozen=True):
    """A home and its engines; `healthy` when the supervisor lives, has started all it plans to, and all are well.

    `regions` are those beside this one, which are counted in; memory is all that they take together.
    """

    home: str
    running: bool
    ready: bool
    healthy: bool
    supervisor: int | None
    memory: int
    engines: list[EngineStatus]
    region: str = ""
    regions: list[HomeStatus] = []


async def observe(home: Home) -> HomeStatus:
    """Look at every process that the state file names, and at those of the shop's other regions."""
    here, *there = await asyncio.gather(*(_observe(one) for one in home.with_regions()))
    there = [one for one in there if one.engines]
    return msgspec.structs.replace(
        here,
        healthy=here.healthy and all(one.healthy for one in there),
        memory=here.memory + sum(engine.memory for one in there for engine in one.engines),
        regions=there,
    )


async def _observe(home: Home) -> HomeStatus:
    state = home.state()
    supervisor = supervisor_of(home)
    written = home.settings()
    seen = await asyncio.gather(*(_look_at(home, engine, written) for engine in state.engines)) if state else []
    down = [name for name in (state.planned if state else ()) if name not in {engine.name for engine in seen}]
    held = home.held()
    engines = [*seen, *(_missing(name, held=name in held) for name in down)]
    ready = state is not None and supervisor is not None and state.ready
    return HomeStatus(
        home=str(home.path),
        running=supervisor is not None,
        ready=ready,
        healthy=ready and all(engine.healthy for engine in engines),
        supervisor=supervisor.pid if supervisor else None,
        memory=sum(engine.memory for engine in engines) + (_own_memory(supervisor) if supervisor else 0),
        engines=engines,
        region=str(written.get("region", "")),
    )


def _missing(name: str, *, held: bool) -> EngineStatus:
    role = "held" if held else ""
    return EngineStatus(name, version="", address="", healthy=False, pid=0, memory=0, role=role)


async def _look_at(home: Home, engine: RunningEngine, written: Mapping[str, Any]) -> EngineStatus:
    kind = KINDS[engine.kind]
    url = kind.address_in(written, engine.name)
    process = process_of(engine) if engine.pid else None
    could_answer = process is not None or engine.pid == 0
    return EngineStatus(
        name=engine.name,
        version=engine.version,
        address=address_of(url),
        healthy=could_answer and await kind.look(url) is not None,
        pid=engine.pid,
        memory=sum(_family_memory(one) for one in (process, *kind.beside(home, engine.name)) if one is not None),
        role=await kind.describe(url) if could_answer else "",
    )


def _family_memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return sum(_own_memory(member) for member in (process, *process.children(recursive=True)))
    return 0


def _own_memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        try:
            return int(process.memory_full_info().pss)
        except (psutil.AccessDenied, AttributeError):
            return int(process.memory_info().rss)
    return 0
