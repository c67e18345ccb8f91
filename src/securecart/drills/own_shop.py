"""A whole shop in a home of its own, in the hands of the drill: started, watched over and stopped by it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from securecart import settings as settings_table
from securecart.app import prepare
from securecart.engines import Home, Step, Supervisor, plan
from securecart.errors import DrillFailed, OperatorError
from securecart.settings import Settings

__all__ = ["own_shop"]

# A crash is over soon: nothing waits long for a gateway that is gone, and what was left pending is asked about at once.
HASTE = {"web_processes": 2, "gateway_timeout_s": 1.5, "reservation_seconds": 3, "sweep_seconds": 0.5}
# Hundreds of shoppers of one address look like a ring and are none: each order is judged, and none is held or refused.
TRUSTING = {"fraud_review_from": 1.0, "fraud_decline_from": 1.0, "fraud_caution_amount": 10**9}


@asynccontextmanager
async def own_shop(
    folder: Path, report: Callable[[Step], None], *, profile: str = "single", **settings: Any
) -> AsyncIterator[Settings]:
    """The settings of a shop that runs from `folder` for as long as the block does; its dead processes come back.

    It is in haste, but for what other `settings` say.
    `OperatorError` when the environment points at somebody's servers, `DrillFailed` when another shop runs from there.
    """
    elsewhere = [name for name in settings_table.from_environment() if name.endswith("_url")]
    if elsewhere:
        name = settings_table.PREFIX + elsewhere[0].upper()
        raise OperatorError(problem=f"A drill is for engines of its own; unset {name}, which points at another server.")
    home = Home(folder)
    home.prepare()
    home.remember({**HASTE, **TRUSTING, **settings, "profile": profile})
    lock = home.lock()
    if lock is None:
        raise DrillFailed(why=f"another shop runs from {folder}; give it with --home to drill that one")
    supervisor = Supervisor(
        home,
        plan(home, settings_table.load(str(folder))),
        prepare=lambda: prepare(settings_table.load(str(folder))),
        report=report,
    )
    with _ended_by_signals():
        await supervisor.start(lock)
        stopping = asyncio.Event()
        watching = asyncio.create_task(supervisor.watch(stopping))
        try:
            yield settings_table.load(str(folder))
        finally:
            stopping.set()
            await watching
            await supervisor.stop()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the drill as Ctrl-C does, with everything stopped."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
