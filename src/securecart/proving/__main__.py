"""The worker's daily proof, a process of its own and of lowest rank: `python -m securecart.proving`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import psutil
import uvloop

from securecart import settings, telemetry
from securecart.engines.ranking import LAST, rank_session
from securecart.errors import SecureCartError
from securecart.ops.recovery.sites import site_of
from securecart.proving import prove
from securecart.telemetry import log

__all__ = ["main"]


def step_back() -> None:
    """Let everybody else go first, at the processors and at the disk."""
    os.nice(LAST)
    rank_session(LAST)
    with contextlib.suppress(AttributeError, psutil.Error, OSError):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


async def _run(loaded: settings.Settings) -> bool:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    found = await prove(site_of(loaded))
    for flaw in found.flaws:
        log.error("the newest backup is no good", part=flaw.part, name=flaw.name, what=flaw.what)
    log.info("proved the newest backup", good=found.good, stamp=found.stamp, bases=found.bases, seconds=found.seconds)
    return found.good


def main() -> int:
    """0 when the backup is good, 1 when it is not or could not be restored at all."""
    step_back()
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return 0 if runner.run(_run(loaded)) else 1
    except asyncio.CancelledError:
        log.info("the proof was ended before it was done")
    except SecureCartError as error:
        log.error("the newest backup could not be proved", reason=str(error))
    return 1


if __name__ == "__main__":
    sys.exit(main())
