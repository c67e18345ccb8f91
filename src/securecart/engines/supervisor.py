"""The supervisor: starts the engines in order, brings back one that dies, takes them down together.

It is small on purpose. Its children run in sessions of their own and are written down with pid and birth, so
after `kill -9` of the supervisor the next start finds them and stops them properly before it begins.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import IO

import psutil

from securecart import settings as settings_table
from securecart.engines.dynamodb import DynamoDB
from securecart.engines.gateway import Gateway
from securecart.engines.home import Home, State
from securecart.engines.postgres import Postgres
from securecart.engines.process import Engine, gone, stop_process
from securecart.engines.valkey import Valkey
from securecart.engines.web import Web, process_count
from securecart.engines.worker import Worker
from securecart.errors import OperatorError
from securecart.settings import Settings

__all__ = ["Stage", "Supervisor", "plan", "stop_running", "supervisor_of"]

Stage = Sequence[Engine]
Report = Callable[[str], None]

LOOK_EVERY_S = 0.2
DEATHS_MAX, DEATHS_WITHIN_S = 5, 60.0
PAUSE_AFTER_DEATH_S = 0.5
STORES: dict[type[Postgres | Valkey | DynamoDB | Gateway], str] = {
    Postgres: "postgres_url",
    Valkey: "valkey_url",
    DynamoDB: "dynamodb_url",
    Gateway: "gateway_url",
}


def plan(home: Home, settings: Settings) -> list[Stage]:
    """The engines to run: first the stores that no setting points elsewhere, then the shop itself."""
    elsewhere = settings_table.from_environment()
    stores = [kind(home, settings) for kind, url in STORES.items() if not elsewhere.get(url)]
    first = Web(home, settings)
    others = [Web(home, settings, first=first, number=number) for number in range(2, process_count(settings) + 1)]
    return [stores, [first, *others, Worker(home, settings)]]


class Supervisor:
    """Runs stages of engines from one home; `between` prepares the stores before the last stage starts."""

    def __init__(self, home: Home, stages: Sequence[Stage], *, between: Callable[[], Awaitable[None]], report: Report) -> None:
        self._home = home
        self._stages = stages
        self._between = between
        self._report = report
        self._ready = False
        self._deaths: dict[str, deque[float]] = {}

    async def start(self, lock: IO[bytes]) -> None:
        """Start every stage and wait until it answers; on an error whatever was started is stopped again."""
        self._lock = lock  # the open file is the lock: it is free when this process ends, however it ends
        await _stop_leftovers(self._home, self._report)
        try:
            for number, stage in enumerate(self._stages):
                if number == len(self._stages) - 1:
                    await self._between()
                await self._start_stage(stage)
        except BaseException:
            await self.stop()
            raise
        self._ready = True
        self._write_down()

    async def watch(self, stopping: asyncio.Event) -> None:
        """Bring back engines that die, until `stopping` is set."""
        while not stopping.is_set():
            for engine in [engine for stage in self._stages for engine in stage if engine.died()]:
                await self._revive(engine)
            try:
                await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Stop the stages in reverse order; engines of one stage stop together."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(engine.stop() for engine in stage))
        self._home.write_state(None)

    async def _start_stage(self, stage: Stage) -> None:
        for engine in stage:
            self._home.log(engine.label)
        await asyncio.gather(*(self._start(engine) for engine in stage))
        for engine in stage:
            self._home.remember(engine.connections())

    async def _start(self, engine: Engine) -> None:
        began = time.monotonic()
        await engine.start()
        self._write_down()
        await engine.wait_until_ready()
        self._write_down()
        self._report(f"{engine.label} {engine.version} is ready after {time.monotonic() - began:.1f} s")

    async def _revive(self, engine: Engine) -> None:
        deaths = self._deaths.setdefault(engine.label, deque(maxlen=DEATHS_MAX))
        deaths.append(time.monotonic())
        if len(deaths) == DEATHS_MAX and deaths[-1] - deaths[0] < DEATHS_WITHIN_S:
            self._report(f"{engine.label} died {DEATHS_MAX} times within a minute and stays down; see {engine.log}")
            await engine.stop()
            self._write_down()
            return
        self._report(f"{engine.label} died and is started again")
        await asyncio.sleep(PAUSE_AFTER_DEATH_S * (len(deaths) - 1))
        try:
            await self._start(engine)
        except OperatorError as error:
            self._report(str(error))

    def _write_down(self) -> None:
        running = (engine.running() for stage in self._stages for engine in stage)
        engines = tuple(engine for engine in running if engine is not None)
        planned = tuple(engine.label for stage in self._stages for engine in stage)
        self._home.write_state(State(os.getpid(), psutil.Process().create_time(), planned, self._ready, engines))


def supervisor_of(home: Home) -> psutil.Process | None:
    """The living supervisor of this home, or None."""
    state = home.state()
    if state is None:
        return None
    try:
        process = psutil.Process(state.pid)
        alive = abs(process.create_time() - state.born) < 1 and not gone(process)
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


async def stop_running(home: Home, report: Report) -> bool:
    """Stop whatever runs from this home, supervised or left over; False when nothing did."""
    supervisor = supervisor_of(home)
    if supervisor is not None:
        supervisor.terminate()
        await asyncio.to_thread(psutil.wait_procs, [supervisor])
        return True
    return await _stop_leftovers(home, report)


async def _stop_leftovers(home: Home, report: Report) -> bool:
    state = home.state()
    if state is None or state.pid == os.getpid():
        return False
    signals = {kind.name: (kind.stop_signal, kind.stop_within_s) for kind in (*STORES, Web, Worker)}
    for engine in reversed(state.engines):
        gently, within_s = signals[engine.name.split("-")[0]]
        report(f"stopping {engine.name}, left over from a supervisor that was killed")
        await stop_process(engine.pid, engine.born, gently, within_s)
    home.write_state(None)
    return bool(state.engines)
