"""The supervisor: starts the engines in order, brings back one that dies, takes them down together.

It is small on purpose. Its children run in sessions of their own and are written down with pid and birth, so
after `kill -9` of the supervisor the next start finds them and stops them properly before it begins.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import IO

import psutil
from msgspec import Struct

from securecart import settings as settings_table
from securecart.engines.archiver import Archiver, archiver_of
from securecart.engines.dynamodb import DynamoDB
from securecart.engines.elsewhere import Elsewhere
from securecart.engines.gateway import Gateway
from securecart.engines.graph import Graph
from securecart.engines.home import Home, State, kind_of
from securecart.engines.link import Link
from securecart.engines.patroni import PatroniNode, patroni_nodes, was_cluster
from securecart.engines.postgres import Postgres
from securecart.engines.process import Engine, birth_of, process_of, stop_process
from securecart.engines.regions import region_stores, second_region
from securecart.engines.replicator import Replicator
from securecart.engines.valkey import Valkey
from securecart.engines.web import Web, process_count
from securecart.engines.witness import Witness
from securecart.engines.worker import Worker
from securecart.errors import OperatorError
from securecart.settings import Settings

__all__ = ["KINDS", "Stage", "Step", "Supervisor", "plan", "shop_processes", "stop_running", "stores", "supervisor_of"]

LOOK_EVERY_S = 0.2
DEATHS_MAX, DEATHS_WITHIN_S = 5, 60.0
PAUSE_AFTER_DEATH_S = 0.5
STOP_WITHIN_S = 75
STORES: tuple[type[Engine], ...] = (Postgres, Valkey, DynamoDB, Graph, Gateway)
SHOP: tuple[type[Engine], ...] = (Web, Worker)
NODES: tuple[type[Engine], ...] = (PatroniNode, Witness, Link, Replicator, Archiver)
KINDS = {kind.name: kind for kind in STORES + NODES + SHOP}


class Step(Struct, frozen=True):
    """Something that is about to happen, or that is `done`, to an engine; what a person who waits wants to see."""

    engine: str
    text: str
    done: bool = False


Stage = Sequence[Engine]
Report = Callable[[Step], None]


def plan(home: Home, settings: Settings) -> list[Stage]:
    """What to run, in stages: the stores, then the shop; the setting `profile` says on how many nodes.

    The archiver starts beside the stores and ends with them, when the shop is still: so it has seen all that the shop did.
    """
    archiver = archiver_of(home, settings)
    if settings.profile == "regions":
        there = second_region(home)
        doors = [*shop_processes(home, settings), *shop_processes(Home(there.home_path), there)]
        return [[*region_stores(home, settings, there), *archiver], doors]
    return [[*stores(home, settings), *archiver], shop_processes(home, settings)]


def stores(home: Home, settings: Settings) -> Stage:
    """The stores, and the sandbox where it takes the money; one that the environment points at runs elsewhere."""
    given = settings_table.from_environment()
    kinds = [kind for kind in STORES if kind is not Gateway or settings.gateway == "sandbox"]
    engines: list[Engine] = []
    for kind in kinds:
        if given.get(kind.url_setting):
            engines.append(Elsewhere(home, settings, kind))
        elif kind is Postgres and settings.profile != "single":
            engines += patroni_nodes(home, settings)
        else:
            engines.append(kind(home, settings))
    if any(isinstance(engine, Postgres) for engine in engines) and was_cluster(home):
        raise OperatorError(
            problem=f"The database in {home.path} runs on several nodes, and any of them may hold the newest data; "
            "start it with `securecart up --profile ha`. docs/topologies.md says how to move it to a single node."
        )
    return engines


def shop_processes(home: Home, settings: Settings) -> Stage:
    """The web processes and the worker."""
    first = Web(home, settings)
    others = [Web(home, settings, first=first, number=number) for number in range(2, process_count(settings) + 1)]
    return [first, *others, Worker(home, settings)]


class Supervisor:
    """Runs stages of engines from one home; `prepare` is run between the first stage and the next."""

    def __init__(self, home: Home, stages: Sequence[Stage], *, prepare: Callable[[], Awaitable[None]], report: Report) -> None:
        self.home = home
        self._stages = list(stages)
        self._prepare = prepare
        self._report = report
        self._ready = False
        self._deaths: dict[str, deque[float]] = {}
        self._reviving: dict[str, asyncio.Task[None]] = {}
        self._left_down: set[str] = set()
        self._lock: IO[bytes] | None = None

    async def start(self, lock: IO[bytes]) -> None:
        """Start every stage and wait until it answers; on an error whatever was started is stopped again."""
        self._lock = lock  # the open file is the lock: it is free when this process ends, however it ends
        for home in self.home.with_regions():
            await _stop_leftovers(home, self._report)
            home.forget_metrics()
            for label in home.held():
                home.release(label)
        self._write_down()
        try:
            for engine in self._engines():
                engine.choose_port()
            for number, stage in enumerate(self._stages):
                await self._start_stage(stage)
                if number == 0:
                    self._report(Step("tables", "preparing"))
                    began = time.monotonic()
                    await self._prepare()
                    self._report(Step("tables", f"ready after {time.monotonic() - began:.1f} s", done=True))
        except BaseException:
            await self.stop()
            raise
        self._ready = True
        self._write_down()

    async def add(self, stage: Stage) -> None:
        """Start one more stage beside those that run."""
        for engine in stage:
            engine.choose_port()
        self._stages.append(stage)
        await self._start_stage(stage)

    async def watch(self, stopping: asyncio.Event) -> None:
        """Bring back engines that die and are not held, until `stopping` is set."""
        while not stopping.is_set():
            for engine in self._engines():
                down = engine.died() or engine.title in self._left_down
                if down and engine.title not in self._reviving and not self._is_held(engine):
                    task = asyncio.create_task(self._revive(engine))
                    self._reviving[engine.title] = task
                    task.add_done_callback(lambda _, title=engine.title: self._reviving.pop(title))  # type: ignore[misc]
            try:
                await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Stop the stages in reverse order; engines of one stage stop together."""
        await _end(list(self._reviving.values()))
        for stage in reversed(self._stages):
            await asyncio.gather(*(engine.stop() for engine in stage))
        for home in self._homes():
            home.write_state(None)
        if self._lock is not None:
            self._lock.close()

    def _engines(self) -> list[Engine]:
        return [engine for stage in self._stages for engine in stage]

    def _homes(self) -> list[Home]:
        """This home first, and those of other regions."""
        return list({home.path: home for home in (self.home, *(engine.home for engine in self._engines()))}.values())

    async def _start_stage(self, stage: Stage) -> None:
        tasks = [asyncio.create_task(self._start(engine)) for engine in stage]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            await _end(tasks)  # or one of them could start its process after everything was stopped
            raise

    async def _start(self, engine: Engine) -> None:
        began = time.monotonic()
        self._report(Step(engine.title, "starting"))
        await engine.start()
        self._write_down()
        await engine.wait_until_ready()
        for home in (engine.home, *engine.told_to):
            home.remember(engine.connections())
        self._write_down()
        self._report(Step(engine.title, f"{engine.version} ready after {time.monotonic() - began:.1f} s".strip(), done=True))

    def _is_held(self, engine: Engine) -> bool:
        held = engine.label in engine.home.held()
        if held and engine.title not in self._left_down:
            self._report(Step(engine.title, "is down and stays down: it is held", done=True))
            self._left_down.add(engine.title)
            self._write_down()
        return held

    async def _revive(self, engine: Engine) -> None:
        was_held = engine.title in self._left_down
        self._left_down.discard(engine.title)
        deaths = self._deaths.setdefault(engine.title, deque(maxlen=DEATHS_MAX))
        deaths.append(time.monotonic())
        while deaths[-1] - deaths[0] > DEATHS_WITHIN_S:
            deaths.popleft()  # what ran well for a minute starts again without a pause
        self._write_down()
        if len(deaths) == DEATHS_MAX:
            await engine.stop()
            engine.home.hold(engine.label)
            self._left_down.add(engine.title)
            deaths.clear()
            self._write_down()
            self._report(
                Step(engine.title, f"died {DEATHS_MAX} times within a minute and stays down; see {engine.log}", done=True)
            )
            return
        self._report(Step(engine.title, f"{'is let go' if was_held else 'died'} and is started again"))
        await asyncio.sleep(PAUSE_AFTER_DEATH_S * (2 ** (len(deaths) - 1) - 1))
        if self._is_held(engine):  # since a moment ago
            return
        try:
            await self._start(engine)
        except OperatorError as error:
            self._report(Step(engine.title, str(error), done=True))

    def _write_down(self) -> None:
        born = birth_of(os.getpid())
        for home in self._homes():
            engines = [engine for engine in self._engines() if engine.home.path == home.path]
            running = tuple(there for engine in engines if (there := engine.running()) is not None)
            home.write_state(State(os.getpid(), born, tuple(engine.label for engine in engines), self._ready, running))


def supervisor_of(home: Home) -> psutil.Process | None:
    """The living supervisor of this home, or None."""
    state = home.state()
    return process_of(state) if state is not None else None


async def stop_running(home: Home, report: Report) -> bool:
    """Stop whatever runs from this home, supervised or left over; False when nothing did."""
    supervisor = supervisor_of(home)
    if supervisor is not None:
        report(Step("supervisor", "stopping"))
        await stop_process(supervisor, signal.SIGTERM, STOP_WITHIN_S)
    stopped = [await _stop_leftovers(one, report) for one in home.with_regions()]
    return any(stopped) or supervisor is not None


async def _stop_leftovers(home: Home, report: Report) -> bool:
    """Stop the processes of a supervisor that was killed, the shop before its stores."""
    state = home.state()
    if state is None or state.pid == os.getpid():
        return False
    found = [engine for engine in state.engines if engine.pid and process_of(engine)]
    for engine in reversed(found):
        kind = KINDS[engine.kind]
        report(Step(engine.name, "stopping what a killed supervisor left behind"))
        await stop_process(process_of(engine), kind.stop_signal, kind.stop_within_s)
    for label in {*state.planned, *(engine.name for engine in state.engines)}:
        if (known := KINDS.get(kind_of(label))) is not None:
            await known.clear(home, label)
    home.write_state(None)
    return bool(found)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
