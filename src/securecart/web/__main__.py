"""One web process: `python -m securecart.web --port P`, or with `--listener FD` at the supervisor's socket, as several do."""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import os
import socket
from collections.abc import Callable

import uvicorn
import uvloop
from litestar.types import ASGIApp

from securecart import settings, telemetry
from securecart.web import create_app
from securecart.web.doors import Doors, listen_alone

GARBAGE_THRESHOLDS = (50_000, 20, 20)  # Python's own are 700, 10, 10


def main() -> None:
    """Serve the shop until SIGTERM."""
    arguments = argparse.ArgumentParser(description=__doc__)
    where = arguments.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int)
    where.add_argument("--listener", type=int, help="descriptor of a socket that listens already")
    arguments.add_argument("--opened", type=int, help="descriptor to write a byte to once this process serves")
    given = arguments.parse_args()
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    application = create_app(loaded)
    spare_the_collector()
    listener = listen_alone(given.port) if given.listener is None else socket.socket(fileno=given.listener)
    serve(application, listener, opened=functools.partial(_say_opened, given.opened))


def spare_the_collector() -> None:
    """Have Python look for garbage in cycles more rarely, and never among what the process was built of.

    Each look at everything takes tens of milliseconds, in which no request is answered; what a request leaves behind has
    few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def serve(application: ASGIApp, listener: socket.socket, *, opened: Callable[[], None] = lambda: None) -> None:
    """Serve an application until SIGTERM; requests in hand are finished first. `opened` is called once it is served."""
    config = uvicorn.Config(
        application,
        http="httptools",
        access_log=False,
        log_config=None,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Doors(config, listener, opened=opened).serve())


def _say_opened(descriptor: int | None) -> None:
    if descriptor is not None:
        os.write(descriptor, b"1")
        os.close(descriptor)


if __name__ == "__main__":
    main()
