"""One web process: `python -m securecart.web --port P`. Several share the port, and the kernel spreads the load."""

from __future__ import annotations

import argparse
import asyncio
import gc
import socket

import uvicorn
import uvloop
from litestar.types import ASGIApp

from securecart import settings, telemetry
from securecart.web import create_app

BACKLOG = 1024
GARBAGE_THRESHOLDS = (50_000, 20, 20)  # Python's own are 700, 10, 10


def main() -> None:
    """Serve the shop until SIGTERM."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    loaded = settings.load()
    telemetry.configure_logs(loaded.log_level)
    application = create_app(loaded)
    spare_the_collector()
    serve(application, port)


def spare_the_collector() -> None:
    """Have Python look for garbage in cycles more rarely, and never among what the process was built of.

    Each look at everything takes tens of milliseconds, in which no request is answered; what a request leaves behind has
    few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def serve(application: ASGIApp, port: int) -> None:
    """Serve an application until SIGTERM; requests in hand are finished first."""
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
        runner.run(uvicorn.Server(config).serve(sockets=[_shared_socket(port)]))


def _shared_socket(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    return listener


if __name__ == "__main__":
    main()
